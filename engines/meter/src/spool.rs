//! The spool: which heartbeats wait for an answer, and what is done with them next.
//!
//! Only decisions and places are here; the signed bytes are the shell's, in its synced file.

use std::collections::VecDeque;
use terms::Timestamp;

/// Most heartbeats in one delivery: some 120 kB.
pub const BATCH_MAX: usize = 100;

/// How long an undelivered heartbeat is kept: a minute less than the control plane takes it, so that none is
/// refused for arriving a moment too late.
pub const KEEP_MS: i64 = crate::AGE_MAX_MS - 60_000;

/// Most heartbeats that wait: seven days at the default interval, in one MiB. A shorter interval fills it earlier;
/// the oldest are dropped, which loses no usage, for totals are cumulative.
pub const ENTRIES_MAX: usize = 65_536;

/// A heartbeat that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its counter.
    pub counter: u64,
    /// Its time, in seconds since the epoch.
    pub time_s: i64,
}

/// The heartbeats that wait, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    waiting: VecDeque<Waiting>,
    /// Whether the last delivery went well: answered, and not found stale.
    healthy: bool,
}

impl Default for Spool {
    /// An empty spool that has not failed yet: the first heartbeat is live.
    fn default() -> Self {
        Self { waiting: VecDeque::new(), healthy: true }
    }
}

impl Spool {
    /// Takes up what waited when the sidecar stopped, in order of counters.
    #[must_use]
    pub fn restore(waiting: impl IntoIterator<Item = Waiting>) -> Self {
        Self { waiting: waiting.into_iter().collect(), healthy: true }
    }

    /// Whether the heartbeat to be made next has to say `spooled`: others wait before it, or the last delivery
    /// failed, or was refused as stale.
    #[must_use]
    pub fn next_is_spooled(&self) -> bool {
        !self.healthy || !self.waiting.is_empty()
    }

    /// Adds a heartbeat that was saved and synced.
    pub fn push(&mut self, heartbeat: Waiting) {
        self.waiting.push_back(heartbeat);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next delivery: the oldest first, at most [`BATCH_MAX`].
    pub fn batch(&self) -> impl Iterator<Item = Waiting> {
        self.waiting.iter().take(BATCH_MAX).copied()
    }

    /// Drops what is older than [`KEEP_MS`] or more than [`ENTRIES_MAX`], the oldest first, and returns it so
    /// that it is counted, reported and cut from the file.
    pub fn drop_expired(&mut self, now: Timestamp) -> Vec<Waiting> {
        let oldest_kept_s = now.plus_ms(-KEEP_MS).unix_s();
        let over = self.waiting.len().saturating_sub(ENTRIES_MAX);
        let expired = self.waiting.iter().take_while(|beat| beat.time_s < oldest_kept_s).count();
        self.waiting.drain(..expired.max(over)).collect()
    }

    /// Notes that the heartbeat was taken, was known already, or was refused for good and for another reason than
    /// its time. Returns it, to be cut from the file; `None` if it was not waiting.
    pub fn settle(&mut self, counter: u64) -> Option<Waiting> {
        self.healthy = true;
        self.remove(counter)
    }

    /// Notes that the heartbeat was refused for its time, as [`settle`](Self::settle) does; the next one must not
    /// claim to be live.
    pub fn settle_untimely(&mut self, counter: u64) -> Option<Waiting> {
        self.healthy = false;
        self.remove(counter)
    }

    /// Notes that a delivery got no answer: everything waits on.
    pub fn delivery_failed(&mut self) {
        self.healthy = false;
    }

    fn remove(&mut self, counter: u64) -> Option<Waiting> {
        let at = self.waiting.binary_search_by_key(&counter, |beat| beat.counter).ok()?;
        self.waiting.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_live_only_while_nothing_waits_and_nothing_failed() {
        let mut spool = Spool::default();
        assert!(!spool.next_is_spooled());
        spool.push(beat(1, 10));
        assert!(spool.next_is_spooled());
        spool.delivery_failed();
        spool.push(beat(2, 20));
        assert_eq!((spool.settle(1), spool.next_is_spooled()), (Some(beat(1, 10)), true));
        assert_eq!((spool.settle(2), spool.next_is_spooled()), (Some(beat(2, 20)), false));
        spool.push(beat(3, 30));
        assert_eq!((spool.settle_untimely(3), spool.next_is_spooled()), (Some(beat(3, 30)), true));
    }

    #[test]
    fn a_delivery_is_the_oldest_hundred() {
        let spool = Spool::restore((1..=150).map(|n| beat(n, 0)));
        let counters: Vec<_> = spool.batch().map(|beat| beat.counter).collect();
        assert_eq!(counters, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_is_too_old_is_dropped_and_it_is_named() {
        let week_s = KEEP_MS / 1_000;
        let mut spool = Spool::restore([beat(1, 0), beat(2, 10), beat(3, 20)]);
        assert_eq!(spool.drop_expired(Timestamp::from_unix_s(week_s)), []);
        assert_eq!(spool.drop_expired(Timestamp::from_unix_s(week_s + 11)), [beat(1, 0), beat(2, 10)]);
        assert_eq!(spool.len(), 1);
    }

    #[test]
    fn more_than_the_bound_is_dropped_from_the_oldest_on() {
        let over = ENTRIES_MAX as u64 + 2;
        let mut spool = Spool::restore((1..=over).map(|n| beat(n, 0)));
        assert_eq!(spool.drop_expired(Timestamp::EPOCH), [beat(1, 0), beat(2, 0)]);
        assert_eq!(spool.len(), ENTRIES_MAX);
    }

    #[test]
    fn an_answer_for_what_does_not_wait_changes_nothing() {
        let mut spool = Spool::restore([beat(5, 0)]);
        assert_eq!((spool.settle(4), spool.settle(6)), (None, None));
        assert_eq!(spool.len(), 1);
    }

    fn beat(counter: u64, time_s: i64) -> Waiting {
        Waiting { counter, time_s }
    }
}
