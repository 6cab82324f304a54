//! Compares what a tenant's sidecars swore to with what hosts' kernels counted of it: bytes and processor time, which
//! nobody else knows.
//!
//! Counts are read and heartbeats are made on one host, by one clock; but a node reports every few seconds, a sidecar
//! swears every interval, and either may be held up on its way. So nothing is compared but what must hold whatever was
//! under way:
//!
//! - **Too much sworn.** What was sworn to before counts were read is in those counts. A kernel counts headers,
//!   encryption and everything to and from the control plane on top, so the claim is smaller, but for [`OVER_BYTES`]
//!   and [`OVER_CPU_US`]. A reset of the counts loses a few seconds: both sides begin anew then, the claims with the
//!   first heartbeat made after it.
//! - **Too little sworn.** What was counted is sworn to once every call that was under way then has ended
//!   ([`SETTLE_MS`]). What a claim explains is [`explained`]. It is taken from the beginning of a window of an hour, so
//!   that an idle year allows for no more than an idle hour.

use crate::tally::KernelCounts;
use crate::{Anomaly, Taken};
use terms::Timestamp;
use wire::heartbeat::Totals;

/// Bytes that may be sworn to and not be counted: calls that were cut off while their last bytes were still in the
/// sender's buffers (4 MiB at most, `tcp_wmem`).
pub const OVER_BYTES: u64 = 4 << 20;

/// Microseconds that may be sworn to and not be counted: from the start of a process until it is put into its group.
pub const OVER_CPU_US: u64 = 10_000_000;

/// How long a window is, in milliseconds.
pub const WINDOW_MS: i64 = 3_600_000;

/// After how many milliseconds all is sworn to that had been counted: a call counts when it ends, which is within 120 s
/// (the longest that a data plane lets one take) and the 10 s of its connection.
pub const SETTLE_MS: i64 = 130_000;

/// Heartbeats say when they were made in whole seconds, cut off.
const SECOND_MS: i64 = 1_000;

/// Bytes of one window that nothing needs to explain: what the control plane moved and had not yet written down when
/// it ended without warning, a few outputs of 8 MiB.
const SLACK_BYTES: u64 = 32 << 20;

/// Bytes that a step may send beside what it swears to: a handshake with a post-quantum key (2 kB), a certificate of
/// one's own (1.5 kB), a name asked for, the outcome of an execution; and a call that failed before it counted.
const STEP_SENT_BYTES: u64 = 8 << 10;

/// Bytes that a step may receive beside what it swears to: the peers' certificates above all.
const STEP_RECEIVED_BYTES: u64 = 32 << 10;

/// Bytes that a heartbeat and what goes with it in an interval may send: 2 kB, and a handshake each time.
const BEAT_SENT_BYTES: u64 = 8 << 10;

/// Bytes that come back for it.
const BEAT_RECEIVED_BYTES: u64 = 8 << 10;

/// Microseconds of processor time of one window that nothing needs to explain, for each processor and beside what
/// intervals allow for: what a data plane used since its last sample, when it ended without warning, a few times.
const SLACK_CPU_US: u64 = 60_000_000;

/// Intervals whose processor time may be lost in a window.
const LOST_INTERVALS: u64 = 4;

/// What a tenant's sidecars swore to, as of their last heartbeat, and what else its traffic is explained by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims {
    /// The totals of all its sidecars.
    pub totals: Totals,
    /// Heartbeats of all its sidecars.
    pub beats: u64,
    /// When the last of them was made.
    pub made_at: Option<Timestamp>,
    /// Bytes of plans that the control plane sent.
    pub pushed_bytes: u64,
    /// Bytes of outputs that the control plane fetched.
    pub streamed_bytes: u64,
}

/// What a tenant may use, as far as it bounds what can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
    /// Thousandths of a processor.
    pub cpu_millicores: u32,
}

/// How far a tenant's claims were compared with its kernels' counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelCheck {
    /// Counts from which on none is missing.
    pub from: Mark,
    /// The claims of the first heartbeat that was made after those were read.
    pub claimed_from: Option<Totals>,
    /// Where the window begins.
    pub window: Mark,
    /// What waits to be sworn to.
    pub waiting: Option<Mark>,
    /// The last report.
    pub last: Mark,
}

/// Counts, and the claims that were known when they were reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When the counts were read.
    pub at: Timestamp,
    /// The counts of all hosts, since their very first.
    pub counts: KernelCounts,
    /// The claims.
    pub claims: Claims,
}

impl KernelCheck {
    /// Begins with the first report of a tenant.
    #[must_use]
    pub const fn begin(first: Mark) -> Self {
        Self { from: first, claimed_from: None, window: first, waiting: None, last: first }
    }

    /// Takes a report in, whose counts go on from the last ones or, on one host, began anew.
    pub fn take(&mut self, taken: Taken, now: Mark, pace: Pace) -> Vec<Anomaly> {
        if taken == Taken::Reset {
            *self = Self::begin(now);
            return Vec::new();
        }
        let mut anomalies = self.too_much(&now);
        if !anomalies.is_empty() {
            // Said once.
            (self.from, self.claimed_from) = (now, None);
        }
        anomalies.extend(self.too_little(&now.claims, pace));
        self.waiting = self.waiting.or(Some(now));
        self.last = now;
        anomalies
    }

    /// What was sworn to before the counts were read, and is not in them.
    fn too_much(&mut self, now: &Mark) -> Vec<Anomaly> {
        let Some(claimed_from) = self.claimed_from else {
            let made_since = now.claims.made_at.is_some_and(|made_at| made_at >= self.from.at);
            self.claimed_from = made_since.then_some(now.claims.totals);
            return Vec::new();
        };
        let claims = &self.last.claims;
        if claims.made_at.is_none_or(|made_at| made_at.plus_ms(SECOND_MS) > now.at) {
            return Vec::new();
        }
        let (sworn, counted) = (claims.totals, now.counts.since(self.from.counts));
        let sworn = sworn.zip(claimed_from, u64::saturating_sub);
        let rows = [
            ("egress_bytes", sworn.egress_bytes, counted.sent_bytes, OVER_BYTES),
            ("ingress_bytes", sworn.ingress_bytes, counted.received_bytes, OVER_BYTES),
            ("cpu_time_us", sworn.cpu_time_us, counted.cpu_time_us, OVER_CPU_US),
        ];
        // A host that counts no processor time has none to compare with.
        let is_told = |unit: &str| unit != "cpu_time_us" || counted.cpu_time_us > 0;
        let over = rows
            .into_iter()
            .filter(|(unit, metered, known, bound)| is_told(unit) && *metered > known.saturating_add(*bound));
        over.map(|(unit, metered, known, bound)| Anomaly { unit, metered, known, bound }).collect()
    }

    /// What had been counted, and is not explained by what was sworn to since.
    fn too_little(&mut self, claims: &Claims, pace: Pace) -> Vec<Anomaly> {
        let settled =
            |waiting: &Mark| claims.made_at.is_some_and(|made_at| made_at.ms_since(waiting.at) >= SETTLE_MS);
        let Some(waiting) = self.waiting.filter(settled) else { return Vec::new() };
        let counted = waiting.counts.since(self.window.counts);
        let bound = explained(&self.window.claims, claims, pace);
        let grown = claims.totals.zip(self.window.claims.totals, u64::saturating_sub);
        let rows = [
            ("egress_bytes", grown.egress_bytes, counted.sent_bytes, bound.sent_bytes),
            ("ingress_bytes", grown.ingress_bytes, counted.received_bytes, bound.received_bytes),
            ("cpu_time_us", grown.cpu_time_us, counted.cpu_time_us, bound.cpu_time_us),
        ];
        let over = rows.into_iter().filter(|(_, _, known, bound)| known > bound);
        let anomalies: Vec<Anomaly> =
            over.map(|(unit, metered, known, bound)| Anomaly { unit, metered, known, bound }).collect();
        if !anomalies.is_empty() || waiting.at.ms_since(self.window.at) >= WINDOW_MS {
            self.window = waiting;
        }
        self.waiting = None;
        anomalies
    }
}

/// The most that kernels may have counted while claims grew from `before` to `after`.
///
/// Of each byte that is sworn to, packets and records make at most two (headers of 52 bytes and more in 1 448, and as
/// much again for what is sent twice); each byte that comes is acknowledged by less than an eighth of one that goes.
/// The same holds for what the control plane itself moved. Steps and heartbeats have their own handshakes.
#[must_use]
pub fn explained(before: &Claims, after: &Claims, pace: Pace) -> KernelCounts {
    let totals = after.totals.zip(before.totals, u64::saturating_sub);
    let grown = |of: fn(&Claims) -> u64| of(after).saturating_sub(of(before));
    let (pushed, streamed) = (grown(|c| c.pushed_bytes), grown(|c| c.streamed_bytes));
    let (beats, steps) = (grown(|c| c.beats), totals.steps.saturating_add(totals.executions));
    let away = totals.egress_bytes.saturating_add(streamed);
    let towards = totals.ingress_bytes.saturating_add(pushed);
    let sum = |parts: [u64; 5]| parts.into_iter().fold(0, u64::saturating_add);
    let processors = u64::from(pace.cpu_millicores).div_ceil(1_000);
    let interval_us = pace.interval_ms.saturating_mul(1_000);
    KernelCounts {
        sent_bytes: sum([
            away.saturating_mul(2),
            towards / 8,
            steps.saturating_mul(STEP_SENT_BYTES),
            beats.saturating_mul(BEAT_SENT_BYTES),
            SLACK_BYTES,
        ]),
        received_bytes: sum([
            towards.saturating_mul(2),
            away / 8,
            steps.saturating_mul(STEP_RECEIVED_BYTES),
            beats.saturating_mul(BEAT_RECEIVED_BYTES),
            SLACK_BYTES,
        ]),
        cpu_time_us: totals.cpu_time_us.saturating_add(totals.cpu_time_us / 8).saturating_add(
            processors
                .saturating_mul(SLACK_CPU_US.saturating_add(interval_us.saturating_mul(LOST_INTERVALS))),
        ),
        sent_packets: u64::MAX,
        received_packets: u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval_ms: 10_000, cpu_millicores: 1_000 };

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_run_as_it_should_be_raises_nothing() {
        let mut world = World::new();
        for round in 0..2_000_u64 {
            // Calls of every size, and hours in which nothing runs.
            let busy = round % 700 < 350;
            let bytes = if busy { (round % 13) * 100_000 } else { 0 };
            world.uses(bytes, bytes / 2, 1_000_000 * u64::from(busy));
            world.passes(10_000);
            world.beats();
            assert_eq!(world.reports(), [], "round {round}");
        }
    }

    #[test]
    fn heartbeats_that_are_held_up_for_hours_raise_nothing() {
        let mut world = World::new();
        for round in 0..1_500 {
            world.uses(10 * MIB, MIB, 2_000_000);
            world.passes(10_000);
            if round % 500 > 400 || round % 7 == 0 {
                world.beats();
            }
            assert_eq!(world.reports(), [], "round {round}");
        }
    }

    #[test]
    fn what_was_never_sent_is_an_anomaly_and_is_said_once() {
        for (unit, claim) in claims() {
            let mut world = World::new();
            world.run(20);
            let lie = if unit == "cpu_time_us" { 2 * OVER_CPU_US } else { 2 * OVER_BYTES };
            *claim(&mut world.sworn) += lie;
            world.run(1);
            let found = world.run(20);
            assert_eq!(found.iter().map(|anomaly| anomaly.unit).collect::<Vec<_>>(), [unit]);
            assert!(found.iter().all(|anomaly| anomaly.metered > anomaly.known), "{found:?}");
            assert_eq!(world.run(400), [], "{unit}");
        }
    }

    #[test]
    fn a_claim_may_be_ahead_of_the_counts_by_the_bound_and_no_more() {
        for (over, expected) in [(0, 0), (1, 1)] {
            let mut world = World { headers: 0, ..World::new() };
            for _ in 0..3 {
                world.passes(10_000);
                world.beats();
                world.reports();
            }
            world.sworn.egress_bytes += OVER_BYTES + over;
            assert_eq!(world.run(5).len(), expected, "{over}");
        }
    }

    #[test]
    fn what_was_sent_and_never_sworn_to_is_an_anomaly() {
        for (unit, used) in [
            ("egress_bytes", KernelCounts { sent_bytes: 200 * MIB, ..KernelCounts::default() }),
            ("ingress_bytes", KernelCounts { received_bytes: 400 * MIB, ..KernelCounts::default() }),
            ("cpu_time_us", KernelCounts { cpu_time_us: 400_000_000, ..KernelCounts::default() }),
        ] {
            let mut world = World::new();
            world.run(20);
            world.counted = world.counted.plus(used);
            let found = world.run(40);
            assert_eq!(found.iter().map(|anomaly| anomaly.unit).collect::<Vec<_>>(), [unit]);
            assert!(found.iter().all(|anomaly| anomaly.known > anomaly.bound), "{found:?}");
            assert_eq!(world.run(800), [], "{unit} is said once");
        }
    }

    #[test]
    fn an_idle_year_allows_for_no_more_than_an_idle_hour() {
        let mut world = World::new();
        for _ in 0..365 * 24 {
            world.passes(3_600_000);
            world.beats();
            assert_eq!(world.reports(), []);
        }
        world.counted.sent_bytes += 200 * MIB;
        assert_eq!(world.run(40).len(), 1);
    }

    #[test]
    fn a_call_under_way_counts_when_it_ends() {
        let mut world = World::new();
        world.run(20);
        world.counted.received_bytes += 500 * MIB;
        assert_eq!(world.run(11), []);
        world.sworn.ingress_bytes += 500 * MIB;
        assert_eq!(world.run(400), []);
    }

    #[test]
    fn what_the_control_plane_moved_itself_is_no_anomaly() {
        let mut world = World::new();
        world.run(20);
        world.counted.sent_bytes += 900 * MIB;
        world.counted.received_bytes += 300 * MIB;
        (world.streamed, world.pushed) = (900 * MIB, 300 * MIB);
        assert_eq!(world.run(400), []);
    }

    #[test]
    fn a_reset_that_loses_traffic_raises_nothing_and_ends_no_watch() {
        let mut world = World::new();
        world.run(20);
        world.sworn.egress_bytes += 100 * MIB;
        world.reset = true;
        assert_eq!(world.run(50), [], "what the reset lost");
        world.sworn.egress_bytes += 100 * MIB;
        assert_eq!(world.run(20).len(), 1, "what it did not");
    }

    #[test]
    fn a_host_that_counts_no_processor_time_is_not_compared_by_it() {
        let mut world = World::new();
        world.counts_cpu = false;
        for _ in 0..400 {
            world.uses(1_000, 1_000, 5_000_000);
            world.passes(10_000);
            world.beats();
            assert_eq!(world.reports(), []);
        }
    }

    #[test]
    fn nothing_overflows() {
        let all = KernelCounts::default().zip(KernelCounts::default(), |_, _| u64::MAX);
        let totals = Totals::default().zip(Totals::default(), |_, _| u64::MAX);
        let claims = Claims {
            totals,
            beats: u64::MAX,
            made_at: Some(Timestamp::from_unix_ms(i64::MAX)),
            pushed_bytes: u64::MAX,
            streamed_bytes: u64::MAX,
        };
        let pace = Pace { interval_ms: u64::MAX, cpu_millicores: u32::MAX };
        let first = Mark { at: Timestamp::EPOCH, counts: KernelCounts::default(), claims: Claims::default() };
        let mut check = KernelCheck::begin(first);
        for _ in 0..3 {
            let found = check.take(
                Taken::Grown,
                Mark { at: Timestamp::from_unix_ms(i64::MAX), counts: all, claims },
                pace,
            );
            assert_eq!(found, []);
        }
    }

    /// A tenant, its sidecar, its host's kernel and the control plane that hears of both.
    struct World {
        now_ms: i64,
        counted: KernelCounts,
        sworn: Totals,
        beat: Claims,
        pushed: u64,
        streamed: u64,
        check: KernelCheck,
        reset: bool,
        counts_cpu: bool,
        /// Bytes of headers in a hundred of payload.
        headers: u64,
    }

    impl World {
        fn new() -> Self {
            let at = Timestamp::from_unix_ms(1_795_507_200_000);
            let first = Mark { at, counts: KernelCounts::default(), claims: Claims::default() };
            Self {
                now_ms: at.unix_ms(),
                counted: KernelCounts::default(),
                sworn: Totals::default(),
                beat: Claims::default(),
                pushed: 0,
                streamed: 0,
                check: KernelCheck::begin(first),
                reset: false,
                counts_cpu: true,
                headers: 6,
            }
        }

        fn uses(&mut self, out: u64, back: u64, cpu_us: u64) {
            self.sworn.egress_bytes += out;
            self.sworn.ingress_bytes += back;
            self.sworn.cpu_time_us += cpu_us;
            self.sworn.steps += u64::from(out > 0);
            let with_headers = |bytes: u64| bytes + bytes * self.headers / 100;
            self.counted.sent_bytes += with_headers(out) + back / 30;
            self.counted.received_bytes += with_headers(back) + out / 30;
            self.counted.cpu_time_us += cpu_us;
        }

        fn passes(&mut self, ms: i64) {
            self.now_ms += ms;
        }

        /// A heartbeat is made and taken; it costs something itself.
        fn beats(&mut self) {
            self.counted.sent_bytes += 3_000 * self.headers.min(1);
            self.counted.received_bytes += 3_000 * self.headers.min(1);
            self.beat.totals = self.sworn;
            self.beat.beats += 1;
            self.beat.made_at = Some(Timestamp::from_unix_ms(self.now_ms / 1_000 * 1_000));
        }

        fn reports(&mut self) -> Vec<Anomaly> {
            let mut counts = self.counted;
            if !self.counts_cpu {
                counts.cpu_time_us = 0;
            }
            let claims = Claims { pushed_bytes: self.pushed, streamed_bytes: self.streamed, ..self.beat };
            let taken = if core::mem::take(&mut self.reset) { Taken::Reset } else { Taken::Grown };
            self.check.take(taken, Mark { at: Timestamp::from_unix_ms(self.now_ms), counts, claims }, PACE)
        }

        /// Rounds of little use, ten seconds each, and what they raise.
        fn run(&mut self, rounds: u32) -> Vec<Anomaly> {
            let mut found = Vec::new();
            for _ in 0..rounds {
                self.uses(
                    1_000 * self.headers.min(1),
                    1_000 * self.headers.min(1),
                    10_000 * self.headers.min(1),
                );
                self.passes(10_000);
                self.beats();
                found.extend(self.reports());
            }
            found
        }
    }

    type Claim = (&'static str, fn(&mut Totals) -> &mut u64);

    fn claims() -> [Claim; 3] {
        [
            ("egress_bytes", |t| &mut t.egress_bytes),
            ("ingress_bytes", |t| &mut t.ingress_bytes),
            ("cpu_time_us", |t| &mut t.cpu_time_us),
        ]
    }
}
