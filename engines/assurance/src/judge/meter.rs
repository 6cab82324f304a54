//! METER-1 to METER-4: metering signatures.

use super::facts::{Facts, RequiredRow};
use crate::observation::{Counting, HeartbeatSignature, SidecarKey};
use RequiredRow::{Allowed, Refused};

/// Bytes of an Ed25519 signature.
const SIGNATURE_LENGTH: usize = 64;

/// The tries that METER-2 consists of. A skipped counter counts, but must come back as a `gap`.
pub const COUNTER_ROWS: [RequiredRow; 7] = [
    Allowed("next-counter"),
    Refused("same-bytes-again"),
    Refused("same-counter-other-bytes"),
    Refused("lower-counter"),
    Refused("other-chain"),
    Refused("lower-totals"),
    Refused("skipped-counter"),
];

/// The tries that METER-3 consists of: both sides of each bound.
pub const WINDOW_ROWS: [RequiredRow; 8] = [
    Allowed("60-s-ahead"),
    Refused("61-s-ahead"),
    Allowed("same-time-as-previous"),
    Refused("before-previous"),
    Allowed("two-intervals-old"),
    Refused("older-than-two-intervals"),
    Allowed("older-than-two-intervals-spooled"),
    Refused("older-than-seven-days-spooled"),
];

pub(super) fn signature(seen: &HeartbeatSignature, facts: &mut Facts) {
    facts.check("signature bytes", seen.length, seen.length == SIGNATURE_LENGTH, "64");
    facts.check("base64", seen.is_base64, seen.is_base64, "true");
    facts.check("verifies", seen.verifies, seen.verifies, "true");
    facts.some("bits flipped", seen.flips_tried);
    facts.none("flips that verified", seen.flips_accepted);
}

pub(super) fn counting(counting: &Counting, facts: &mut Facts) {
    facts.rows(&counting.rows, &COUNTER_ROWS);
    facts.some("sworn", counting.sworn);
    let equal = counting.counted == counting.sworn;
    facts.check("counted", counting.counted, equal, &counting.sworn.to_string());
}

pub(super) fn key(key: &SidecarKey, facts: &mut Facts) {
    facts.rows(core::slice::from_ref(&key.second_enrolment), &[Refused("second-enrolment")]);
    facts.none("private keys held by the control plane", key.private_keys_held);
    facts.equal("mode of the key file", &key.key_file_mode);
    facts.some("stored heartbeats", key.stored_heartbeats);
    facts.none("stored heartbeats that do not verify", key.unverifiable_heartbeats);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ControlId::{Meter1, Meter2, Meter3, Meter4};
    use crate::judge::tests::{assert_each_breaks, outcome, row, rows};
    use crate::observation::{Observation, Seen};
    use crate::outcome::CheckOutcome::{Fail, NotRun, Pass};

    #[test]
    fn a_signature_passes_and_each_part_can_break_it() {
        let good = HeartbeatSignature {
            length: 64,
            is_base64: true,
            verifies: true,
            flips_tried: 100,
            flips_accepted: 0,
        };
        assert_each_breaks(
            Meter1,
            good,
            Observation::HeartbeatSignature,
            &[
                |s| s.length = 63,
                |s| s.is_base64 = false,
                |s| s.verifies = false,
                |s| s.flips_tried = 0,
                |s| s.flips_accepted = 1,
            ],
        );
    }

    #[test]
    fn counting_passes_and_each_part_can_break_it() {
        let good = Counting { rows: rows(&COUNTER_ROWS), sworn: 10, counted: 10 };
        assert_each_breaks(
            Meter2,
            good,
            Observation::Counting,
            &[
                |c| c.counted = 20,
                |c| c.counted = 9,
                |c| (c.sworn, c.counted) = (0, 0),
                |c| c.rows[0].actual = "replay".to_owned(),
                |c| c.rows[1].actual = "ok".to_owned(),
                |c| c.rows[2].actual = "ok".to_owned(),
                |c| c.rows[3].actual = "ok".to_owned(),
                |c| c.rows[4].actual = "ok".to_owned(),
                |c| c.rows[5].actual = "ok".to_owned(),
                |c| c.rows[6].actual = "ok".to_owned(),
            ],
        );
    }

    #[test]
    fn each_side_of_each_bound_can_break_the_window() {
        let good = rows(&WINDOW_ROWS);
        assert_eq!(outcome(Meter3, Observation::Window(good.clone())), Pass);
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at].actual = if wrong[at].actual == "ok" { "stale" } else { "ok" }.to_owned();
            assert_eq!(outcome(Meter3, Observation::Window(wrong)), Fail, "{}", good[at].name);
            let mut untried = good.clone();
            untried.remove(at);
            assert_eq!(outcome(Meter3, Observation::Window(untried)), NotRun, "{}", good[at].name);
        }
    }

    #[test]
    fn a_sidecar_key_passes_and_each_part_can_break_it() {
        let good = SidecarKey {
            second_enrolment: row("second-enrolment", "token_used"),
            private_keys_held: 0,
            key_file_mode: Seen { expected: "0600".to_owned(), actual: "0600".to_owned() },
            stored_heartbeats: 5,
            unverifiable_heartbeats: 0,
        };
        assert_each_breaks(
            Meter4,
            good,
            Observation::SidecarKey,
            &[
                |k| k.second_enrolment.actual = "ok".to_owned(),
                |k| k.second_enrolment = row("second-enrolment", "ok"),
                |k| k.private_keys_held = 1,
                |k| k.key_file_mode.actual = "0644".to_owned(),
                |k| k.stored_heartbeats = 0,
                |k| k.unverifiable_heartbeats = 1,
            ],
        );
    }
}
