//! Security events on their way to the control plane: bounded, coalesced, delivered again until answered.

use crate::client::CallError;
use crate::identity::ControlPlane;
use api::event::DeliverEvents;
use core::pin::Pin;
use std::collections::VecDeque;
use std::time::Duration;
use terms::{EventId, TenantId, Timestamp};
use tokio::time::{Instant, sleep_until};
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// Most events that wait. When the control plane is away for long the first ones say what began; later ones are
/// counted and reported as dropped.
const WAITING_MAX: usize = 1_000;

/// The largest answer to a delivery.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a workload saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: EventKind,
    /// On which resource: `kind/id`.
    pub resource: String,
    /// For which tenant.
    pub tenant: Option<TenantId>,
    /// What came of it.
    pub outcome: EventOutcome,
    /// A stable reason code.
    pub reason: String,
    /// How many equal ones this stands for.
    pub count: u64,
}

/// Events that wait for delivery.
#[derive(Debug)]
pub struct Outbox {
    plane: Plane,
    actor: String,
    waiting: VecDeque<SecurityEvent>,
    /// How many of the first may be on their way: those must not change any more.
    under_way: usize,
    dropped: u64,
}

impl Outbox {
    /// An empty outbox for events that `plane` sees and `actor` reports.
    #[must_use]
    pub const fn new(plane: Plane, actor: String) -> Self {
        Self { plane, actor, waiting: VecDeque::new(), under_way: 0, dropped: 0 }
    }

    /// Adds an event. One that equals a waiting one raises its count instead.
    pub fn push(&mut self, seen: Seen) {
        let same = |event: &&mut SecurityEvent| {
            event.kind == seen.kind
                && event.resource == seen.resource
                && event.tenant == seen.tenant
                && event.outcome == seen.outcome
                && event.reason == seen.reason
        };
        if let Some(event) = self.waiting.iter_mut().skip(self.under_way).find(same) {
            event.count = event.count.saturating_add(seen.count);
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.dropped = self.dropped.saturating_add(seen.count);
            return;
        }
        self.append(seen);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A copy of what waits, oldest first, to be delivered. Without an answer the next batch begins with the same
    /// events under the same ids; with one, tell [`Outbox::delivered`].
    pub fn batch(&mut self) -> DeliverEvents {
        let events: Vec<_> = self.waiting.iter().take(wire::event::BATCH_MAX).cloned().collect();
        self.under_way = self.under_way.max(events.len());
        DeliverEvents { events }
    }

    /// The control plane has them.
    pub fn delivered(&mut self, now: Timestamp) {
        self.waiting.drain(..self.under_way.min(self.waiting.len()));
        self.under_way = 0;
        let dropped = core::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.append(Seen {
                time: now,
                kind: EventKind::EventsDropped,
                resource: "outbox".to_owned(),
                tenant: None,
                outcome: EventOutcome::Failure,
                reason: "outbox.full".to_owned(),
                count: dropped,
            });
        }
    }

    fn append(&mut self, seen: Seen) {
        // The id only has to differ from the sender's other ids; without entropy the time still does.
        let entropy = host::entropy::bytes::<10>().unwrap_or_default();
        self.waiting.push_back(SecurityEvent {
            id: EventId::mint(seen.time, entropy),
            time: seen.time,
            plane: self.plane,
            kind: seen.kind,
            actor: self.actor.clone(),
            resource: seen.resource,
            tenant: seen.tenant,
            outcome: seen.outcome,
            reason: seen.reason,
            address: None,
            count: seen.count,
        });
    }
}

/// The first and the longest wait after a delivery without an answer.
const RETRY_MS: core::ops::RangeInclusive<u64> = 500..=30_000;

/// A delivery without an answer yet.
type Delivery = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// Carries an outbox to the control plane, one batch at a time, beside whatever else its owner does.
pub struct Courier {
    outbox: Outbox,
    to: ControlPlane,
    next_try: Instant,
    retry_ms: u64,
    under_way: Option<Delivery>,
}

impl Courier {
    /// Carries `outbox` to `to`.
    #[must_use]
    pub fn new(outbox: Outbox, to: ControlPlane) -> Self {
        Self { outbox, to, next_try: Instant::now(), retry_ms: *RETRY_MS.start(), under_way: None }
    }

    /// Adds an event.
    pub fn push(&mut self, seen: Seen) {
        self.outbox.push(seen);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Delivers the next batch; waits for as long as there is none. Resolves once it has an answer, or none in
    /// time; a call that is dropped before that takes up the same delivery the next time.
    pub async fn carry(&mut self, now: impl Fn() -> Timestamp) {
        if self.under_way.is_none() {
            if self.outbox.is_empty() {
                core::future::pending::<()>().await;
            }
            sleep_until(self.next_try).await;
        }
        let (to, outbox) = (&self.to, &mut self.outbox);
        let call = self.under_way.get_or_insert_with(|| Box::pin(deliver(to.clone(), outbox.batch())));
        let answer = call.as_mut().await;
        self.under_way = None;
        match answer {
            Ok(()) => {
                self.outbox.delivered(now());
                self.retry_ms = *RETRY_MS.start();
            }
            Err(error) if is_unreadable(&error) => {
                tracing::error!(%error, "the control plane does not read these events; they are dropped");
                self.outbox.delivered(now());
            }
            Err(error) => {
                tracing::debug!(%error, retry_ms = self.retry_ms, "events wait");
                self.next_try = Instant::now() + Duration::from_millis(self.retry_ms);
                self.retry_ms = self.retry_ms.saturating_mul(2).min(*RETRY_MS.end());
            }
        }
    }
}

impl core::fmt::Debug for Courier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Courier").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

async fn deliver(to: ControlPlane, batch: DeliverEvents) -> Result<(), CallError> {
    let _: serde_json::Value = to.post("/v1/events", &batch, MAX_ANSWER_BYTES).await?;
    Ok(())
}

/// Whether the same bytes would be refused for their form for ever.
fn is_unreadable(error: &CallError) -> bool {
    match error {
        CallError::Problem(_, status) => matches!(status.as_u16(), 400 | 413 | 415 | 422),
        CallError::Unreachable(_)
        | CallError::Timeout
        | CallError::Malformed { .. }
        | CallError::TooLarge(_)
        | CallError::Request(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_raise_a_count_until_they_are_on_their_way() {
        let mut outbox = outbox();
        outbox.push(seen("a"));
        outbox.push(seen("a"));
        assert_eq!(counts(&outbox.batch()), [2]);
        outbox.push(seen("a"));
        assert_eq!(counts(&outbox.batch()), [2, 1]);
    }

    #[test]
    fn events_without_an_answer_go_out_again_under_the_same_ids() {
        let mut outbox = outbox();
        outbox.push(seen("a"));
        let first = outbox.batch().events;
        assert_eq!(outbox.batch().events, first);
        outbox.delivered(Timestamp::EPOCH);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_reported() {
        let mut outbox = outbox();
        for n in 0..WAITING_MAX + 7 {
            outbox.push(seen(&n.to_string()));
        }
        assert_eq!(outbox.batch().events.len(), WAITING_MAX);
        outbox.delivered(Timestamp::EPOCH);
        let rest = outbox.batch().events;
        assert_eq!((rest[0].kind, rest[0].count), (EventKind::EventsDropped, 7));
    }

    fn outbox() -> Outbox {
        Outbox::new(Plane::Node, "node/1".to_owned())
    }

    fn counts(batch: &DeliverEvents) -> Vec<u64> {
        batch.events.iter().map(|event| event.count).collect()
    }

    fn seen(reason: &str) -> Seen {
        Seen {
            time: Timestamp::EPOCH,
            kind: EventKind::ProcessChanged,
            resource: "process/x".to_owned(),
            tenant: None,
            outcome: EventOutcome::Success,
            reason: reason.to_owned(),
            count: 1,
        }
    }
}
