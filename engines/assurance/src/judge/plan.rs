//! PLAN-1 to PLAN-4: signed execution plans.

use super::facts::{Facts, RequiredRow};
use crate::observation::{PlanKeys, PlanToken, Replay};
use RequiredRow::{Allowed, Refused};

/// The longest life of a plan token (PLAN-1).
const LIFETIME_MAX_S: i64 = 300;

/// Bytes of a SHA-256 digest.
const HASH_LENGTH: usize = 32;

/// Most keys that are served at once.
const KEYS_MAX: usize = 4;

/// The tries that PLAN-3 consists of.
pub const PLAN_ROWS: [RequiredRow; 18] = [
    Allowed("valid"),
    Refused("alg-none"),
    Refused("hs256-with-public-key"),
    Refused("other-curve"),
    Refused("foreign-kid"),
    Refused("kid-as-url"),
    Refused("kid-as-path"),
    Refused("expired"),
    Refused("not-yet-valid"),
    Refused("other-issuer"),
    Refused("other-tenant"),
    Refused("other-audience"),
    Refused("other-type"),
    Refused("flipped-byte-in-plan"),
    Refused("flipped-byte-in-header"),
    Refused("flipped-byte-in-signature"),
    Refused("duplicate-claims"),
    Refused("oversized-token"),
];

/// The tries that PLAN-4 consists of, in a live system. Restarts and a lost journal are more rows where a probe has
/// the means.
pub const REPLAY_ROWS: [RequiredRow; 2] = [Allowed("first-delivery"), Refused("same-id-other-plan")];

pub(super) fn token(token: &PlanToken, facts: &mut Facts) {
    facts.check("alg", &token.alg, token.alg == "ES256", "ES256");
    facts.check("typ", &token.typ, token.typ == "palisade-plan+jwt", "palisade-plan+jwt");
    facts.check("signature verifies", token.signature_ok, token.signature_ok, "true");
    facts.equal("iss", &token.iss);
    facts.equal("sub", &token.sub);
    facts.equal("aud", &token.aud);
    let in_range = (1..=LIFETIME_MAX_S).contains(&token.lifetime_s);
    facts.check("lifetime_s", token.lifetime_s, in_range, "1 to 300");
    facts.check("plan hash bytes", token.hash_len, token.hash_len == HASH_LENGTH, "32");
    facts.equal("plan hash", &token.hash);
}

pub(super) fn keys(keys: &PlanKeys, facts: &mut Facts) {
    facts.check("keys served", keys.served, (1..=KEYS_MAX).contains(&keys.served), "1 to 4");
    facts.check("sound keys", keys.sound, keys.sound == keys.served, "all of them");
    facts.check("active key served", keys.active_is_served, keys.active_is_served, "true");
    let ahead = keys.active_was_served_ahead;
    facts.check("active key served before it signed", ahead, ahead, "true");
    facts.check("from the issuer", keys.from_issuer, keys.from_issuer, "true");
    facts.none("orphaned plans", keys.orphaned_plans);
    facts.none("failed plans", keys.failed_plans);
}

pub(super) fn replay(replay: &Replay, facts: &mut Facts) {
    facts.rows(&replay.rows, &REPLAY_ROWS);
    facts.check("deliveries", replay.deliveries, replay.deliveries > 1, "more than 1");
    facts.check("runs", replay.runs, replay.runs == 1, "1");
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::*;
    use crate::catalogue::ControlId::{Plan1, Plan2, Plan3, Plan4};
    use crate::judge::tests::{assert_each_breaks, other, outcome, right, rows};
    use crate::observation::Observation;
    use crate::outcome::CheckOutcome::{Fail, NotRun, Pass};

    #[test]
    fn a_plan_token_passes_and_each_part_can_break_it() {
        let good = PlanToken {
            alg: "ES256".to_owned(),
            typ: "palisade-plan+jwt".to_owned(),
            signature_ok: true,
            iss: right(),
            sub: right(),
            aud: right(),
            lifetime_s: 300,
            hash_len: 32,
            hash: right(),
        };
        assert_each_breaks(
            Plan1,
            good,
            Observation::PlanToken,
            &[
                |t| t.alg = "RS256".to_owned(),
                |t| t.typ = "JWT".to_owned(),
                |t| t.signature_ok = false,
                |t| t.iss = other(),
                |t| t.sub = other(),
                |t| t.aud = other(),
                |t| t.lifetime_s = 301,
                |t| t.lifetime_s = 0,
                |t| t.hash_len = 20,
                |t| t.hash = other(),
            ],
        );
    }

    #[test]
    fn a_key_set_passes_and_each_part_can_break_it() {
        let good = PlanKeys {
            served: 2,
            sound: 2,
            active_is_served: true,
            active_was_served_ahead: true,
            from_issuer: true,
            orphaned_plans: 0,
            failed_plans: 0,
        };
        assert_each_breaks(
            Plan2,
            good,
            Observation::PlanKeys,
            &[
                |k| (k.served, k.sound) = (0, 0),
                |k| (k.served, k.sound) = (5, 5),
                |k| k.sound = 1,
                |k| k.active_is_served = false,
                |k| k.active_was_served_ahead = false,
                |k| k.from_issuer = false,
                |k| k.orphaned_plans = 1,
                |k| k.failed_plans = 1,
            ],
        );
    }

    #[test]
    fn each_attack_that_gets_through_or_gets_another_answer_is_red() {
        let good = rows(&PLAN_ROWS);
        assert_eq!(outcome(Plan3, Observation::PlanAttacks(good.clone())), Pass);
        for at in 0..good.len() {
            let mut through = good.clone();
            through[at].actual = "ok".to_owned();
            through[at].expected = "ok".to_owned();
            let expected = if good[at].name == "valid" { Pass } else { Fail };
            assert_eq!(outcome(Plan3, Observation::PlanAttacks(through)), expected, "{}", good[at].name);
            let mut otherwise = good.clone();
            otherwise[at].actual = "internal_error".to_owned();
            assert_eq!(outcome(Plan3, Observation::PlanAttacks(otherwise)), Fail, "{}", good[at].name);
            let mut untried = good.clone();
            untried.remove(at);
            assert_eq!(outcome(Plan3, Observation::PlanAttacks(untried)), NotRun, "{}", good[at].name);
        }
    }

    #[test]
    fn a_gate_that_refuses_everything_is_red() {
        let mut everything = rows(&PLAN_ROWS);
        everything.iter_mut().for_each(|row| (row.actual, row.expected) = ("no".to_owned(), "no".to_owned()));
        assert_eq!(outcome(Plan3, Observation::PlanAttacks(everything)), Fail);
        assert_eq!(outcome(Plan3, Observation::PlanAttacks(vec![])), NotRun);
    }

    #[test]
    fn a_plan_that_runs_once_passes_and_each_part_can_break_it() {
        let good = Replay { rows: rows(&REPLAY_ROWS), deliveries: 3, runs: 1 };
        assert_each_breaks(
            Plan4,
            good.clone(),
            Observation::Replay,
            &[
                |r| r.runs = 2,
                |r| r.runs = 0,
                |r| r.deliveries = 1,
                |r| r.rows[0].actual = "refused".to_owned(),
                |r| r.rows[1].actual = "ok".to_owned(),
            ],
        );
        let finding = judge(Plan4, &Observation::Replay(Replay { rows: vec![], ..good }));
        assert_eq!(finding.outcome, NotRun);
    }
}
