//! Security events: gathered, made one where they are equal, and sent until the control plane has them.
//!
//! The queue is bounded and lives in memory: a flood of refusals costs neither disk nor more than one row per
//! distinct event, and what does not fit is counted and said.

use crate::uplink::Uplink;
use host::clock::Clock;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::{EventId, TenantId};
use tokio::sync::Notify;
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent, TEXT_MAX};

/// Distinct events that wait; 2 MB at most.
const QUEUE_MAX: usize = 4_096;

/// Events in one delivery.
const BATCH_MAX: usize = 500;

/// How long equal events gather after the first of a batch.
const GATHER: Duration = Duration::from_millis(100);

/// The first and the longest wait after a delivery that failed.
const RETRY_MS: core::ops::RangeInclusive<u64> = 500..=30_000;

/// The events of one data plane; clones share them.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tenant: TenantId,
    clock: Clock,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<SecurityEvent>,
    /// Where in `waiting` an event of this kind is, counted from the first event ever.
    places: HashMap<Kind, u64>,
    taken: u64,
    dropped: u64,
    /// Taken, and not known to be delivered.
    in_flight: Vec<SecurityEvent>,
}

/// What makes two events equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    kind: EventKind,
    reason: String,
    actor: String,
    resource: String,
    address: Option<IpAddr>,
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Happened {
    /// What kind of thing.
    pub kind: EventKind,
    /// What came of it.
    pub outcome: EventOutcome,
    /// A stable reason code.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// On which resource: `kind/id`.
    pub resource: String,
    /// From which address.
    pub address: Option<IpAddr>,
    /// How often.
    pub count: u64,
}

impl Events {
    /// No events yet.
    #[must_use]
    pub fn new(tenant: TenantId, clock: Clock) -> Self {
        Self(Arc::new(Inner { tenant, clock, queue: Mutex::default(), arrived: Notify::new() }))
    }

    /// Whose data plane it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// The resource that stands for this data plane itself.
    #[must_use]
    pub fn own_resource(&self) -> String {
        format!("data-plane/{}", self.0.tenant)
    }

    /// Takes an event in.
    pub fn report(&self, happened: Happened) {
        let cut = |text: String| text.chars().take(TEXT_MAX / 4).collect::<String>();
        let Happened { kind, outcome, reason, actor, resource, address, count } = happened;
        let (reason, actor, resource) = (cut(reason), cut(actor), cut(resource));
        let key = Kind { kind, reason, actor, resource, address };
        let mut queue = self.queue();
        let at = queue.places.get(&key).map(|place| place.saturating_sub(queue.taken));
        let there = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| queue.waiting.get_mut(at));
        if let Some(event) = there {
            event.count = event.count.saturating_add(count);
            return;
        }
        let now = self.0.clock.now();
        let entropy = host::entropy::bytes::<10>();
        let (Ok(entropy), true) = (entropy, queue.waiting.len() < QUEUE_MAX) else {
            queue.dropped = queue.dropped.saturating_add(count);
            return;
        };
        let event = SecurityEvent {
            id: EventId::mint(now, entropy),
            time: now,
            plane: Plane::Data,
            kind,
            actor: key.actor.clone(),
            resource: key.resource.clone(),
            tenant: Some(self.0.tenant),
            outcome,
            reason: key.reason.clone(),
            address,
            count,
        };
        let place = queue.taken.saturating_add(queue.waiting.len() as u64);
        queue.places.insert(key, place);
        queue.waiting.push_back(event);
        drop(queue);
        self.0.arrived.notify_one();
    }

    /// Delivers events for as long as it is polled.
    pub async fn deliver(&self, uplink: &dyn Uplink) {
        loop {
            if self.queue().is_empty() {
                self.0.arrived.notified().await;
            }
            tokio::time::sleep(GATHER).await;
            self.flush(uplink).await;
        }
    }

    /// Delivers what waits now, however long it takes.
    pub async fn flush(&self, uplink: &dyn Uplink) {
        loop {
            let batch = self.take();
            if batch.is_empty() {
                return;
            }
            // Whoever drops this future leaves the batch to the next one.
            let mut retry_ms = *RETRY_MS.start();
            while let Err(error) = uplink.events(batch.clone()).await {
                tracing::warn!(%error, retry_ms, events = batch.len(), "security events were not delivered");
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
            }
            self.delivered();
        }
    }

    /// The next batch; the same one until it is delivered.
    fn take(&self) -> Vec<SecurityEvent> {
        self.note_dropped();
        let mut queue = self.queue();
        if !queue.in_flight.is_empty() {
            return queue.in_flight.clone();
        }
        let count = queue.waiting.len().min(BATCH_MAX);
        let batch: Vec<_> = queue.waiting.drain(..count).collect();
        queue.taken = queue.taken.saturating_add(count as u64);
        let taken = queue.taken;
        queue.places.retain(|_, place| *place >= taken);
        queue.in_flight.clone_from(&batch);
        batch
    }

    fn delivered(&self) {
        self.queue().in_flight.clear();
    }

    /// Says how many were dropped, once there is room to say it.
    fn note_dropped(&self) {
        let dropped = {
            let mut queue = self.queue();
            if queue.waiting.len() >= QUEUE_MAX { 0 } else { core::mem::take(&mut queue.dropped) }
        };
        if dropped > 0 {
            self.report(Happened {
                kind: EventKind::EventsDropped,
                outcome: EventOutcome::Failure,
                reason: "queue_full".to_owned(),
                actor: "system".to_owned(),
                resource: self.own_resource(),
                address: None,
                count: dropped,
            });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::Timestamp;

    #[test]
    fn equal_events_become_one_with_a_count() {
        let events = events();
        for _ in 0..5 {
            events.report(refused("plan.bad_signature", 1));
        }
        events.report(refused("plan.expired", 1));
        let batch = events.take();
        let counts: Vec<_> = batch.iter().map(|event| (event.reason.as_str(), event.count)).collect();
        assert_eq!(counts, [("plan.bad_signature", 5), ("plan.expired", 1)]);
    }

    #[test]
    fn an_event_after_its_equal_was_taken_is_a_new_one() {
        let events = events();
        events.report(refused("plan.expired", 1));
        let first = events.take();
        events.delivered();
        events.report(refused("plan.expired", 1));
        let second = events.take();
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first[0].id, second[0].id);
    }

    #[test]
    fn a_batch_is_taken_again_until_it_is_delivered() {
        let events = events();
        events.report(refused("plan.expired", 1));
        let first = events.take();
        events.report(refused("plan.bad_signature", 1));
        assert_eq!(events.take(), first);
        events.delivered();
        assert_eq!(events.take().len(), 1);
    }

    #[test]
    fn a_flood_of_distinct_events_is_bounded_and_what_was_dropped_is_said() {
        let events = events();
        for at in 0..QUEUE_MAX + 7 {
            events.report(refused(&format!("reason {at}"), 1));
        }
        let mut all = Vec::new();
        loop {
            let batch = events.take();
            if batch.is_empty() {
                break;
            }
            all.extend(batch);
            events.delivered();
        }
        let dropped = all.iter().find(|event| event.kind == EventKind::EventsDropped).unwrap();
        assert_eq!((all.len(), dropped.count), (QUEUE_MAX + 1, 7));
    }

    fn events() -> Events {
        Events::new(TenantId::from_bytes([1; 16]), Clock::fixed(Timestamp::from_unix_s(1_800_000_000)))
    }

    fn refused(reason: &str, count: u64) -> Happened {
        Happened {
            kind: EventKind::PlanRefused,
            outcome: EventOutcome::Denied,
            reason: reason.to_owned(),
            actor: "control-plane".to_owned(),
            resource: "data-plane/x".to_owned(),
            address: None,
            count,
        }
    }
}
