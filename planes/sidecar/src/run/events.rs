//! What the sidecar tells beside its heartbeats: security events, bounded, at least once.

use crate::metering::Notice;
use meter::SampleFault;
use serve::identity::{ControlPlane, WorkloadIdentity};
use serve::outbox::{Outbox, Seen, deliver};
use std::time::Duration;
use terms::{TenantId, Timestamp};
use tokio::time::{Instant, sleep_until};
use wire::event::{EventKind, EventOutcome, Plane};

/// How long to wait after a delivery that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The sidecar's events on their way.
pub(super) struct Events {
    tenant: TenantId,
    resource: String,
    outbox: Outbox,
    to: ControlPlane,
    next_try: Instant,
}

impl Events {
    pub(super) fn new(tenant: TenantId, identity: &WorkloadIdentity, to: ControlPlane) -> Self {
        let actor = identity.spiffe().to_string();
        let resource = format!("workload/{actor}");
        Self { tenant, resource, outbox: Outbox::new(Plane::Sidecar, actor), to, next_try: Instant::now() }
    }

    pub(super) fn note_all(&mut self, notices: Vec<Notice>, now: Timestamp) {
        for notice in notices {
            let (kind, reason, count) = described(&notice);
            tracing::warn!(?notice, "noticed");
            self.outbox.push(Seen {
                time: now,
                kind,
                resource: self.resource.clone(),
                tenant: Some(self.tenant),
                outcome: EventOutcome::Failure,
                reason,
                count: count.max(1),
            });
        }
    }

    /// Waits until there is something to deliver and a try may be made.
    pub(super) async fn are_due(&self) {
        if self.outbox.is_empty() {
            core::future::pending::<()>().await;
        }
        sleep_until(self.next_try).await;
    }

    /// Delivers what waits.
    pub(super) async fn deliver(&mut self, now: Timestamp) {
        if self.outbox.is_empty() {
            return;
        }
        let batch = self.outbox.batch();
        match deliver(&self.to, &batch).await {
            Ok(()) => self.outbox.delivered(now),
            Err(error) => {
                tracing::warn!(%error, "events wait");
                self.next_try = Instant::now() + RETRY;
            }
        }
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
        Notice::Refused { code, .. } => (EventKind::HeartbeatRefused, code.clone(), 1),
    }
}
