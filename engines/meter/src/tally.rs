//! What a host's kernel counted of one tenant, over all resets: nothing is lost that was told, nothing counted twice.

use terms::Timestamp;

/// Cumulative counts of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelCounts {
    /// Bytes from the tenant, headers included.
    pub sent_bytes: u64,
    /// Packets from the tenant.
    pub sent_packets: u64,
    /// Bytes to the tenant, headers included.
    pub received_bytes: u64,
    /// Packets to the tenant.
    pub received_packets: u64,
    /// Microseconds of processor time, as far as the host can tell.
    pub cpu_time_us: u64,
}

/// The counts of one host, which begin anew with each reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// When the very first count began.
    pub begun: Timestamp,
    /// When the present counts began.
    pub since: Timestamp,
    /// The present counts.
    pub current: KernelCounts,
    /// What all earlier ones came to.
    pub finished: KernelCounts,
}

/// What came of taking counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They go on from the last ones, or are the last ones.
    Grown,
    /// They began anew: what passed between the last ones and their end nobody knows.
    Reset,
    /// They are older than those that were taken in: nothing was changed.
    Stale,
}

impl KernelCounts {
    /// Joins two, count by count.
    #[must_use]
    pub fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent_bytes: join(self.sent_bytes, other.sent_bytes),
            sent_packets: join(self.sent_packets, other.sent_packets),
            received_bytes: join(self.received_bytes, other.received_bytes),
            received_packets: join(self.received_packets, other.received_packets),
            cpu_time_us: join(self.cpu_time_us, other.cpu_time_us),
        }
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What this has more than `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}

impl Tally {
    /// The first counts of a host.
    #[must_use]
    pub fn begin(since: Timestamp, counts: KernelCounts) -> Self {
        Self { begun: since, since, current: counts, finished: KernelCounts::default() }
    }

    /// Takes counts in that began at `since`. A later beginning is a reset of all of them, a decrease of that one.
    ///
    /// Processor time is counted by another part of the kernel, which does not begin anew with the others: of it, only
    /// a decrease is a reset. Its first figure may be of a time that nobody told of, and begins a new comparison.
    pub fn take(&mut self, since: Timestamp, counts: KernelCounts) -> Taken {
        if since < self.since {
            return Taken::Stale;
        }
        let began_anew = since > self.since;
        let ended = KernelCounts {
            cpu_time_us: if counts.cpu_time_us < self.current.cpu_time_us {
                self.current.cpu_time_us
            } else {
                0
            },
            ..self.current.zip(counts, |last, now| if began_anew || now < last { last } else { 0 })
        };
        let first_time = self.current.cpu_time_us == 0 && counts.cpu_time_us > 0;
        self.finished = self.finished.plus(ended);
        (self.since, self.current) = (since, counts);
        if began_anew || first_time || ended != KernelCounts::default() { Taken::Reset } else { Taken::Grown }
    }

    /// What was counted since the very first count.
    #[must_use]
    pub fn total(&self) -> KernelCounts {
        self.finished.plus(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_that_go_on_replace_each_other() {
        let mut tally = Tally::begin(at(1), counts(10, 5));
        assert_eq!(tally.take(at(1), counts(25, 5)), Taken::Grown);
        assert_eq!(tally.take(at(1), counts(25, 5)), Taken::Grown);
        assert_eq!((tally.total(), tally.begun), (counts(25, 5), at(1)));
    }

    #[test]
    fn a_later_beginning_is_a_reset_even_where_a_count_is_higher_already() {
        let mut tally = Tally::begin(at(1), counts(10, 5));
        assert_eq!(tally.take(at(2), counts(30, 5)), Taken::Reset);
        assert_eq!(tally.total(), counts(40, 5));
        assert_eq!(tally.take(at(3), counts(0, 5)), Taken::Reset);
        assert_eq!((tally.total(), tally.begun), (counts(40, 5), at(1)));
    }

    #[test]
    fn processor_time_goes_on_when_the_other_counts_begin_anew_and_its_first_figure_begins_a_comparison() {
        let mut tally = Tally::begin(at(1), counts(10, 0));
        assert_eq!(tally.take(at(1), counts(10, 7)), Taken::Reset);
        assert_eq!(tally.take(at(1), counts(10, 9)), Taken::Grown);
        assert_eq!(tally.take(at(2), counts(1, 12)), Taken::Reset);
        assert_eq!(tally.total(), counts(11, 12));
        assert_eq!(tally.take(at(2), counts(1, 3)), Taken::Reset);
        assert_eq!(tally.total(), counts(11, 15));
    }

    #[test]
    fn a_decrease_is_a_reset_of_that_count_alone() {
        let mut tally = Tally::begin(at(1), counts(10, 5));
        assert_eq!(tally.take(at(1), counts(3, 6)), Taken::Reset);
        assert_eq!(tally.total(), counts(13, 6));
    }

    #[test]
    fn counts_of_an_earlier_beginning_change_nothing() {
        let mut tally = Tally::begin(at(1), counts(10, 5));
        tally.take(at(2), counts(1, 1));
        let before = tally;
        assert_eq!(tally.take(at(1), counts(99, 99)), Taken::Stale);
        assert_eq!(tally, before);
    }

    proptest! {
        /// A kernel that counts, forgets at random and is asked at random: each byte that was told is in the sum once.
        #[test]
        fn what_was_told_is_in_the_sum_once(steps in prop::collection::vec((0..1_000_u64, prop::bool::weighted(0.2)), 1..60)) {
            let (mut kernel, mut since, mut told) = (0, 1, 0);
            let mut tally = Tally::begin(at(since), counts(0, 0));
            for (passed, forgets) in steps {
                if forgets {
                    (kernel, since) = (0, since + 1);
                }
                kernel += passed;
                told += passed;
                tally.take(at(since), counts(kernel, 0));
                prop_assert_eq!(tally.total(), counts(told, 0));
            }
        }
    }

    fn counts(bytes: u64, cpu_time_us: u64) -> KernelCounts {
        KernelCounts { sent_bytes: bytes, received_bytes: bytes, cpu_time_us, ..KernelCounts::default() }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }
}
