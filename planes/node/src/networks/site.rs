//! The host's kernel and the keeper, as one place that can be read, changed and looked at.

use super::carry::{self, Outcome};
use super::eyes::Eyes;
use super::facts::{self, HostFacts};
use super::memory::Memory;
use super::{NetworksError, Settings, reading, survey};
use host::network::keeper::{self, Keeper, KeeperError};
use host::network::{Claim, Namespace};
use host::process::{Output, Spawn};
use network::converge::{Found, Plan, Step, differences, plan};
use network::{Desired, Drift, DriftKind, Namespace as Place, NetworkNumber, Topology, ruleset, topology};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// The files that a full host takes: for each tenant its namespace, what tells of changes, and its settings.
const FILES: u64 = 4_096;

/// The keeper's socket, in the folder of the node.
pub(super) const SOCKET: &str = "keeper.sock";

/// What the keeper says, in the same folder.
pub(super) const LOG: &str = "keeper.log";

/// How often the way to the desired state is planned anew: a first plan does it, a second finds what the kernel made
/// of it, and the others are for what somebody else does meanwhile.
const PLANS_MAX: u32 = 8;

/// How long a plan that failed in part is let rest: links of a keeper that ended go a little after it.
const REST: Duration = Duration::from_millis(50);

/// A host of ours.
pub(super) struct Site {
    host: Namespace,
    pub(super) keeper: Keeper,
    pub(super) memory: Memory,
    settings: Settings,
    _claim: Claim,
}

/// What should stand, and what was last seen of it.
pub(super) struct Standing {
    pub(super) desired: Desired,
    topology: Topology,
    pub(super) found: Found,
    eyes: Eyes,
}

/// What was done to bring a host to what it should have.
#[derive(Default)]
pub(super) struct Done {
    /// The namespaces that are new.
    pub(super) created: BTreeSet<Place>,
    /// Whether the router counts anew.
    pub(super) recounts: bool,
}

impl Site {
    /// Claims the host's networks, and finds the keeper or starts one.
    pub(super) async fn open(settings: Settings) -> Result<Self, NetworksError> {
        let files = host::process::allow_files(FILES);
        tracing::debug!(files, "this process may have so many files open");
        let host = Namespace::own()?;
        let claim = host.enter(Claim::take).await??;
        // A survey that was killed.
        survey::sweep(&host).await?;
        let memory = Memory::load(&settings.folder)?;
        let keeper = match Keeper::attach(socket(&settings)).await? {
            Some(keeper) => keeper,
            None => start_keeper(&settings).await?,
        };
        Ok(Self { host, keeper, memory, settings, _claim: claim })
    }

    /// Starts another keeper in place of one that ended.
    pub(super) async fn replace_keeper(&mut self) -> Result<(), NetworksError> {
        self.keeper = match Keeper::attach(socket(&self.settings)).await? {
            Some(keeper) => keeper,
            None => start_keeper(&self.settings).await?,
        };
        Ok(())
    }

    /// What the host is like.
    pub(super) async fn facts(&self) -> Result<HostFacts, NetworksError> {
        facts::read(&self.host, self.settings.interfaces.clone(), &self.memory).await
    }

    /// Replaces the rules alone, if that is a matter of elements: at once, before anything is read.
    pub(super) async fn hurry(&self, standing: &mut Standing, after: &Desired) -> Result<(), KeeperError> {
        use network::Change::{Elements, Nothing, Whole};
        let before = &standing.desired;
        standing.eyes.we_change_tables();
        for (place, before, after) in [
            (keeper::Place::Router, ruleset::write(before), ruleset::write(after)),
            (keeper::Place::Host, ruleset::write_host(before), ruleset::write_host(after)),
        ] {
            match after.change_from(&before) {
                Elements(text) => drop(self.keeper.load(place, text).await?),
                Nothing | Whole => (),
            }
        }
        Ok(())
    }

    /// Brings the host to what should stand, from wherever it is. What cannot be done of a single tenant's stays undone.
    ///
    /// # Errors
    /// When something of the host's or the router's cannot be done: nothing more is switched on then.
    pub(super) async fn converge(&mut self, standing: &mut Standing) -> Result<Done, NetworksError> {
        self.memory.will_switch_on(standing.desired.uplink().interfaces.iter())?;
        let mut done = Done::default();
        let mut failed = Vec::new();
        for _ in 0..PLANS_MAX {
            self.read(standing).await?;
            let Plan { steps, blocked } = plan(&standing.desired, &standing.found);
            for blocked in blocked {
                tracing::error!(%blocked, "a network cannot be made");
            }
            if steps.is_empty() {
                return Ok(done);
            }
            standing.eyes.we_change_tables();
            let Outcome { created, recounts, failed: now } =
                carry::out(&steps, &self.host, &self.keeper).await;
            done.created.extend(created);
            done.recounts |= recounts;
            failed = now;
            if !failed.is_empty() {
                done.recounts |= self.load_whole_if_refused(&standing.desired, &failed).await?;
                tokio::time::sleep(REST).await;
            }
        }
        for (place, error) in &failed {
            tracing::error!(%place, %error, "a network cannot be brought to what it should be");
        }
        let shared = failed.into_iter().find(|(place, _)| matches!(place, Place::Host | Place::Router));
        match shared {
            Some((_, error)) => Err(error),
            None => self.read(standing).await.map(|()| done),
        }
    }

    /// A change of elements that nftables does not take is no way: the whole is.
    async fn load_whole_if_refused(
        &self,
        desired: &Desired,
        failed: &[(Place, NetworksError)],
    ) -> Result<bool, NetworksError> {
        let mut recounts = false;
        for (place, error) in failed {
            let whole = match place {
                Place::Router => ruleset::write(desired),
                Place::Host => ruleset::write_host(desired),
                Place::ControlPlane | Place::Tenant(_) => continue,
            };
            let refused = matches!(error, NetworksError::Keeper(KeeperError::Refused { .. }));
            if let Some(at) = reading::kept_at(*place).filter(|_| refused) {
                self.keeper.load(at, whole.to_nft()).await?;
                recounts |= *place == Place::Router;
            }
        }
        Ok(recounts)
    }

    /// Reads everything, after taking note of how often it had changed.
    async fn read(&self, standing: &mut Standing) -> Result<(), NetworksError> {
        let Standing { topology, found, eyes, .. } = standing;
        let now = self.keeper.generations().await?;
        eyes.mark_names();
        for place in topology.namespaces.keys() {
            eyes.mark(*place, topology, now, &self.host, &self.keeper).await?;
        }
        *found = reading::all(topology, &self.host, &self.keeper).await?;
        Ok(())
    }

    /// Where something changed since it was last read.
    pub(super) async fn look(&self, standing: &mut Standing) -> Result<BTreeSet<Place>, NetworksError> {
        let now = self.keeper.generations().await?;
        let mut changed = standing.eyes.look(now);
        if standing.eyes.are_names_changed() {
            standing.eyes.mark_names();
            let names = reading::names(&standing.topology)?;
            let places = standing.topology.namespaces.keys();
            changed.extend(places.filter(|place| names.get(place) != standing.found.names.get(place)));
            standing.found.names = names;
        }
        Ok(changed)
    }

    /// Reads these places anew, and says where they all differ.
    pub(super) async fn compare(
        &self,
        places: &BTreeSet<Place>,
        standing: &mut Standing,
    ) -> Result<Vec<Drift>, NetworksError> {
        let Standing { desired, topology, found, eyes } = standing;
        let now = self.keeper.generations().await?;
        // Only the keeper changes the router's tables for us, and it was read after each time.
        let somebody = places.contains(&Place::Router) && eyes.did_somebody_change_tables(now);
        for place in places {
            eyes.mark(*place, topology, now, &self.host, &self.keeper).await?;
            reading::again(*place, topology, &self.host, &self.keeper, found).await?;
        }
        let mut drifts = differences(desired, found);
        if somebody && !drifts.iter().any(|drift| drift.namespace == Place::Router) {
            let what = "somebody changed the firewall, and changed it back";
            drifts.push(Drift::happened(DriftKind::ChangedBack, Place::Router, what));
        }
        Ok(drifts)
    }

    /// Switches the router's links to these tenants off.
    pub(super) async fn switch_off(
        &self,
        numbers: impl Iterator<Item = NetworkNumber>,
    ) -> Vec<(Place, NetworksError)> {
        let at = Place::Router;
        let down: Vec<Step> = numbers.map(|number| Step::Down { at, link: number.link() }).collect();
        carry::out(&down, &self.host, &self.keeper).await.failed
    }

    /// What nftables lists.
    pub(super) async fn list(&self, place: keeper::Place) -> Result<String, NetworksError> {
        Ok(self.keeper.list(place).await?.json)
    }
}

impl Standing {
    /// Nothing was seen yet.
    pub(super) fn of(desired: Desired) -> Self {
        let topology = topology(&desired);
        Self { desired, topology, found: Found::default(), eyes: Eyes::default() }
    }

    /// Something else should stand from now on.
    pub(super) fn ask(&mut self, desired: Desired) {
        self.topology = topology(&desired);
        self.desired = desired;
        for place in self.eyes.places() {
            if !self.topology.namespaces.contains_key(&place) {
                self.eyes.look_away(place);
            }
        }
    }

    /// Every place that should be there.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        self.topology.namespaces.keys().copied().collect()
    }

    /// Where what was last seen differs.
    pub(super) fn drift(&self) -> Vec<Drift> {
        differences(&self.desired, &self.found)
    }
}

pub(super) fn socket(settings: &Settings) -> PathBuf {
    settings.folder.join(SOCKET)
}

async fn start_keeper(settings: &Settings) -> Result<Keeper, NetworksError> {
    let socket = socket(settings);
    let mut spawn = Spawn::new(settings.program.clone(), "/".into());
    spawn.args = vec!["keeper".into(), "--socket".into(), socket.clone().into()];
    // Not this process's: it would hold open what the node's own reader waits to end.
    spawn.stderr = Output::File(settings.folder.join(LOG));
    Ok(Keeper::start(spawn, socket).await?)
}
