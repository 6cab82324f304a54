//! The counter rule and the time window, tried on a live sidecar's state. Nothing of it is kept.

use super::row;
use ::assurance::Row;
use meter::{AGE_MAX_MS, AHEAD_MAX_MS, Oddity, SidecarState, Verdict, judge, live_ms};
use terms::{Digest, Timestamp};
use wire::heartbeat::{Heartbeat, Integrity};

/// The tries of METER-2.
pub(super) fn counter_rows(live: &SidecarState, now: Timestamp, interval_ms: u64) -> Vec<Row> {
    let code = |state: &SidecarState, beat: &Heartbeat| {
        let verdict = judge(state, beat, digest(beat), None, now, interval_ms);
        (code(&verdict), verdict)
    };
    let next = following(live, now);
    let (seen, verdict) = code(live, &next);
    let mut rows = vec![row("next-counter", "ok", seen)];
    let Verdict::Accepted { next: state, .. } = verdict else { return rows };

    let good = following(&state, now);
    let tries = [
        ("same-bytes-again", "duplicate", next.clone()),
        (
            "same-counter-other-bytes",
            "equivocation",
            Heartbeat { release: "other".to_owned(), ..next.clone() },
        ),
        ("lower-counter", "replay", Heartbeat { counter: next.counter - 1, ..next.clone() }),
        ("other-chain", "chain_broken", Heartbeat { prev: Digest::sha256(b"other"), ..good.clone() }),
        ("lower-totals", "totals_went_back", Heartbeat { totals: live.sworn, ..good.clone() }),
        ("skipped-counter", "gap", Heartbeat { counter: good.counter + 1, ..good }),
    ];
    rows.extend(tries.map(|(name, expected, beat)| row(name, expected, code(&state, &beat).0)));
    rows
}

/// The tries of METER-3, at whole seconds, which is all that a heartbeat's time holds.
pub(super) fn window_rows(live: &SidecarState, now: Timestamp, interval_ms: u64) -> Vec<Row> {
    let now_s = now.unix_s();
    let now = Timestamp::from_unix_s(now_s);
    let (ahead_s, age_s) = (AHEAD_MAX_MS / 1_000, AGE_MAX_MS / 1_000);
    let live_s = live_ms(interval_ms) / 1_000;
    let tries = [
        ("60-s-ahead", "ok", Timestamp::EPOCH, now_s + ahead_s, false),
        ("61-s-ahead", "from_the_future", Timestamp::EPOCH, now_s + ahead_s + 1, false),
        ("same-time-as-previous", "ok", now, now_s, false),
        ("before-previous", "time_went_back", now, now_s - 1, false),
        ("two-intervals-old", "ok", Timestamp::EPOCH, now_s - live_s, false),
        ("older-than-two-intervals", "stale", Timestamp::EPOCH, now_s - live_s - 1, false),
        ("older-than-two-intervals-spooled", "ok", Timestamp::EPOCH, now_s - live_s - 1, true),
        ("older-than-seven-days-spooled", "too_old", Timestamp::EPOCH, now_s - age_s - 1, true),
    ];
    let rows = tries.map(|(name, expected, previous, time, spooled)| {
        let state = SidecarState { time: previous, ..*live };
        let beat = Heartbeat { time, spooled, ..following(&state, now) };
        row(name, expected, code(&judge(&state, &beat, digest(&beat), None, now, interval_ms)))
    });
    rows.to_vec()
}

/// The heartbeat that would come next.
fn following(state: &SidecarState, now: Timestamp) -> Heartbeat {
    Heartbeat {
        sidecar: state.sidecar,
        tenant: state.tenant,
        epoch: state.epoch.max(1),
        counter: state.counter.saturating_add(1),
        time: now.unix_s().max(state.time.unix_s()),
        prev: state.prev_digest,
        totals: state.sworn.zip(state.sworn, |total, _| total.saturating_add(1)),
        release: "drill".to_owned(),
        integrity: Integrity::UNCHECKED,
        nonce: None,
        // The counter rule is tried whatever the window says: at the shortest intervals, whole seconds may be late.
        spooled: true,
    }
}

fn digest(beat: &Heartbeat) -> Digest {
    Digest::sha256(&beat.to_bytes().unwrap_or_default())
}

/// A verdict's code; a heartbeat that counts although others are missing is a `gap`.
fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted { oddities, .. } => {
            let gap = oddities.iter().find(|oddity| matches!(oddity, Oddity::Gap { .. }));
            gap.map_or(verdict.code(), Oddity::code)
        }
        Verdict::Duplicate | Verdict::Untimely { .. } | Verdict::Refused(_) => verdict.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::assurance::{
        COUNTER_ROWS, CheckOutcome, ControlId, Counting, Observation, RequiredRow, WINDOW_ROWS,
    };
    use terms::{SidecarId, TenantId};
    use wire::heartbeat::Totals;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_507_200_987);

    #[test]
    fn the_counter_rule_holds_on_fresh_and_on_used_state() {
        for live in [fresh(), used()] {
            let rows = counter_rows(&live, NOW, 10_000);
            assert_eq!(names(&rows), COUNTER_ROWS.iter().map(RequiredRow::name).collect::<Vec<_>>());
            let observation = Observation::Counting(Counting { rows, sworn: 1, counted: 1 });
            let finding = ::assurance::judge(ControlId::Meter2, &observation);
            assert_eq!(finding.outcome, CheckOutcome::Pass, "{finding:?}");
        }
    }

    #[test]
    fn the_window_holds_at_every_interval() {
        for interval_ms in [100, 1_250, 2_000, 10_000, 3_600_000] {
            let rows = window_rows(&used(), NOW, interval_ms);
            assert_eq!(names(&rows), WINDOW_ROWS.iter().map(RequiredRow::name).collect::<Vec<_>>());
            let finding = ::assurance::judge(ControlId::Meter3, &Observation::Window(rows));
            assert_eq!(finding.outcome, CheckOutcome::Pass, "{interval_ms}: {finding:?}");
        }
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.name.as_str()).collect()
    }

    fn fresh() -> SidecarState {
        SidecarState::enrolled(SidecarId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]))
    }

    fn used() -> SidecarState {
        let totals = Totals { steps: 9, ..Totals::default() };
        let prev_digest = Digest::sha256(b"last");
        let time = Timestamp::from_unix_s(NOW.unix_s() + 30);
        SidecarState { epoch: 3, counter: 70, prev_digest, time, totals, sworn: totals, ..fresh() }
    }
}
