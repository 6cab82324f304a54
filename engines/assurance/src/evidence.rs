//! Evidence: what was seen and when, with a digest that binds it all.

use crate::catalogue::ControlId;
use crate::outcome::CheckOutcome;
use terms::{Digest, Timestamp};

/// What an observation means for a control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub outcome: CheckOutcome,
    /// What was seen, in the order of looking: name and value.
    pub facts: Vec<(String, String)>,
}

/// A finding that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// For which control.
    pub control: ControlId,
    /// The verdict.
    pub outcome: CheckOutcome,
    /// When it was checked.
    pub time: Timestamp,
    /// What was seen.
    pub detail: Vec<(String, String)>,
    /// SHA-256 over all of it.
    pub digest: Digest,
}

impl Evidence {
    /// Binds a finding to its control and time.
    #[must_use]
    pub fn new(control: ControlId, time: Timestamp, finding: Finding) -> Self {
        let digest = digest(control, finding.outcome, time, &finding.facts);
        Self { control, outcome: finding.outcome, time, detail: finding.facts, digest }
    }

    /// Whether the digest is that of the rest: nothing was edited since.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.digest == digest(self.control, self.outcome, self.time, &self.detail)
    }
}

/// SHA-256 over the parts, each behind its length in eight bytes, big endian.
fn digest(control: ControlId, outcome: CheckOutcome, time: Timestamp, facts: &[(String, String)]) -> Digest {
    let time = time.unix_ms().to_be_bytes();
    let head = [b"palisade/evidence/v1", control.as_str().as_bytes(), outcome.as_str().as_bytes(), &time];
    let facts = facts.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut canonical = Vec::new();
    for part in head.into_iter().chain(facts) {
        canonical.extend_from_slice(&(part.len() as u64).to_be_bytes());
        canonical.extend_from_slice(part);
    }
    Digest::sha256(&canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_that_was_edited_anywhere_is_not_intact() {
        let good = evidence();
        assert!(good.is_intact());
        let edits: [fn(&mut Evidence); 7] = [
            |e| e.control = ControlId::Plan2,
            |e| e.outcome = CheckOutcome::Fail,
            |e| e.time = e.time.plus_ms(1),
            |e| e.detail[0].1.push('x'),
            |e| e.detail.swap(0, 1),
            |e| e.detail.truncate(1),
            |e| e.digest = Digest::sha256(b""),
        ];
        for edit in edits {
            let mut edited = good.clone();
            edit(&mut edited);
            assert!(!edited.is_intact(), "{edited:?}");
        }
    }

    #[test]
    fn text_cannot_move_from_one_fact_to_the_next() {
        let with = |facts: &[(&str, &str)]| {
            let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let finding = Finding { outcome: CheckOutcome::Pass, facts };
            Evidence::new(ControlId::Plan1, Timestamp::EPOCH, finding).digest
        };
        assert_ne!(with(&[("ab", "c")]), with(&[("a", "bc")]));
        assert_ne!(with(&[("a", "b"), ("c", "d")]), with(&[("a", "bcd")]));
    }

    fn evidence() -> Evidence {
        let facts = [("alg", "ES256"), ("lifetime_s", "300")];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let finding = Finding { outcome: CheckOutcome::Pass, facts };
        Evidence::new(ControlId::Plan1, Timestamp::from_unix_s(1_800_000_000), finding)
    }
}
