//! What a check can come to, and how often it did.

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckOutcome {
    /// The promise was seen to hold.
    Pass,
    /// The promise was seen to be broken.
    Fail,
    /// This host or driver cannot hold the promise.
    NotEnforced,
    /// The means to look were absent.
    NotRun,
    /// This release does not make the promise yet.
    NotBuilt,
}

/// Says that a text names no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an outcome of a check")]
pub struct UnknownOutcome;

/// How many checks came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Seen to hold.
    pub pass: u32,
    /// Seen to be broken.
    pub fail: u32,
    /// Not held on this host.
    pub not_enforced: u32,
    /// Not looked at.
    pub not_run: u32,
    /// Not promised yet.
    pub not_built: u32,
}

// === impl CheckOutcome ===

impl CheckOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Fail, Self::NotEnforced, Self::NotRun, Self::NotBuilt];

    /// The outcome's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotEnforced => "not_enforced",
            Self::NotRun => "not_run",
            Self::NotBuilt => "not_built",
        }
    }

    /// Whether it is green.
    #[must_use]
    pub const fn is_green(self) -> bool {
        match self {
            Self::Pass => true,
            Self::Fail | Self::NotEnforced | Self::NotRun | Self::NotBuilt => false,
        }
    }
}

impl core::fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::str::FromStr for CheckOutcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(UnknownOutcome)
    }
}

// === impl Summary ===

impl Summary {
    /// How many checks there are.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.pass + self.fail + self.not_enforced + self.not_run + self.not_built
    }
}

impl FromIterator<CheckOutcome> for Summary {
    fn from_iter<I: IntoIterator<Item = CheckOutcome>>(outcomes: I) -> Self {
        let mut summary = Self::default();
        for outcome in outcomes {
            let count = match outcome {
                CheckOutcome::Pass => &mut summary.pass,
                CheckOutcome::Fail => &mut summary.fail,
                CheckOutcome::NotEnforced => &mut summary.not_enforced,
                CheckOutcome::NotRun => &mut summary.not_run,
                CheckOutcome::NotBuilt => &mut summary.not_built,
            };
            *count += 1;
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pass_is_green() {
        let green: Vec<_> = CheckOutcome::ALL.into_iter().filter(|outcome| outcome.is_green()).collect();
        assert_eq!(green, [CheckOutcome::Pass]);
    }

    #[test]
    fn every_outcome_reads_back_from_its_text() {
        for outcome in CheckOutcome::ALL {
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
        }
        assert_eq!("Pass".parse::<CheckOutcome>(), Err(UnknownOutcome));
    }

    #[test]
    fn a_summary_counts_each_outcome() {
        use CheckOutcome::{Fail, NotBuilt, NotRun, Pass};
        let summary: Summary = [Pass, Fail, Pass, NotRun, NotBuilt, NotBuilt].into_iter().collect();
        let expected = Summary { pass: 2, fail: 1, not_enforced: 0, not_run: 1, not_built: 2 };
        assert_eq!((summary, summary.total()), (expected, 6));
    }
}
