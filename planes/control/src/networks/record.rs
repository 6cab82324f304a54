//! What kernels counted, and how far it was compared, as they are kept in their rows.

use crate::refusal::{Answer, Refusal};
use meter::{Claims, KernelCheck, KernelCounts, Mark, Tally};
use serde::{Deserialize, Serialize};
use terms::Timestamp;
use wire::heartbeat::Totals;

#[derive(Serialize, Deserialize)]
#[serde(remote = "KernelCounts", deny_unknown_fields)]
struct CountsRecord {
    sent_bytes: u64,
    sent_packets: u64,
    received_bytes: u64,
    received_packets: u64,
    cpu_time_us: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Tally", deny_unknown_fields)]
struct TallyRecord {
    begun: Timestamp,
    since: Timestamp,
    #[serde(with = "CountsRecord")]
    current: KernelCounts,
    #[serde(with = "CountsRecord")]
    finished: KernelCounts,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Claims", deny_unknown_fields)]
struct ClaimsRecord {
    totals: Totals,
    beats: u64,
    made_at: Option<Timestamp>,
    pushed_bytes: u64,
    streamed_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Mark", deny_unknown_fields)]
struct MarkRecord {
    at: Timestamp,
    #[serde(with = "CountsRecord")]
    counts: KernelCounts,
    #[serde(with = "ClaimsRecord")]
    claims: Claims,
}

/// serde has no remote form for what is optional.
#[derive(Serialize, Deserialize)]
struct OneMark(#[serde(with = "MarkRecord")] Mark);

#[derive(Serialize, Deserialize)]
struct OneTally(#[serde(with = "TallyRecord")] Tally);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRecord {
    from: OneMark,
    claimed_from: Option<Totals>,
    window: OneMark,
    waiting: Option<OneMark>,
    last: OneMark,
}

pub(super) fn write_tally(tally: &Tally) -> Answer<String> {
    serde_json::to_string(&OneTally(*tally)).map_err(Refusal::internal)
}

pub(super) fn read_tally(text: &str) -> Answer<Tally> {
    serde_json::from_str::<OneTally>(text).map(|one| one.0).map_err(Refusal::internal)
}

pub(super) fn write_check(check: &KernelCheck) -> Answer<String> {
    let KernelCheck { from, claimed_from, window, waiting, last } = *check;
    let record = CheckRecord {
        from: OneMark(from),
        claimed_from,
        window: OneMark(window),
        waiting: waiting.map(OneMark),
        last: OneMark(last),
    };
    serde_json::to_string(&record).map_err(Refusal::internal)
}

pub(super) fn read_check(text: &str) -> Answer<KernelCheck> {
    let record: CheckRecord = serde_json::from_str(text).map_err(Refusal::internal)?;
    let CheckRecord { from, claimed_from, window, waiting, last } = record;
    Ok(KernelCheck {
        from: from.0,
        claimed_from,
        window: window.0,
        waiting: waiting.map(|one| one.0),
        last: last.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meter::Taken;

    #[test]
    fn what_is_kept_is_read_back() {
        let at = Timestamp::from_unix_ms(1_795_507_200_000);
        let counts = KernelCounts { sent_bytes: 1, cpu_time_us: 5, ..KernelCounts::default() };
        let mut tally = Tally::begin(at, counts);
        tally.take(at.plus_ms(1), counts);
        assert_eq!(read_tally(&write_tally(&tally).unwrap()).unwrap(), tally);
        let claims = Claims { made_at: Some(at), beats: 7, ..Claims::default() };
        let mut check = KernelCheck::begin(Mark { at, counts, claims });
        for waits in [false, true] {
            assert_eq!(check.waiting.is_some(), waits);
            assert_eq!(read_check(&write_check(&check).unwrap()).unwrap(), check);
            let pace = meter::Pace { interval_ms: 1, cpu_millicores: 1 };
            check.take(Taken::Grown, Mark { at: at.plus_ms(1), counts, claims }, pace);
        }
        assert!(check.claimed_from.is_some(), "a heartbeat was made since");
    }
}
