//! The one task that changes the host's networks: it carries out what is asked, looks for drift and repairs it.

use super::drifts::{Drifts, Finding};
use super::facts::HostFacts;
use super::site::{Done, Site, Standing};
use super::wanted::Wanted;
use super::{Counted, NetworksError, eyes};
use host::clock::Clock;
use host::network::keeper;
use network::converge::remains;
use network::{Desired, Drift, DriftKind, Namespace as Place, NetworkNumber, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// How often all of it is compared though nothing seems to have changed.
const WHOLE: Duration = Duration::from_secs(30);

/// How often a repair that did not help is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How long a keeper that cannot be started is left alone.
const KEEPER_AGAIN: Duration = Duration::from_secs(1);

/// What the warden is asked for.
pub(super) enum Order {
    /// Bring the host to this.
    Apply(Wanted, oneshot::Sender<Result<(), NetworksError>>),
    /// Say what passed.
    Traffic(oneshot::Sender<Result<BTreeMap<NetworkNumber, Counted>, NetworksError>>),
    /// Say what should stand.
    Show(oneshot::Sender<Option<Arc<Desired>>>),
    /// Switch tenants off, and stop.
    End(oneshot::Sender<()>),
}

/// What can be said of the networks without asking anybody.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    /// The version that the host has.
    pub(super) applied: u64,
    /// Numbers of which nothing is left.
    pub(super) gone: BTreeSet<NetworkNumber>,
    /// What the host is like.
    pub(super) facts: HostFacts,
    /// Where it differs.
    pub(super) drifts: Drifts,
}

/// The task.
pub(super) struct Warden {
    site: Site,
    clock: Clock,
    repair: bool,
    wanted: Option<Wanted>,
    standing: Option<Standing>,
    status: watch::Sender<Status>,
    findings: mpsc::Sender<Finding>,
    /// When everything is compared next.
    whole_at: Instant,
    /// When a repair is tried next, after one that did not help.
    again_at: Option<Instant>,
}

impl Warden {
    pub(super) fn new(
        site: Site,
        clock: Clock,
        repair: bool,
        status: watch::Sender<Status>,
        findings: mpsc::Sender<Finding>,
    ) -> Self {
        Self {
            site,
            clock,
            repair,
            wanted: None,
            standing: None,
            status,
            findings,
            whole_at: Instant::now() + WHOLE,
            again_at: None,
        }
    }

    /// Carries out orders, and looks at what stands, until the end.
    pub(super) async fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut rounds = tokio::time::interval(eyes::ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                ended = self.site.keeper.ended() => {
                    self.keeper_ended(ended).await;
                    continue;
                }
                _ = rounds.tick() => {
                    self.round().await;
                    continue;
                }
            };
            match order {
                Some(Order::Apply(wanted, reply)) => drop(reply.send(self.apply(wanted).await)),
                Some(Order::Traffic(reply)) => drop(reply.send(self.traffic().await)),
                Some(Order::Show(reply)) => {
                    let desired = self.standing.as_ref().map(|standing| Arc::new(standing.desired.clone()));
                    let _nobody_waits = reply.send(desired);
                }
                Some(Order::End(reply)) => {
                    self.end().await;
                    drop(self);
                    let _nobody_waits = reply.send(());
                    return;
                }
                None => return,
            }
        }
    }

    /// Brings the host to what is wanted. What somebody else did before is told first.
    pub(super) async fn apply(&mut self, wanted: Wanted) -> Result<(), NetworksError> {
        self.tell_before().await;
        let facts = self.site.facts().await?;
        let desired = wanted.on(&facts)?;
        self.status.send_modify(|status| status.facts = facts);
        let version = wanted.version;
        self.wanted = Some(wanted);
        let before = self.standing.as_ref().map(Standing::places).unwrap_or_default();
        match &mut self.standing {
            Some(standing) => {
                // Whoever is suspended is cut off at once. If that fails, the way below does it.
                let _slower = self.site.hurry(standing, &desired).await;
                standing.ask(desired);
            }
            None => self.standing = Some(Standing::of(desired)),
        }
        let created = &self.converge().await? & &before;
        self.status.send_modify(|status| status.applied = version);
        let left = self.standing.as_ref().map(Standing::drift).unwrap_or_default();
        self.again_at = (!left.is_empty()).then(|| Instant::now() + AGAIN);
        self.differ(left, &created);
        Ok(())
    }

    /// Drift that a change would clear away unseen.
    async fn tell_before(&mut self) {
        let Some(standing) = &mut self.standing else { return };
        let Ok(changed) = self.site.look(standing).await else { return };
        if changed.is_empty() {
            return;
        }
        if let Ok(drifts) = self.site.compare(&changed, standing).await {
            self.mended(drifts, &BTreeSet::new());
        }
    }

    /// Brings the host to what should stand, and gives the namespaces that are new.
    async fn converge(&mut self) -> Result<BTreeSet<Place>, NetworksError> {
        let Some(standing) = &mut self.standing else { return Ok(BTreeSet::new()) };
        let Done { created, recounts } = self.site.converge(standing).await.inspect_err(|_| {
            self.again_at = Some(Instant::now() + AGAIN);
        })?;
        let numbers = standing.desired.tenants().iter().map(|tenant| tenant.number);
        let keeper = self.site.keeper.pid();
        self.site.memory.counts(numbers.clone(), keeper, recounts, self.clock.now())?;
        let mut left = remains(&standing.found);
        left.extend(numbers);
        let gone = NetworkNumber::all().filter(|number| !left.contains(number)).collect();
        self.status.send_modify(|status| status.gone = gone);
        self.whole_at = Instant::now() + WHOLE;
        Ok(created)
    }

    /// One round: looks where something changed, compares that, and repairs it.
    async fn round(&mut self) {
        let drifts = match self.look().await {
            Ok(Some(drifts)) => drifts,
            Ok(None) => {
                let now = self.clock.now();
                self.status.send_if_modified(|status| {
                    status.drifts.still(now);
                    false
                });
                return;
            }
            Err(error) => {
                // A keeper that ended is heard of in another way.
                tracing::warn!(%error, "the networks of this host cannot be looked at");
                return;
            }
        };
        if !drifts.is_empty() {
            self.mend(drifts).await;
        } else {
            self.again_at = None;
            self.differ(drifts, &BTreeSet::new());
        }
        self.follow_the_host().await;
    }

    /// Where the host differs, if anything of it changed or it is time to compare all of it.
    async fn look(&mut self) -> Result<Option<Vec<Drift>>, NetworksError> {
        let Some(standing) = &mut self.standing else { return Ok(None) };
        let mut changed = self.site.look(standing).await?;
        let now = Instant::now();
        if now >= self.whole_at || self.again_at.is_some_and(|at| now >= at) {
            self.whole_at = now + WHOLE;
            changed.extend(standing.places());
        }
        if changed.is_empty() {
            return Ok(None);
        }
        self.site.compare(&changed, standing).await.map(Some)
    }

    /// Repairs what differs, if that is wanted, and tells of it.
    async fn mend(&mut self, drifts: Vec<Drift>) {
        if !self.repair || self.again_at.is_some_and(|at| Instant::now() < at) {
            return self.differ(drifts, &BTreeSet::new());
        }
        match self.converge().await {
            Ok(created) => {
                let left = self.standing.as_ref().map(Standing::drift).unwrap_or_default();
                self.again_at = (!left.is_empty()).then(|| Instant::now() + AGAIN);
                let mended = drifts.into_iter().filter(|drift| !left.contains(drift)).collect();
                self.mended(mended, &created);
                self.differ(left, &BTreeSet::new());
            }
            Err(error) => {
                tracing::error!(%error, "drift cannot be repaired");
                self.differ(drifts, &BTreeSet::new());
            }
        }
    }

    /// Whether the host got other addresses or routes: what is wanted stays, and what it means is another thing.
    async fn follow_the_host(&mut self) {
        let (Some(wanted), Ok(facts)) = (&self.wanted, self.site.facts().await) else { return };
        if facts == self.status.borrow().facts {
            return;
        }
        let desired = wanted.on(&facts);
        self.status.send_modify(|status| status.facts = facts);
        match (desired, &mut self.standing) {
            (Ok(desired), Some(standing)) => {
                standing.ask(desired);
                if let Err(error) = self.converge().await {
                    tracing::error!(%error, "the networks cannot follow the host's addresses");
                }
            }
            (Err(error), _) => {
                tracing::error!(%error, "the host has changed, and its networks cannot follow")
            }
            (Ok(_), None) => (),
        }
    }

    /// Everything is closed: builds it again, with another keeper.
    async fn keeper_ended(&mut self, ended: io::Result<()>) {
        if let Err(error) = ended {
            tracing::warn!(%error, "the keeper cannot be waited for");
        }
        let what = "the keeper ended, and every link with it";
        let drift = vec![Drift::happened(DriftKind::KeeperEnded, Place::Router, what)];
        let rebuilt = match self.site.replace_keeper().await {
            Ok(()) => self.converge().await,
            Err(error) => Err(error),
        };
        match rebuilt {
            Ok(created) => self.mended(drift, &created),
            Err(error) => {
                tracing::error!(%error, "the networks cannot be built again");
                self.differ(drift, &BTreeSet::new());
                tokio::time::sleep(KEEPER_AGAIN).await;
            }
        }
    }

    /// What passed for each tenant.
    async fn traffic(&self) -> Result<BTreeMap<NetworkNumber, Counted>, NetworksError> {
        let listing = self.site.list(keeper::Place::Router).await?;
        let table = Table::read(&[listing]).map_err(|_| NetworksError::Listing)?;
        let counted = table.traffic().into_iter().filter_map(|(number, traffic)| {
            let since = self.site.memory.counted_since(number)?;
            Some((number, Counted { since, traffic }))
        });
        Ok(counted.collect())
    }

    fn differ(&self, drifts: Vec<Drift>, created: &BTreeSet<Place>) {
        let at = self.clock.now();
        let mut new = Vec::new();
        self.status.send_modify(|status| new = status.drifts.differ(drifts, at));
        self.tell(Finding { at, drifts: new, repaired: false, rebuilt: tenants(created) });
    }

    fn mended(&self, drifts: Vec<Drift>, created: &BTreeSet<Place>) {
        let at = self.clock.now();
        self.status.send_modify(|status| status.drifts.mended(&drifts, at));
        self.tell(Finding { at, drifts, repaired: true, rebuilt: tenants(created) });
    }

    fn tell(&self, finding: Finding) {
        if finding.drifts.is_empty() && finding.rebuilt.is_empty() {
            return;
        }
        for drift in &finding.drifts {
            tracing::warn!(%drift, repaired = finding.repaired, "drift");
        }
        // Nobody listens, or not for a long time: it stays counted, and what is open stays open.
        let _lost = self.findings.try_send(finding);
    }

    /// Switches tenants off: their processes have ended, and nobody looks after them any more. The way to the control
    /// plane stays, and so do the rules, with the keeper: the next node finds them as they are.
    async fn end(&mut self) {
        let Some(standing) = &self.standing else { return };
        let failed =
            self.site.switch_off(standing.desired.tenants().iter().map(|tenant| tenant.number)).await;
        for (place, error) in failed {
            tracing::warn!(%place, %error, "a network was not switched off");
        }
    }
}

fn tenants(places: &BTreeSet<Place>) -> Vec<NetworkNumber> {
    let number = |place: &Place| match place {
        Place::Tenant(number) => Some(*number),
        Place::Host | Place::Router | Place::ControlPlane => None,
    };
    places.iter().filter_map(number).collect()
}
