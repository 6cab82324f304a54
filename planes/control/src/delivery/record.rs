//! A delivery as it is kept in its row.

use crate::refusal::{Answer, Refusal};
use plan::{Accepted, Cancel, Delivery, End, GiveUp, Sent, Stage, Verdict};
use serde::{Deserialize, Serialize};
use terms::{Digest, PlanId, Timestamp};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    queued_at: Timestamp,
    run_ms: i64,
    stage: StageRecord,
    exposed_since: Option<Timestamp>,
    failures: u32,
    wait_until: Timestamp,
    cancel: CancelRecord,
    doom: Option<GiveUpRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StageRecord {
    Queued,
    Sent {
        plan_id: PlanId,
        plan_hash: Digest,
        issued_at: Timestamp,
        attempts: u32,
        under_way: Option<Timestamp>,
        verdict: VerdictRecord,
    },
    Accepted {
        plan_id: PlanId,
        plan_hash: Digest,
        at: Timestamp,
    },
    Outcome,
    Cancelled,
    GivenUp(GiveUpRecord),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VerdictRecord {
    Open,
    Taken,
    Void,
    Condemned(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CancelRecord {
    No,
    Wanted,
    Taken,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GiveUpRecord {
    Undelivered,
    Refused(String),
    Unanswered,
    JournalLost,
}

/// Writes a delivery.
pub(super) fn write(delivery: &Delivery) -> Answer<String> {
    serde_json::to_string(&Record::from(delivery)).map_err(Refusal::internal)
}

/// Reads a delivery.
pub(super) fn read(text: &str) -> Answer<Delivery> {
    serde_json::from_str::<Record>(text).map(Delivery::from).map_err(Refusal::internal)
}

impl From<&Delivery> for Record {
    fn from(d: &Delivery) -> Self {
        let stage = match &d.stage {
            Stage::Queued => StageRecord::Queued,
            Stage::Sent(s) => StageRecord::Sent {
                plan_id: s.plan_id,
                plan_hash: s.plan_hash,
                issued_at: s.issued_at,
                attempts: s.attempts,
                under_way: s.under_way,
                verdict: match &s.verdict {
                    Verdict::Open => VerdictRecord::Open,
                    Verdict::Taken => VerdictRecord::Taken,
                    Verdict::Void => VerdictRecord::Void,
                    Verdict::Condemned(code) => VerdictRecord::Condemned(code.clone()),
                },
            },
            Stage::Accepted(a) => {
                StageRecord::Accepted { plan_id: a.plan_id, plan_hash: a.plan_hash, at: a.at }
            }
            Stage::Ended(End::Outcome) => StageRecord::Outcome,
            Stage::Ended(End::Cancelled) => StageRecord::Cancelled,
            Stage::Ended(End::GivenUp(why)) => StageRecord::GivenUp(why.into()),
        };
        let cancel = match d.cancel {
            Cancel::No => CancelRecord::No,
            Cancel::Wanted => CancelRecord::Wanted,
            Cancel::Taken => CancelRecord::Taken,
        };
        Self {
            queued_at: d.queued_at,
            run_ms: d.run_ms,
            stage,
            exposed_since: d.exposed_since,
            failures: d.failures,
            wait_until: d.wait_until,
            cancel,
            doom: d.doom.as_ref().map(GiveUpRecord::from),
        }
    }
}

impl From<Record> for Delivery {
    fn from(r: Record) -> Self {
        let stage = match r.stage {
            StageRecord::Queued => Stage::Queued,
            StageRecord::Sent { plan_id, plan_hash, issued_at, attempts, under_way, verdict } => {
                let verdict = match verdict {
                    VerdictRecord::Open => Verdict::Open,
                    VerdictRecord::Taken => Verdict::Taken,
                    VerdictRecord::Void => Verdict::Void,
                    VerdictRecord::Condemned(code) => Verdict::Condemned(code),
                };
                Stage::Sent(Sent { plan_id, plan_hash, issued_at, attempts, under_way, verdict })
            }
            StageRecord::Accepted { plan_id, plan_hash, at } => {
                Stage::Accepted(Accepted { plan_id, plan_hash, at })
            }
            StageRecord::Outcome => Stage::Ended(End::Outcome),
            StageRecord::Cancelled => Stage::Ended(End::Cancelled),
            StageRecord::GivenUp(why) => Stage::Ended(End::GivenUp(why.into())),
        };
        let cancel = match r.cancel {
            CancelRecord::No => Cancel::No,
            CancelRecord::Wanted => Cancel::Wanted,
            CancelRecord::Taken => Cancel::Taken,
        };
        Self {
            queued_at: r.queued_at,
            run_ms: r.run_ms,
            stage,
            exposed_since: r.exposed_since,
            failures: r.failures,
            wait_until: r.wait_until,
            cancel,
            doom: r.doom.map(GiveUp::from),
        }
    }
}

impl From<&GiveUp> for GiveUpRecord {
    fn from(why: &GiveUp) -> Self {
        match why {
            GiveUp::Undelivered => Self::Undelivered,
            GiveUp::Refused(code) => Self::Refused(code.clone()),
            GiveUp::Unanswered => Self::Unanswered,
            GiveUp::JournalLost => Self::JournalLost,
        }
    }
}

impl From<GiveUpRecord> for GiveUp {
    fn from(why: GiveUpRecord) -> Self {
        match why {
            GiveUpRecord::Undelivered => Self::Undelivered,
            GiveUpRecord::Refused(code) => Self::Refused(code),
            GiveUpRecord::Unanswered => Self::Unanswered,
            GiveUpRecord::JournalLost => Self::JournalLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Event;

    #[test]
    fn a_delivery_reads_back_as_it_was_at_each_stage() {
        let (now, policy) = (Timestamp::from_unix_s(1_000), super::super::POLICY);
        let mut delivery = Delivery::new(now, 5_000);
        let plan_id = PlanId::from_bytes([7; 16]);
        let plan_hash = Digest::sha256(b"plan");
        let events = [
            Event::Drafted { plan_id, plan_hash, issued_at: now },
            Event::Sending,
            Event::SendFailed,
            Event::CancelRequested,
            Event::Accepted,
            Event::CancelTaken,
            Event::OutcomeArrived,
        ];
        for event in events {
            delivery.apply(event, now, 9, &policy).unwrap();
            assert_eq!(read(&write(&delivery).unwrap()).unwrap(), delivery);
        }
    }
}
