//! OPS-2 and OPS-3: secrets and input.

use super::facts::{Facts, RequiredRow};
use crate::observation::{Inputs, SecretSearch};
use RequiredRow::{Allowed, Refused};

/// The tries that OPS-3 consists of.
pub const INPUT_ROWS: [RequiredRow; 8] = [
    Allowed("well-formed"),
    Refused("malformed-json"),
    Refused("duplicate-name"),
    Refused("unknown-field"),
    Refused("deep-nesting"),
    Refused("oversized-body"),
    Refused("bad-id"),
    Refused("malformed-workflow"),
];

pub(super) fn secrets(search: &SecretSearch, facts: &mut Facts) {
    facts.some("secrets sought", search.secrets_sought);
    facts.some("bytes searched", search.bytes_searched);
    facts.check("hosts searched", search.hosts_searched, true, "");
    facts.check("tenants searched", search.tenants_searched, true, "");
    for place in &search.unread {
        facts.untried("not searched", place);
    }
    facts.none("places with a secret", search.found_in.len() as u64);
    for place in &search.found_in {
        facts.check("found in", place, false, "without secrets");
    }
}

pub(super) fn inputs(inputs: &Inputs, facts: &mut Facts) {
    facts.rows(&inputs.rows, &INPUT_ROWS);
    facts.equal("state after bad input", &inputs.state);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ControlId::{Ops2, Ops3};
    use crate::judge::tests::{assert_each_breaks, other, outcome, right, rows};
    use crate::observation::Observation;
    use crate::outcome::CheckOutcome::{Fail, NotRun};

    #[test]
    fn a_search_that_finds_nothing_passes_and_each_part_can_break_it() {
        let good = SecretSearch {
            secrets_sought: 4,
            bytes_searched: 10_000,
            hosts_searched: 1,
            tenants_searched: 2,
            unread: vec![],
            found_in: vec![],
        };
        assert_each_breaks(
            Ops2,
            good.clone(),
            Observation::Secrets,
            &[
                |s| s.secrets_sought = 0,
                |s| s.bytes_searched = 0,
                |s| s.found_in.push("control.log".to_owned()),
            ],
        );
        let unread = SecretSearch { unread: vec!["log".to_owned()], ..good };
        assert_eq!(outcome(Ops2, Observation::Secrets(unread.clone())), NotRun);
        let found = SecretSearch { found_in: vec!["log".to_owned()], ..unread };
        assert_eq!(outcome(Ops2, Observation::Secrets(found)), Fail);
    }

    #[test]
    fn refused_input_passes_and_each_row_can_break_it() {
        let good = Inputs { rows: rows(&INPUT_ROWS), state: right() };
        assert_each_breaks(
            Ops3,
            good.clone(),
            Observation::Inputs,
            &[|i| i.state = other(), |i| i.rows[0].actual = "malformed".to_owned()],
        );
        for at in 0..good.rows.len() {
            let mut wrong = good.clone();
            wrong.rows[at].actual = "internal_error".to_owned();
            assert_eq!(outcome(Ops3, Observation::Inputs(wrong)), Fail, "{}", good.rows[at].name);
            let mut untried = good.clone();
            untried.rows.remove(at);
            assert_eq!(outcome(Ops3, Observation::Inputs(untried)), NotRun, "{}", good.rows[at].name);
        }
    }
}
