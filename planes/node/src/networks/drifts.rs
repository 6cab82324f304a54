//! Drift, from the moment it is found: told once, counted, and open until it is gone.

use api::network::limits::{DRIFTS_MAX, TEXT_MAX};
use api::network::{DriftReport, DriftView};
use network::{Drift, NetworkNumber};
use terms::Timestamp;

/// Something that was found, to be told at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// When.
    pub at: Timestamp,
    /// What differed, as nobody was told before.
    pub drifts: Vec<Drift>,
    /// Whether it is as it should be again.
    pub repaired: bool,
    /// The networks whose namespace is another now: what runs in the old one reaches nothing, and must start again.
    pub rebuilt: Vec<NetworkNumber>,
}

/// What was found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Drifts {
    checked_at: Option<Timestamp>,
    found: u64,
    repaired: u64,
    open: Vec<(Timestamp, Drift)>,
}

impl Drifts {
    /// Nothing has changed since the last comparison.
    pub(super) const fn still(&mut self, now: Timestamp) {
        self.checked_at = Some(now);
    }

    /// Takes note of what differs now, and gives what is new of it.
    pub(super) fn differ(&mut self, drifts: Vec<Drift>, now: Timestamp) -> Vec<Drift> {
        self.checked_at = Some(now);
        let before = std::mem::take(&mut self.open);
        let since = |drift: &Drift| before.iter().find(|(_, open)| open == drift).map(|(since, _)| *since);
        let new: Vec<Drift> = drifts.iter().filter(|drift| since(drift).is_none()).cloned().collect();
        self.found = self.found.saturating_add(count(&new));
        self.open =
            drifts.into_iter().take(DRIFTS_MAX).map(|drift| (since(&drift).unwrap_or(now), drift)).collect();
        new
    }

    /// Takes note of what differed and does no more.
    pub(super) fn mended(&mut self, drifts: &[Drift], now: Timestamp) {
        self.checked_at = Some(now);
        let is_open = |drift: &&Drift| self.open.iter().any(|(_, open)| open == *drift);
        let known = drifts.iter().filter(is_open).count();
        self.found = self.found.saturating_add(count(drifts)).saturating_sub(known as u64);
        self.repaired = self.repaired.saturating_add(count(drifts));
        self.open.retain(|(_, open)| !drifts.contains(open));
    }

    /// All of it, as it is reported.
    pub(super) fn report(&self) -> DriftReport {
        let view = |(found_at, drift): &(Timestamp, Drift)| DriftView {
            found_at: *found_at,
            code: drift.kind.code().to_owned(),
            namespace: drift.namespace.to_string(),
            detail: shortened(drift.to_string()),
        };
        DriftReport {
            checked_at: self.checked_at,
            found: self.found,
            repaired: self.repaired,
            open: self.open.iter().map(view).collect(),
        }
    }
}

const fn count(drifts: &[Drift]) -> u64 {
    drifts.len() as u64
}

/// The beginning of a text that may hold what somebody else wrote.
fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}
