//! Arithmetic over all units of usage at once.

use wire::heartbeat::{TOTAL_MAX, Totals};

/// The sum, held at the largest total that can be written.
pub(crate) fn sum(a: Totals, b: Totals) -> Totals {
    a.zip(b, |a, b| a.saturating_add(b).min(TOTAL_MAX))
}

/// Each unit's larger value.
pub(crate) fn larger(a: Totals, b: Totals) -> Totals {
    a.zip(b, u64::max)
}

/// What `now` has more than `before`.
pub(crate) fn growth(before: Totals, now: Totals) -> Totals {
    now.zip(before, u64::saturating_sub)
}

/// The units that went back, with both values.
pub(crate) fn decreases(before: &Totals, now: &Totals) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let pairs = Totals::UNITS.into_iter().map(|(name, unit)| (name, unit(before), unit(now)));
    pairs.filter(|(_, before, now)| now < before)
}
