//! The node's side of tenant networks: which ones this host should have, and what is told of them.
//!
//! ```text
//! poll: another version -> fetch -> verify, judge -> keep on disk -> task: builds, watches, repairs
//!                                                                      | standing
//!                                supervisor: who may start or stop <---'---> reports, events
//! ```
//! A task of its own does what takes time: a network that cannot be built holds up no process and no report.

mod ground;
mod probes;
mod report;
mod task;

pub(crate) use ground::{Ground, GroundError, SIGN, last_node};
pub(crate) use report::NetworkReports;
pub(crate) use task::News;

use crate::desired::fetch::{FetchError, Fetched, Fetches};
use crate::desired::refusals::{Refusals, Told};
use crate::desired::shelf::Shelf;
use crate::desired::{Held, Judgement, Refusal, Whose, open};
use crate::seat::Seat;
use api::network::ReportNetworks;
use ground::Recalled;
use host::clock::Clock;
use host::network::{NameError, Namespace, NamespaceName};
use network::NetworkNumber;
use notary::KeySet;
use probes::Probes;
use serve::identity::ControlPlane;
use serve::outbox::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use task::Task;
use terms::{NodeId, TenantId, Timestamp};
use wire::event::{EventKind, EventOutcome};
use wire::networks::Quota;

/// Networks, once the node knows who it is.
pub(crate) struct Networking {
    own: Option<Own>,
    clock: Clock,
}

/// Networks of the host's own making.
struct Own {
    dir: PathBuf,
    whose: Whose,
    task: Task,
    held: Held,
    shelf: Shelf,
    /// The version that the control plane last asked for.
    wanted: Option<u64>,
    fetches: Fetches,
    refusals: Refusals,
    probes: Probes,
    /// Of each tenant with a seat, when its network had been made.
    seated: BTreeMap<TenantId, u64>,
    /// Events from before anybody could be told.
    before: Vec<Seen>,
}

impl Networking {
    /// Every tenant on the host's loopback.
    pub(crate) const fn none(clock: Clock) -> Self {
        Self { own: None, clock }
    }

    /// Goes on with `ground`, for the node with this id, which is enrolled with `issuer`.
    pub(crate) fn on(
        mut ground: Ground,
        control_plane: &ControlPlane,
        (node, issuer): (NodeId, &str),
        clock: Clock,
    ) -> Self {
        let whose = Whose { node, issuer: issuer.to_owned(), place: ground.place.clone() };
        let Recalled { held, shelf, seen: before } = ground.recall(&whose, clock.now());
        let own = Own {
            dir: ground.dir,
            whose,
            task: ground.task,
            held,
            shelf,
            wanted: None,
            fetches: Fetches::new(control_plane.clone()),
            refusals: Refusals::default(),
            probes: Probes::new(control_plane.clone()),
            seated: BTreeMap::new(),
            before,
        };
        Self { own: Some(own), clock }
    }

    /// Whether each tenant has a network of its own.
    pub(crate) const fn are_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether each tenant has a network of its own, as the control plane last asked for it.
    pub(crate) fn stand_as_asked(&self) -> bool {
        self.own.as_ref().is_some_and(|own| {
            let version = own.task.standing().version;
            version > 0 && own.wanted.is_none_or(|wanted| wanted == version)
        })
    }

    /// The tenants that ran when the control plane last said something, as far as the node remembers.
    pub(crate) fn remembered(&self) -> Vec<TenantId> {
        let accepted = self.own.as_ref().and_then(|own| own.held.accepted());
        accepted.map(|accepted| accepted.live().collect()).unwrap_or_default()
    }

    /// The control plane asks for this version of the networks, and for probes of them.
    pub(crate) fn asked(&mut self, version: Option<u64>, probe: Option<Timestamp>) {
        let Some(own) = &mut self.own else { return };
        own.wanted = version.or(own.wanted);
        if let Some(asked_at) = probe {
            own.probes.wanted(asked_at, &own.task);
        }
    }

    /// The tenants whose networks stand and let flows pass.
    pub(crate) fn open(&self) -> BTreeSet<TenantId> {
        let own = self.own.as_ref();
        own.map(|own| own.task.standing().open.keys().copied().collect()).unwrap_or_default()
    }

    /// A tenant's place in its network, if that stands.
    pub(crate) fn seat(&mut self, tenant: TenantId) -> Option<Seat> {
        self.own.as_mut()?.seat(tenant).inspect_err(|why| tracing::error!(%tenant, why, "no place")).ok()
    }

    /// The tenants whose networks went or were made anew since they got their seats there: those are in the old ones.
    pub(crate) fn displaced(&mut self) -> Vec<TenantId> {
        let Some(own) = &mut self.own else { return Vec::new() };
        let made = own.task.standing().made.clone();
        let is_old = |tenant: &TenantId, then: &mut u64| made.get(tenant) != Some(then);
        own.seated.extract_if(.., is_old).map(|(tenant, _)| tenant).collect()
    }

    /// What a tenant may use of the host: what the control plane signed, or what everybody gets.
    pub(crate) fn quota(&self, tenant: TenantId) -> Quota {
        let accepted = self.own.as_ref().and_then(|own| own.held.accepted());
        accepted.and_then(|accepted| accepted.quota(tenant)).unwrap_or_default()
    }

    /// Goes on with whatever is under way. A call that is dropped before it resolves goes on the next time.
    pub(crate) async fn carry(&mut self) -> News {
        let Some(own) = &mut self.own else { return core::future::pending().await };
        if !own.before.is_empty() {
            return News::Seen(core::mem::take(&mut own.before));
        }
        let is_wanted = own.wanted.is_some_and(|wanted| wanted != own.held.version());
        tokio::select! {
            fetched = own.fetches.fetched(is_wanted) => News::Seen(own.judge(fetched, self.clock.now())),
            news = own.task.news() => news,
            () = own.probes.carry() => News::Seen(Vec::new()),
        }
    }

    /// How things stand, to be reported; none as long as nobody knows.
    pub(crate) fn report(&self) -> Option<ReportNetworks> {
        match &self.own {
            None => Some(report::on_loopback()),
            Some(own) => own.task.standing().report.clone(),
        }
    }

    /// Takes the tenants' networks down.
    pub(crate) async fn end(self) {
        if let Some(own) = self.own {
            ground::end(own.task, &own.dir).await;
        }
    }
}

// === impl Own ===

impl Own {
    fn seat(&mut self, tenant: TenantId) -> Result<Seat, String> {
        let standing = self.task.standing();
        let number = *standing.open.get(&tenant).ok_or("its network does not stand")?;
        let made = *standing.made.get(&tenant).ok_or("its network does not stand")?;
        let address = standing.report.as_ref().and_then(|report| report.address);
        drop(standing);
        let namespace = network_of(tenant, number)?;
        let control_plane = self.held.accepted().ok_or("nobody asked for its network")?.control_plane();
        let seat = Seat::own(namespace, number, control_plane, address).ok_or(
            "nobody knows at which address the control plane would reach this host: set `networks.address`",
        )?;
        self.seated.insert(tenant, made);
        Ok(seat)
    }

    /// Judges what was fetched. What is accepted is on disk before anything is done about it.
    fn judge(&mut self, fetched: Result<Fetched, FetchError>, now: Timestamp) -> Vec<Seen> {
        let Fetched { envelope, keys } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(%error, "the networks of this host could not be fetched");
                return Vec::new();
            }
        };
        let judged = open(&envelope, &KeySet::from_jwks(&keys).0)
            .and_then(|document| self.held.judge(document, &self.whose));
        match judged {
            Ok(Judgement::Known) => {}
            Ok(Judgement::Newer(accepted)) => {
                if let Err(error) = self.shelf.keep(&envelope, &keys) {
                    tracing::error!(%error, "networks that cannot be kept are not used");
                    return Vec::new();
                }
                let (version, tenants) = (accepted.version(), accepted.tenants().len());
                tracing::info!(version, tenants, "networks taken");
                self.task.apply(&accepted);
                self.held.take(accepted);
                self.fetches.was_of_use();
            }
            Err(refusal) => return self.refused(refusal, now),
        }
        self.refusals.ended().into_iter().map(|told| denied(told, now)).collect()
    }

    fn refused(&mut self, refusal: Refusal, now: Timestamp) -> Vec<Seen> {
        let said = refusal.to_string();
        let told = self.refusals.came(refusal);
        if let Some(Told { code, .. }) = told.last() {
            tracing::error!(code, "networks refused: {said}");
        }
        told.into_iter().map(|told| denied(told, now)).collect()
    }
}

/// The namespace of a tenant's network: by its name, which anybody could have given, and by the tenant in its tag.
fn network_of(tenant: TenantId, number: NetworkNumber) -> Result<Namespace, String> {
    let name = network::Namespace::Tenant(number).name().unwrap_or_default();
    let name: NamespaceName = name.parse().map_err(|error: NameError| error.to_string())?;
    let namespace = Namespace::open(&name).map_err(|error| error.to_string())?;
    let tag = namespace.tag().map_err(|error| error.to_string())?;
    let whose = format!("tenant={tenant}");
    if tag.is_some_and(|tag| tag.as_ref().split(' ').any(|word| word == whose)) {
        return Ok(namespace);
    }
    Err(format!("the network namespace `{name}` is not this tenant's"))
}

fn denied(told: Told, now: Timestamp) -> Seen {
    Seen {
        time: now,
        kind: EventKind::NetworkChanged,
        resource: "network/host".to_owned(),
        tenant: None,
        outcome: EventOutcome::Denied,
        reason: told.code.to_owned(),
        count: told.count,
    }
}
