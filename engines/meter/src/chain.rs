//! The sidecar's chain: each heartbeat follows from the one before.

use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::heartbeat::{Heartbeat, HeartbeatError, Integrity, Totals};

/// Where the chain stands. A value: the next one is saved, synced, before its heartbeat is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Who swears.
    pub sidecar: SidecarId,
    /// For which tenant.
    pub tenant: TenantId,
    /// How often this sidecar has started; 0 before its first start.
    pub epoch: u64,
    /// The last heartbeat's counter; 0 before the first.
    pub counter: u64,
    /// SHA-256 of the last heartbeat's payload; zeros before the first.
    pub prev: Digest,
    /// The last heartbeat's time, in seconds since the epoch.
    pub time_s: i64,
    /// The latest time that the control plane took, in seconds since the epoch.
    pub settled_time_s: i64,
}

/// What a heartbeat is made of, next to the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// When.
    pub now: Timestamp,
    /// What was consumed since enrolment.
    pub totals: Totals,
    /// The sidecar's release.
    pub release: String,
    /// What the sidecar found when it looked at itself.
    pub integrity: Integrity,
    /// The challenge of the last answer.
    pub nonce: Option<String>,
    /// Whether it is not live: see [`Spool::next_is_spooled`](crate::Spool::next_is_spooled).
    pub spooled: bool,
}

/// One more heartbeat of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The heartbeat.
    pub heartbeat: Heartbeat,
    /// Its exact bytes, to be signed.
    pub payload: Vec<u8>,
    /// Where the chain stands after it.
    pub next: Chain,
    /// By how many seconds the clock stood before the previous heartbeat, whose time was used instead; 0 if it
    /// did not.
    pub clock_behind_s: u64,
}

/// Says why no heartbeat can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It cannot be written as JSON.
    #[error("the heartbeat cannot be written: {0}")]
    Unwritable(String),
    /// Nobody would read it: a bound is not kept, or the sidecar was never started.
    #[error("the heartbeat would be refused: {0}")]
    Unreadable(#[from] HeartbeatError),
}

impl Chain {
    /// The chain of a sidecar that was just enrolled.
    #[must_use]
    pub const fn enrolled(sidecar: SidecarId, tenant: TenantId) -> Self {
        let prev = Digest::from_bytes([0; 32]);
        Self { sidecar, tenant, epoch: 0, counter: 0, prev, time_s: 0, settled_time_s: 0 }
    }

    /// The chain after a start of the sidecar: a new epoch, the counter goes on. To be called at each start.
    #[must_use]
    pub const fn restarted(self) -> Self {
        Self { epoch: self.epoch.saturating_add(1), ..self }
    }

    /// Makes the next heartbeat. Its time is never before the previous one's.
    ///
    /// # Errors
    /// [`ChainError`] if it would not be readable; the chain stands where it stood.
    pub fn next(&self, made: Made) -> Result<Link, ChainError> {
        let now_s = made.now.unix_s();
        let time_s = now_s.max(self.time_s);
        let heartbeat = Heartbeat {
            sidecar: self.sidecar,
            tenant: self.tenant,
            epoch: self.epoch,
            counter: self.counter.saturating_add(1),
            time: time_s,
            prev: self.prev,
            totals: made.totals,
            release: made.release,
            integrity: made.integrity,
            nonce: made.nonce,
            spooled: made.spooled,
        };
        let payload = heartbeat.to_bytes().map_err(|e| ChainError::Unwritable(e.to_string()))?;
        // Read back by the control plane's own reader: what is sworn can be read.
        let heartbeat = Heartbeat::read(&payload)?;
        let next = Self { counter: heartbeat.counter, prev: Digest::sha256(&payload), time_s, ..*self };
        Ok(Link { heartbeat, payload, next, clock_behind_s: time_s.abs_diff(now_s) })
    }

    /// Notes that the control plane took a heartbeat of that time, knew it, or found it stale or too old: nothing
    /// earlier will be taken.
    #[must_use]
    pub fn settled(self, time_s: i64) -> Self {
        Self { settled_time_s: self.settled_time_s.max(time_s), ..self }
    }

    /// Notes that the control plane refused a heartbeat because its time lay ahead: the clock was wrong, and the
    /// next heartbeat need only be later than the last one that was taken.
    #[must_use]
    pub const fn clock_corrected(self) -> Self {
        Self { time_s: self.settled_time_s, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heartbeat_follows_from_the_one_before() {
        let first = chain().next(made(100)).unwrap();
        let second = first.next.next(made(110)).unwrap();
        assert_eq!((first.heartbeat.counter, first.heartbeat.prev), (1, Digest::from_bytes([0; 32])));
        assert_eq!((second.heartbeat.counter, second.heartbeat.prev), (2, Digest::sha256(&first.payload)));
        assert_eq!(second.heartbeat, Heartbeat::read(&second.payload).unwrap());
        assert_eq!(second.next.prev, Digest::sha256(&second.payload));
    }

    #[test]
    fn a_start_is_a_new_epoch_and_the_counter_goes_on() {
        let before = chain().next(made(100)).unwrap().next;
        let after = before.restarted().next(made(110)).unwrap().heartbeat;
        assert_eq!((after.epoch, after.counter, after.prev), (2, 2, before.prev));
    }

    #[test]
    fn a_clock_that_was_set_back_is_held_and_reported() {
        let first = chain().next(made(100)).unwrap();
        assert_eq!(first.clock_behind_s, 0);
        let second = first.next.next(made(40)).unwrap();
        assert_eq!((second.heartbeat.time, second.clock_behind_s), (100, 60));
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_up_once_it_is_right() {
        let right = chain().next(made(100)).unwrap().next.settled(100);
        let ahead = right.next(made(90_000)).unwrap().next;
        let next = ahead.clock_corrected().next(made(120)).unwrap();
        assert_eq!((next.heartbeat.time, next.clock_behind_s), (120, 0));
        let still_behind = ahead.clock_corrected().next(made(90)).unwrap();
        assert_eq!(still_behind.heartbeat.time, 100);
    }

    #[test]
    fn what_nobody_would_read_is_not_made() {
        let long = Made { release: "x".repeat(65), ..made(100) };
        assert_eq!(chain().next(long), Err(HeartbeatError::Length("release").into()));
        let never_started = Chain::enrolled(SidecarId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        assert_eq!(never_started.next(made(100)), Err(HeartbeatError::Range("epoch").into()));
        let exhausted = Chain { counter: wire::heartbeat::TOTAL_MAX, ..chain() };
        assert_eq!(exhausted.next(made(100)), Err(HeartbeatError::Range("counter").into()));
    }

    fn chain() -> Chain {
        Chain::enrolled(SidecarId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).restarted()
    }

    fn made(now_s: i64) -> Made {
        Made {
            now: Timestamp::from_unix_s(now_s),
            totals: Totals::default(),
            release: "0.1.0".to_owned(),
            integrity: Integrity::UNCHECKED,
            nonce: None,
            spooled: false,
        }
    }
}
