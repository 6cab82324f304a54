//! Facts, collected one by one; a single one that does not hold makes the finding red.

use crate::evidence::Finding;
use crate::observation::{Row, Seen};
use crate::outcome::CheckOutcome;
use core::fmt::Display;

/// A try that a check must have made, and whether it must have been let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredRow {
    /// Something good, which must come back as `ok`. Without it, whatever refuses everything would look safe.
    Allowed(&'static str),
    /// Something bad, which must come back as anything but `ok`.
    Refused(&'static str),
}

impl RequiredRow {
    /// The try's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allowed(name) | Self::Refused(name) => name,
        }
    }

    const fn is_allowed(&self) -> bool {
        match self {
            Self::Allowed(_) => true,
            Self::Refused(_) => false,
        }
    }
}

/// The code of whatever is let through.
const OK: &str = "ok";

#[derive(Debug, Default)]
pub(super) struct Facts {
    facts: Vec<(String, String)>,
    broken: bool,
    untried: bool,
}

impl Facts {
    /// Notes what was seen; `holds` says whether it is as it should be, `wanted` how it should be.
    pub(super) fn check(&mut self, name: &str, seen: impl Display, holds: bool, wanted: &str) {
        let value = if holds { seen.to_string() } else { format!("{seen} (must be {wanted})") };
        self.facts.push((name.to_owned(), value));
        self.broken |= !holds;
    }

    /// Notes a value that must equal another.
    pub(super) fn equal(&mut self, name: &str, seen: &Seen) {
        self.check(name, &seen.actual, seen.actual == seen.expected, &seen.expected);
    }

    /// Notes how many there are; none would prove nothing.
    pub(super) fn some(&mut self, name: &str, count: u64) {
        self.check(name, count, count > 0, "more than 0");
    }

    /// Notes how many there are of what must not be.
    pub(super) fn none(&mut self, name: &str, count: u64) {
        self.check(name, count, count == 0, "0");
    }

    /// Notes what could not be looked at: the rest may be good, and is not enough.
    pub(super) fn untried(&mut self, name: &str, what: impl Display) {
        self.facts.push((name.to_owned(), what.to_string()));
        self.untried = true;
    }

    /// Notes every try. Each must have come back as expected, each required one must be there, and good and bad
    /// ones must not be taken for each other.
    pub(super) fn rows(&mut self, rows: &[Row], required: &[RequiredRow]) {
        for row in rows {
            let required = required.iter().find(|required| required.name() == row.name);
            let wrong_side = required.is_some_and(|required| required.is_allowed() != (row.actual == OK));
            let wanted =
                if wrong_side && row.actual == row.expected { "the opposite" } else { &row.expected };
            self.check(&row.name, &row.actual, row.actual == row.expected && !wrong_side, wanted);
        }
        let tried = |required: &&RequiredRow| rows.iter().any(|row| row.name == required.name());
        for untried in required.iter().filter(|required| !tried(required)) {
            self.untried(untried.name(), "not tried");
        }
    }

    /// Red if anything was seen to be broken; else not run if anything required was not tried.
    pub(super) fn into_finding(self) -> Finding {
        let outcome = match (self.broken, self.untried || self.facts.is_empty()) {
            (true, _) => CheckOutcome::Fail,
            (false, true) => CheckOutcome::NotRun,
            (false, false) => CheckOutcome::Pass,
        };
        Finding { outcome, facts: self.facts }
    }
}
