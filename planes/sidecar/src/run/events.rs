//! What the sidecar tells beside its heartbeats: security events, bounded, at least once.

use crate::metering::Notice;
use host::clock::Clock;
use meter::SampleFault;
use serve::identity::{ControlPlane, WorkloadIdentity};
use serve::outbox::{Courier, Outbox, Seen};
use terms::TenantId;
use wire::event::{EventKind, EventOutcome, Plane};

/// The sidecar's events on their way.
pub(super) struct Events {
    tenant: TenantId,
    resource: String,
    clock: Clock,
    courier: Courier,
}

impl Events {
    pub(super) fn new(tenant: TenantId, identity: &WorkloadIdentity, to: ControlPlane, clock: Clock) -> Self {
        let actor = identity.spiffe().to_string();
        let resource = format!("workload/{actor}");
        let courier = Courier::new(Outbox::new(Plane::Sidecar, actor), to);
        Self { tenant, resource, clock, courier }
    }

    pub(super) fn note_all(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let (kind, reason, count) = described(&notice);
            tracing::warn!(?notice, "noticed");
            self.courier.push(Seen {
                time: self.clock.now(),
                kind,
                resource: self.resource.clone(),
                tenant: Some(self.tenant),
                outcome: EventOutcome::Failure,
                reason,
                count: count.max(1),
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.courier.is_empty()
    }

    /// Delivers what waits, for as long as it is polled; see [`Courier::carry`].
    pub(super) async fn carry(&mut self) {
        let clock = &self.clock;
        self.courier.carry(|| clock.now()).await;
    }
}

/// The kind, the stable reason code and the count of a notice.
fn described(notice: &Notice) -> (EventKind, String, u64) {
    match notice {
        Notice::Recovered { within: false, .. } => {
            (EventKind::JournalRecovered, "journal.tail".to_owned(), 1)
        }
        Notice::Recovered { within: true, .. } => (EventKind::JournalDamaged, "journal.middle".to_owned(), 1),
        Notice::TakenOver { heartbeats } => {
            (EventKind::HeartbeatGap, "heartbeat.taken_over".to_owned(), *heartbeats)
        }
        Notice::Expired { heartbeats } => {
            (EventKind::HeartbeatGap, "heartbeat.expired".to_owned(), *heartbeats)
        }
        Notice::ClockBehind { .. } => (EventKind::ClockAnomaly, "clock.behind".to_owned(), 1),
        Notice::Sample(SampleFault::CounterWentBack { .. }) => {
            (EventKind::MeteringAnomaly, "sample.counter_went_back".to_owned(), 1)
        }
        Notice::Sample(SampleFault::EpochCameBack(_)) => {
            (EventKind::MeteringAnomaly, "sample.epoch_came_back".to_owned(), 1)
        }
        Notice::ForeignPeer { .. } => (EventKind::MeteringAnomaly, "sample.foreign_peer".to_owned(), 1),
        Notice::Refused { code, .. } => (EventKind::HeartbeatRefused, code.clone(), 1),
    }
}
