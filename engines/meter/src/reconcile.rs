//! Compares what a sidecar swore to with what the control plane knows without it.
//!
//! The control plane counts the plans that a data plane accepted (its 202 answers) and adds up the outcomes. A
//! sidecar reads the same things from the runtime's counters, a little earlier or later: what is in flight
//! explains a difference, anything more is an anomaly.
//!
//! Which units rest on whose word: executions are known to the control plane itself. Outcomes, steps, calls, wall
//! time and output bytes come from the data plane twice, once over the sidecar and once in its outcomes: a data
//! plane that lies must lie consistently. The [`UNITS_ON_TRUST`] rest on the data plane's word alone.

use wire::heartbeat::Totals;

/// Units that nobody but the data plane knows, unless its host's kernel counts them too ([`crate::KernelCheck`]).
pub const UNITS_ON_TRUST: [&str; 3] = ["cpu_time_us", "egress_bytes", "ingress_bytes"];

/// What the control plane knows, since the tenant's first sidecar enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Plans that the data plane accepted.
    pub accepted: u64,
    /// Outcomes received.
    pub outcomes: u64,
    /// Task executions in them.
    pub steps: u64,
    /// HTTP calls in them.
    pub http_calls: u64,
    /// Milliseconds in them.
    pub wall_time_ms: u64,
    /// Bytes of output in them.
    pub output_bytes: u64,
}

/// How far the two may differ: `slack` always, and the rest for each execution in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Executions that one heartbeat interval may hide: accepted or ended between a sample and its receipt.
    pub slack: u64,
    /// Most task executions of one execution.
    pub steps: u64,
    /// Most HTTP calls of one execution.
    pub http_calls: u64,
    /// Most milliseconds of one execution.
    pub wall_time_ms: u64,
    /// Most bytes of output of one execution.
    pub output_bytes: u64,
}

/// A difference that nothing in flight explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anomaly {
    /// The unit.
    pub unit: &'static str,
    /// What the sidecars swore to.
    pub metered: u64,
    /// What the control plane knows.
    pub known: u64,
    /// By how much they may differ.
    pub bound: u64,
}

/// Compares each unit that is known twice. `in_flight` is the number of executions that were sent and have no
/// outcome yet.
#[must_use]
pub fn reconcile(known: &Known, totals: &Totals, in_flight: u64, bounds: &Bounds) -> Vec<Anomaly> {
    let open = in_flight.saturating_add(bounds.slack);
    let rows = [
        ("executions", totals.executions, known.accepted, 1),
        ("outcomes", totals.outcomes, known.outcomes, 1),
        ("steps", totals.steps, known.steps, bounds.steps),
        ("http_calls", totals.http_calls, known.http_calls, bounds.http_calls),
        ("wall_time_ms", totals.wall_time_ms, known.wall_time_ms, bounds.wall_time_ms),
        ("output_bytes", totals.output_bytes, known.output_bytes, bounds.output_bytes),
    ];
    let compared = rows.map(|(unit, metered, known, each)| Anomaly {
        unit,
        metered,
        known,
        bound: open.saturating_mul(each),
    });
    compared.into_iter().filter(Anomaly::is_over).collect()
}

impl Anomaly {
    const fn is_over(&self) -> bool {
        self.metered.abs_diff(self.known) > self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { slack: 2, steps: 10, http_calls: 5, wall_time_ms: 1_000, output_bytes: 100 };

    #[test]
    fn equal_figures_are_no_anomaly() {
        assert_eq!(reconcile(&known(), &totals(), 0, &BOUNDS), []);
    }

    #[test]
    fn what_is_in_flight_explains_a_difference_up_to_the_bound_in_both_directions() {
        for (unit, each, set) in units() {
            let bound = (3 + BOUNDS.slack) * each;
            for (metered, anomalous) in [
                (1_000_000 + bound, false),
                (1_000_000 - bound, false),
                (1_000_001 + bound, true),
                (999_999 - bound, true),
            ] {
                let mut totals = totals();
                *set(&mut totals) = metered;
                let found = reconcile(&known(), &totals, 3, &BOUNDS);
                let expected = Anomaly { unit, metered, known: 1_000_000, bound };
                assert_eq!(found, if anomalous { vec![expected] } else { vec![] }, "{unit} {metered}");
            }
        }
    }

    #[test]
    fn every_unit_is_compared_or_named_as_trusted() {
        let compared = units().map(|(unit, ..)| unit);
        for (unit, _) in Totals::UNITS {
            assert!(compared.contains(&unit) != UNITS_ON_TRUST.contains(&unit), "{unit}");
        }
    }

    #[test]
    fn bounds_do_not_overflow() {
        assert_eq!(reconcile(&Known::default(), &totals(), u64::MAX, &BOUNDS), []);
    }

    type Row = (&'static str, u64, fn(&mut Totals) -> &mut u64);

    fn units() -> [Row; 6] {
        [
            ("executions", 1, |t| &mut t.executions),
            ("outcomes", 1, |t| &mut t.outcomes),
            ("steps", BOUNDS.steps, |t| &mut t.steps),
            ("http_calls", BOUNDS.http_calls, |t| &mut t.http_calls),
            ("wall_time_ms", BOUNDS.wall_time_ms, |t| &mut t.wall_time_ms),
            ("output_bytes", BOUNDS.output_bytes, |t| &mut t.output_bytes),
        ]
    }

    fn totals() -> Totals {
        Totals::default().zip(Totals::default(), |_, _| 1_000_000)
    }

    fn known() -> Known {
        let n = 1_000_000;
        Known { accepted: n, outcomes: n, steps: n, http_calls: n, wall_time_ms: n, output_bytes: n }
    }
}
