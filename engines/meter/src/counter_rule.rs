//! The counter rule: each heartbeat counts once, in order, and every oddity is seen.
//!
//! Precondition of everything here: the envelope's signature was verified with the key of `state.sidecar`.

use crate::units::{decreases, growth, larger};
use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::heartbeat::{Heartbeat, Integrity, Totals};

/// How far ahead of its receipt a heartbeat's time may be (METER-3).
pub const AHEAD_MAX_MS: i64 = 60_000;

/// How old a heartbeat may be at its receipt: seven days (METER-3).
pub const AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// For how many intervals after its time a heartbeat may claim to be live (METER-3).
const LIVE_INTERVALS: u64 = 2;

/// It may for this long in any case: its time is whole seconds, so that an honest one looks up to a second old.
const LIVE_MIN_MS: u64 = 2_000;

/// Milliseconds after its time for which a heartbeat may claim to be live, where one is made each `interval_ms`.
#[must_use]
pub fn live_ms(interval_ms: u64) -> i64 {
    let live_ms = interval_ms.saturating_mul(LIVE_INTERVALS).max(LIVE_MIN_MS);
    i64::try_from(live_ms).unwrap_or(i64::MAX)
}

/// What the control plane keeps of one sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SidecarState {
    /// Who.
    pub sidecar: SidecarId,
    /// Whose.
    pub tenant: TenantId,
    /// The highest epoch; 0 before the first heartbeat.
    pub epoch: u64,
    /// The counter of the last heartbeat with a place in the chain; 0 before the first.
    pub counter: u64,
    /// SHA-256 of that heartbeat's payload; zeros before the first.
    pub prev_digest: Digest,
    /// The latest time; nothing earlier is taken.
    pub time: Timestamp,
    /// What counts: the totals of the last accepted heartbeat.
    pub totals: Totals,
    /// What was sworn to, in heartbeats that were refused for their time too; nothing less is taken.
    pub sworn: Totals,
}

/// What becomes of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted {
        /// The state to save with it.
        next: SidecarState,
        /// What it adds to usage.
        delta: Totals,
        /// What is odd about it.
        oddities: Vec<Oddity>,
    },
    /// It is known, byte for byte; it is answered as it was the first time, and changes nothing.
    Duplicate,
    /// It does not count, for its time alone speaks against it. It is kept and takes its place in the chain, so
    /// that the next one continues it; that one's totals include what this one swore to.
    Untimely {
        /// The state to save with it.
        next: SidecarState,
        /// Why.
        fault: TimeFault,
        /// What is odd about it besides.
        oddities: Vec<Oddity>,
    },
    /// It does not count and has no place in the chain. It is kept as evidence; the state stays.
    Refused(BeatRefusal),
}

/// Says why a heartbeat has no place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeatRefusal {
    /// It names another sidecar or tenant than its key belongs to.
    #[error("the heartbeat names another sidecar or tenant")]
    Foreign,
    /// A counter that was passed over, long ago.
    #[error("counter `{counter}` is not above `{last}`")]
    Replay {
        /// Its counter.
        counter: u64,
        /// The last counter.
        last: u64,
    },
    /// One counter with two contents: somebody else holds the key, or the sidecar's state was rolled back.
    #[error("counter `{0}` was sworn to with other content")]
    Equivocation(u64),
    /// It follows the last counter, but not the last content: a fork, as grave as [`Self::Equivocation`].
    #[error("heartbeat `{0}` does not continue the chain")]
    ChainBroken(u64),
    /// Its epoch is before the last one.
    #[error("epoch `{epoch}` is before `{last}`")]
    EpochWentBack {
        /// Its epoch.
        epoch: u64,
        /// The last epoch.
        last: u64,
    },
    /// A total is less than before.
    #[error("`{unit}` went back from `{before}` to `{now}`")]
    TotalsWentBack {
        /// Which one.
        unit: &'static str,
        /// What was sworn to before.
        before: u64,
        /// What is sworn to now.
        now: u64,
    },
}

/// Says what speaks against a heartbeat's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeFault {
    /// More than [`AHEAD_MAX_MS`] ahead of its receipt.
    #[error("the heartbeat is `{0}` ms ahead")]
    FromTheFuture(i64),
    /// Before the previous one.
    #[error("the heartbeat is `{0}` ms before the previous one")]
    TimeWentBack(i64),
    /// More than [`AGE_MAX_MS`] old.
    #[error("the heartbeat is `{0}` ms old, more than seven days")]
    TooOld(i64),
    /// Older than two intervals, and not marked as spooled.
    #[error("the heartbeat is `{0}` ms old and claims to be live")]
    Stale(i64),
}

/// Something to report about a heartbeat that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// Heartbeats are missing: those from `from` to `to`, both included.
    Gap {
        /// The first missing counter.
        from: u64,
        /// The last missing counter.
        to: u64,
    },
    /// The sidecar found itself tampered with.
    IntegrityViolated(Integrity),
}

/// Judges a verified heartbeat.
///
/// `known_at_counter` is the payload digest of the heartbeat that has that counter's place in the chain, counted
/// or untimely, if any has; refused ones have none. `interval_ms` is the time between two heartbeats.
#[must_use]
pub fn judge(
    state: &SidecarState,
    beat: &Heartbeat,
    payload_digest: Digest,
    known_at_counter: Option<Digest>,
    received_at: Timestamp,
    interval_ms: u64,
) -> Verdict {
    match place(state, beat, payload_digest, known_at_counter) {
        Place::Known => return Verdict::Duplicate,
        Place::None(refusal) => return Verdict::Refused(refusal),
        Place::Next => (),
    }
    let oddities = oddities(state, beat);
    let time = Timestamp::from_unix_s(beat.time);
    let placed = SidecarState {
        epoch: beat.epoch,
        counter: beat.counter,
        prev_digest: payload_digest,
        sworn: larger(state.sworn, beat.totals),
        ..*state
    };
    match time_fault(state, beat, received_at, interval_ms) {
        None => {
            let delta = growth(state.totals, beat.totals);
            Verdict::Accepted { next: SidecarState { time, totals: beat.totals, ..placed }, delta, oddities }
        }
        Some(fault) => {
            let next = SidecarState { time: fault.floor(state.time, time), ..placed };
            Verdict::Untimely { next, fault, oddities }
        }
    }
}

/// Where a heartbeat stands in the chain.
enum Place {
    Known,
    Next,
    None(BeatRefusal),
}

fn place(state: &SidecarState, beat: &Heartbeat, digest: Digest, known: Option<Digest>) -> Place {
    if beat.sidecar != state.sidecar || beat.tenant != state.tenant {
        return Place::None(BeatRefusal::Foreign);
    }
    let known = if beat.counter == state.counter { Some(state.prev_digest) } else { known };
    if let Some(known) = known {
        let same = known == digest;
        return if same { Place::Known } else { Place::None(BeatRefusal::Equivocation(beat.counter)) };
    }
    if beat.counter < state.counter {
        return Place::None(BeatRefusal::Replay { counter: beat.counter, last: state.counter });
    }
    if beat.counter - state.counter == 1 && beat.prev != state.prev_digest {
        return Place::None(BeatRefusal::ChainBroken(beat.counter));
    }
    if beat.epoch < state.epoch {
        return Place::None(BeatRefusal::EpochWentBack { epoch: beat.epoch, last: state.epoch });
    }
    if let Some((unit, before, now)) = decreases(&state.sworn, &beat.totals).next() {
        return Place::None(BeatRefusal::TotalsWentBack { unit, before, now });
    }
    Place::Next
}

fn time_fault(
    state: &SidecarState,
    beat: &Heartbeat,
    received_at: Timestamp,
    interval_ms: u64,
) -> Option<TimeFault> {
    let time = Timestamp::from_unix_s(beat.time);
    let age_ms = received_at.ms_since(time);
    if age_ms < -AHEAD_MAX_MS {
        return Some(TimeFault::FromTheFuture(age_ms.saturating_neg()));
    }
    if time < state.time {
        return Some(TimeFault::TimeWentBack(state.time.ms_since(time)));
    }
    if age_ms > AGE_MAX_MS {
        return Some(TimeFault::TooOld(age_ms));
    }
    if age_ms > live_ms(interval_ms) && !beat.spooled {
        return Some(TimeFault::Stale(age_ms));
    }
    None
}

fn oddities(state: &SidecarState, beat: &Heartbeat) -> Vec<Oddity> {
    let gap = beat.counter.saturating_sub(state.counter) > 1;
    let gap = gap.then(|| Oddity::Gap { from: state.counter + 1, to: beat.counter - 1 });
    let violated = beat.integrity.is_violated().then_some(Oddity::IntegrityViolated(beat.integrity));
    gap.into_iter().chain(violated).collect()
}

// === impl SidecarState ===

impl SidecarState {
    /// The state of a sidecar that was just enrolled.
    #[must_use]
    pub fn enrolled(sidecar: SidecarId, tenant: TenantId) -> Self {
        Self {
            sidecar,
            tenant,
            epoch: 0,
            counter: 0,
            prev_digest: Digest::from_bytes([0; 32]),
            time: Timestamp::EPOCH,
            totals: Totals::default(),
            sworn: Totals::default(),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// The verdict's stable code: `ok` if it counts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "ok",
            Self::Duplicate => "duplicate",
            Self::Untimely { fault, .. } => fault.code(),
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

// === impl BeatRefusal ===

impl BeatRefusal {
    /// The refusal's stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Replay { .. } => "replay",
            Self::Equivocation(_) => "equivocation",
            Self::ChainBroken(_) => "chain_broken",
            Self::EpochWentBack { .. } => "epoch_went_back",
            Self::TotalsWentBack { .. } => "totals_went_back",
        }
    }

    /// Whether it shows that somebody else holds the sidecar's key, or its state was rolled back: tamper.
    #[must_use]
    pub const fn is_tamper(&self) -> bool {
        match self {
            Self::Equivocation(_)
            | Self::ChainBroken(_)
            | Self::EpochWentBack { .. }
            | Self::TotalsWentBack { .. } => true,
            Self::Foreign | Self::Replay { .. } => false,
        }
    }
}

// === impl TimeFault ===

impl TimeFault {
    /// The fault's stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FromTheFuture(_) => "from_the_future",
            Self::TimeWentBack(_) => "time_went_back",
            Self::TooOld(_) => "too_old",
            Self::Stale(_) => "stale",
        }
    }

    /// The earliest time for the next heartbeat. A time from a wrong clock must not hold up the right one.
    fn floor(&self, before: Timestamp, time: Timestamp) -> Timestamp {
        match self {
            Self::FromTheFuture(_) | Self::TimeWentBack(_) => before,
            Self::TooOld(_) | Self::Stale(_) => time,
        }
    }
}

// === impl Oddity ===

impl Oddity {
    /// The oddity's stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "gap",
            Self::IntegrityViolated(_) => "integrity_violated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::heartbeat::Check;

    const INTERVAL_MS: u64 = 10_000;
    /// When the state's last heartbeat was sworn to, in seconds.
    const BEFORE_S: i64 = 1_000_000;

    #[test]
    fn the_next_heartbeat_counts_with_what_it_adds() {
        let verdict = judge_at(&next(), BEFORE_S + 10);
        let Verdict::Accepted { next: after, delta, oddities } = verdict else { panic!("{verdict:?}") };
        assert_eq!((delta.steps, oddities), (5, vec![]));
        assert_eq!((after.counter, after.totals.steps, after.sworn.steps), (8, 105, 105));
        assert_eq!((after.prev_digest, after.time), (digest(&next()), Timestamp::from_unix_s(BEFORE_S + 10)));
    }

    #[test]
    fn the_first_heartbeat_of_a_sidecar_counts_from_zero() {
        let state = SidecarState::enrolled(state().sidecar, state().tenant);
        let first = Heartbeat { counter: 1, epoch: 1, prev: Digest::from_bytes([0; 32]), ..next() };
        let verdict = judge(&state, &first, digest(&first), None, received(BEFORE_S + 10), INTERVAL_MS);
        assert!(matches!(verdict, Verdict::Accepted { delta, .. } if delta.steps == 105));
    }

    #[test]
    fn the_same_bytes_are_a_duplicate_however_old() {
        let state = state();
        let last = Heartbeat { counter: 7, ..next() };
        let known = judge(&state, &last, state.prev_digest, None, received(BEFORE_S * 2), INTERVAL_MS);
        assert_eq!(known, Verdict::Duplicate);
        let old = Heartbeat { counter: 3, ..next() };
        let known = judge(&state, &old, digest(&old), Some(digest(&old)), received(0), INTERVAL_MS);
        assert_eq!(known, Verdict::Duplicate);
    }

    #[test]
    fn a_counter_with_other_content_is_an_equivocation() {
        let state = state();
        for counter in [3, 7] {
            let other = Heartbeat { counter, ..next() };
            let known = Some(Digest::sha256(b"first content"));
            let verdict = judge(&state, &other, digest(&other), known, received(BEFORE_S + 10), INTERVAL_MS);
            assert_eq!(verdict, Verdict::Refused(BeatRefusal::Equivocation(counter)));
        }
    }

    #[test]
    fn a_low_counter_that_nobody_knows_is_a_replay() {
        let verdict = judge_at(&Heartbeat { counter: 6, ..next() }, BEFORE_S + 10);
        assert_eq!(verdict, Verdict::Refused(BeatRefusal::Replay { counter: 6, last: 7 }));
    }

    #[test]
    fn a_heartbeat_that_does_not_continue_the_chain_is_a_fork() {
        let fork = Heartbeat { prev: Digest::sha256(b"another past"), ..next() };
        assert_eq!(judge_at(&fork, BEFORE_S + 10), Verdict::Refused(BeatRefusal::ChainBroken(8)));
    }

    #[test]
    fn a_gap_counts_and_says_what_is_missing() {
        let later = Heartbeat { counter: 12, prev: Digest::sha256(b"unknown"), ..next() };
        let verdict = judge_at(&later, BEFORE_S + 10);
        let Verdict::Accepted { delta, oddities, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!((delta.steps, oddities), (5, vec![Oddity::Gap { from: 8, to: 11 }]));
    }

    #[test]
    fn epochs_and_totals_never_go_back() {
        let epoch = Heartbeat { epoch: 2, ..next() };
        let refusal = BeatRefusal::EpochWentBack { epoch: 2, last: 3 };
        assert_eq!(judge_at(&epoch, BEFORE_S + 10), Verdict::Refused(refusal));
        for (unit, value) in Totals::UNITS {
            let mut totals = next().totals;
            totals = totals.zip(totals, |n, _| n.max(100));
            let less = only_less(unit, totals);
            let state = SidecarState { sworn: totals, totals, ..state() };
            let beat = Heartbeat { totals: less, ..next() };
            let verdict = judge(&state, &beat, digest(&beat), None, received(BEFORE_S + 10), INTERVAL_MS);
            let refusal = BeatRefusal::TotalsWentBack { unit, before: value(&totals), now: value(&less) };
            assert_eq!(verdict, Verdict::Refused(refusal));
        }
    }

    #[test]
    fn a_heartbeat_for_another_sidecar_or_tenant_is_foreign() {
        let sidecar = Heartbeat { sidecar: SidecarId::from_bytes([9; 16]), ..next() };
        let tenant = Heartbeat { tenant: TenantId::from_bytes([9; 16]), ..next() };
        for beat in [sidecar, tenant] {
            assert_eq!(judge_at(&beat, BEFORE_S + 10), Verdict::Refused(BeatRefusal::Foreign));
        }
    }

    #[test]
    fn a_heartbeat_that_just_left_is_live_however_short_the_interval() {
        let honest = next();
        for (age_ms, is_live) in [(999, true), (2_000, true), (2_001, false)] {
            let at = Timestamp::from_unix_ms(honest.time * 1_000 + age_ms);
            let verdict = judge(&state(), &honest, digest(&honest), None, at, 100);
            assert_eq!(matches!(verdict, Verdict::Accepted { .. }), is_live, "{age_ms} ms");
        }
    }

    #[test]
    fn the_time_window_is_held_to_the_millisecond() {
        let time_ms = next().time * 1_000;
        let spooled = Heartbeat { spooled: true, ..next() };
        let rows = [
            (next(), time_ms - 60_000, "ok"),
            (next(), time_ms - 60_001, "from_the_future"),
            (next(), time_ms + 20_000, "ok"),
            (next(), time_ms + 20_001, "stale"),
            (spooled.clone(), time_ms + 20_001, "ok"),
            (spooled.clone(), time_ms + AGE_MAX_MS, "ok"),
            (spooled.clone(), time_ms + AGE_MAX_MS + 1, "too_old"),
            (Heartbeat { time: BEFORE_S, ..next() }, time_ms, "ok"),
            (Heartbeat { time: BEFORE_S - 1, ..next() }, time_ms, "time_went_back"),
            (Heartbeat { time: i64::MIN, ..spooled.clone() }, time_ms, "time_went_back"),
            (Heartbeat { time: i64::MAX, ..spooled }, time_ms, "from_the_future"),
        ];
        for (beat, at_ms, code) in rows {
            let at = Timestamp::from_unix_ms(at_ms);
            let verdict = judge(&state(), &beat, digest(&beat), None, at, INTERVAL_MS);
            assert_eq!(verdict.code(), code, "{} at {at_ms}", beat.time);
        }
    }

    #[test]
    fn an_untimely_heartbeat_does_not_count_but_the_next_one_continues_the_chain() {
        let stale = next();
        let verdict = judge_at(&stale, BEFORE_S + 100);
        let Verdict::Untimely { next: state, fault: TimeFault::Stale(90_000), oddities } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((state.totals.steps, state.sworn.steps, oddities), (100, 105, vec![]));
        let after = Heartbeat { counter: 9, prev: digest(&stale), spooled: true, ..next() };
        let verdict = judge(&state, &after, digest(&after), None, received(BEFORE_S + 100), INTERVAL_MS);
        assert!(matches!(verdict, Verdict::Accepted { delta, .. } if delta.steps == 5));
        let again = judge(&state, &stale, digest(&stale), None, received(BEFORE_S + 100), INTERVAL_MS);
        assert_eq!(again, Verdict::Duplicate);
    }

    #[test]
    fn what_an_untimely_heartbeat_swore_to_holds_for_the_next_one() {
        let Verdict::Untimely { next: state, .. } = judge_at(&next(), BEFORE_S + 100) else { panic!() };
        let totals = Totals { steps: 104, ..next().totals };
        let less = Heartbeat { counter: 9, prev: digest(&next()), totals, spooled: true, ..next() };
        let verdict = judge(&state, &less, digest(&less), None, received(BEFORE_S + 100), INTERVAL_MS);
        assert_eq!(verdict.code(), "totals_went_back");
    }

    #[test]
    fn a_time_from_a_wrong_clock_does_not_hold_up_the_right_one() {
        let Verdict::Untimely { next: state, .. } = judge_at(&next(), BEFORE_S - 1_000) else { panic!() };
        assert_eq!(state.time, Timestamp::from_unix_s(BEFORE_S));
    }

    #[test]
    fn violated_integrity_counts_and_is_reported() {
        let integrity = Integrity { debugger: Check::Violated, ..Integrity::UNCHECKED };
        let verdict = judge_at(&Heartbeat { integrity, ..next() }, BEFORE_S + 10);
        let Verdict::Accepted { oddities, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(oddities, [Oddity::IntegrityViolated(integrity)]);
    }

    #[test]
    fn refusals_that_show_a_second_holder_of_the_key_are_tamper() {
        assert!(BeatRefusal::Equivocation(1).is_tamper() && BeatRefusal::ChainBroken(1).is_tamper());
        assert!(
            !BeatRefusal::Foreign.is_tamper() && !BeatRefusal::Replay { counter: 1, last: 2 }.is_tamper()
        );
    }

    fn state() -> SidecarState {
        SidecarState {
            sidecar: SidecarId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            epoch: 3,
            counter: 7,
            prev_digest: Digest::sha256(b"heartbeat 7"),
            time: Timestamp::from_unix_s(BEFORE_S),
            totals: Totals { steps: 100, ..Totals::default() },
            sworn: Totals { steps: 100, ..Totals::default() },
        }
    }

    fn next() -> Heartbeat {
        Heartbeat {
            sidecar: state().sidecar,
            tenant: state().tenant,
            epoch: 3,
            counter: 8,
            time: BEFORE_S + 10,
            prev: state().prev_digest,
            totals: Totals { steps: 105, ..Totals::default() },
            release: "0.1.0".to_owned(),
            integrity: Integrity::UNCHECKED,
            nonce: None,
            spooled: false,
        }
    }

    fn judge_at(beat: &Heartbeat, received_s: i64) -> Verdict {
        judge(&state(), beat, digest(beat), None, received(received_s), INTERVAL_MS)
    }

    fn received(at_s: i64) -> Timestamp {
        Timestamp::from_unix_s(at_s)
    }

    fn digest(beat: &Heartbeat) -> Digest {
        Digest::sha256(&beat.to_bytes().unwrap())
    }

    fn only_less(unit: &str, totals: Totals) -> Totals {
        let mut totals = totals;
        let field = match unit {
            "executions" => &mut totals.executions,
            "outcomes" => &mut totals.outcomes,
            "steps" => &mut totals.steps,
            "http_calls" => &mut totals.http_calls,
            "wall_time_ms" => &mut totals.wall_time_ms,
            "cpu_time_us" => &mut totals.cpu_time_us,
            "output_bytes" => &mut totals.output_bytes,
            "egress_bytes" => &mut totals.egress_bytes,
            "ingress_bytes" => &mut totals.ingress_bytes,
            other => panic!("{other}"),
        };
        *field -= 1;
        totals
    }
}
