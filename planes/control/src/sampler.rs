//! Refusals that a flood could multiply: counted in full, written as one event a second for each kind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use wire::event::EventKind;

/// Most kinds between two flushes; further ones are counted under `other`.
const KINDS_MAX: usize = 256;

/// What stands for all refusals of one kind since the last flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// What happened.
    pub(crate) kind: EventKind,
    /// The stable reason code.
    pub(crate) reason: String,
    /// The address of the first one.
    pub(crate) address: Option<IpAddr>,
    /// How many there were.
    pub(crate) count: u64,
}

/// Counts refusals of callers that nobody knows.
#[derive(Debug, Default)]
pub(crate) struct Sampler(Mutex<BTreeMap<(EventKind, String), Sample>>);

impl Sampler {
    /// Counts one.
    pub(crate) fn count(&self, kind: EventKind, reason: &str, address: Option<IpAddr>) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = samples.len() >= KINDS_MAX && !samples.contains_key(&(kind, reason.to_owned()));
        let reason = if full { "other" } else { reason };
        samples
            .entry((kind, reason.to_owned()))
            .or_insert_with(|| Sample { kind, reason: reason.to_owned(), address, count: 0 })
            .count += 1;
    }

    /// Takes all samples out.
    pub(crate) fn drain(&self) -> Vec<Sample> {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *samples).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_one_sample_with_its_count() {
        let sampler = Sampler::default();
        for _ in 0..1_000 {
            sampler.count(EventKind::AuthenticationFailed, "unauthenticated", None);
        }
        let drained = sampler.drain();
        assert_eq!((drained.len(), drained[0].count), (1, 1_000));
        assert!(sampler.drain().is_empty());
    }

    #[test]
    fn a_flood_of_kinds_is_bounded_and_loses_no_count() {
        let sampler = Sampler::default();
        for n in 0..1_000 {
            sampler.count(EventKind::RequestRefused, &format!("code-{n}"), None);
        }
        let drained = sampler.drain();
        assert!(drained.len() <= KINDS_MAX + 1);
        assert_eq!(drained.iter().map(|s| s.count).sum::<u64>(), 1_000);
    }
}
