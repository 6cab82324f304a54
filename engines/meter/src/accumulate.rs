//! Totals since enrolment, out of counters that begin anew with each epoch of the runtime.

use crate::units::{decreases, larger, sum};
use wire::counters::Sample;
use wire::heartbeat::Totals;

/// How many finished epochs are remembered. An epoch ends when the runtime loses its journal: a rare event.
pub const PAST_EPOCHS_MAX: usize = 64;

/// Adds up what the runtime reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accumulator {
    state: AccumulatorState,
}

/// What has to survive a restart of the sidecar; saved together with the heartbeat that swears to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccumulatorState {
    /// The runtime's current epoch; `None` before the first sample.
    pub epoch: Option<u64>,
    /// The largest counters seen in this epoch.
    pub current: Totals,
    /// What all earlier epochs added up to.
    pub finished: Totals,
    /// Those earlier epochs, the oldest first, at most [`PAST_EPOCHS_MAX`].
    pub past_epochs: Vec<u64>,
}

/// Says that the runtime's counters cannot be right. Nothing is subtracted for it, and nothing counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleFault {
    /// A counter decreased within one epoch.
    #[error("`{unit}` went back from `{before}` to `{now}`")]
    CounterWentBack {
        /// Which one.
        unit: &'static str,
        /// The largest value seen.
        before: u64,
        /// The value now.
        now: u64,
    },
    /// An epoch came back after another one had begun; its counters are not added again.
    #[error("epoch `{0}` came back")]
    EpochCameBack(u64),
}

impl Accumulator {
    /// Takes up a saved state; the default one for a newly enrolled sidecar.
    #[must_use]
    pub const fn restore(state: AccumulatorState) -> Self {
        Self { state }
    }

    /// What has to be saved.
    #[must_use]
    pub const fn state(&self) -> &AccumulatorState {
        &self.state
    }

    /// What was consumed since enrolment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        sum(self.state.finished, self.state.current)
    }

    /// Takes a sample in and returns the totals with everything that is wrong about it.
    pub fn observe(&mut self, sample: &Sample) -> (Totals, Vec<SampleFault>) {
        let state = &mut self.state;
        if state.past_epochs.contains(&sample.epoch) {
            return (self.totals(), vec![SampleFault::EpochCameBack(sample.epoch)]);
        }
        if state.epoch != Some(sample.epoch) {
            state.finish_epoch();
            state.epoch = Some(sample.epoch);
        }
        let faults = decreases(&state.current, &sample.totals)
            .map(|(unit, before, now)| SampleFault::CounterWentBack { unit, before, now })
            .collect();
        state.current = larger(state.current, sample.totals);
        (self.totals(), faults)
    }
}

impl AccumulatorState {
    fn finish_epoch(&mut self) {
        self.finished = sum(self.finished, self.current);
        self.current = Totals::default();
        self.past_epochs.extend(self.epoch);
        if self.past_epochs.len() > PAST_EPOCHS_MAX {
            self.past_epochs.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::heartbeat::TOTAL_MAX;

    #[test]
    fn counters_of_one_epoch_replace_each_other() {
        let mut accumulator = Accumulator::default();
        assert_eq!(accumulator.observe(&sample(7, 10)), (steps(10), vec![]));
        assert_eq!(accumulator.observe(&sample(7, 10)), (steps(10), vec![]));
        assert_eq!(accumulator.observe(&sample(7, 25)), (steps(25), vec![]));
    }

    #[test]
    fn counters_of_a_new_epoch_are_added_from_zero() {
        let mut accumulator = Accumulator::default();
        accumulator.observe(&sample(7, 10));
        assert_eq!(accumulator.observe(&sample(3, 4)), (steps(14), vec![]));
        assert_eq!(accumulator.observe(&sample(3, 5)), (steps(15), vec![]));
    }

    #[test]
    fn a_counter_that_goes_back_is_reported_and_nothing_is_subtracted() {
        let mut accumulator = Accumulator::default();
        accumulator.observe(&sample(7, 10));
        let fault = SampleFault::CounterWentBack { unit: "steps", before: 10, now: 4 };
        assert_eq!(accumulator.observe(&sample(7, 4)), (steps(10), vec![fault]));
        assert_eq!(accumulator.observe(&sample(7, 12)), (steps(12), vec![]));
    }

    #[test]
    fn an_epoch_that_comes_back_is_reported_and_not_added_again() {
        let mut accumulator = Accumulator::default();
        accumulator.observe(&sample(7, 10));
        accumulator.observe(&sample(8, 1));
        let fault = SampleFault::EpochCameBack(7);
        assert_eq!(accumulator.observe(&sample(7, 99)), (steps(11), vec![fault]));
        assert_eq!(accumulator.observe(&sample(8, 2)), (steps(12), vec![]));
    }

    #[test]
    fn a_restart_of_the_sidecar_leaves_no_trace() {
        let mut accumulator = Accumulator::default();
        accumulator.observe(&sample(1, 10));
        accumulator.observe(&sample(2, 10));
        let mut restored = Accumulator::restore(accumulator.state().clone());
        assert_eq!(restored.totals(), steps(20));
        assert_eq!(restored.observe(&sample(2, 11)), accumulator.observe(&sample(2, 11)));
    }

    #[test]
    fn totals_and_past_epochs_keep_their_bounds() {
        let mut accumulator = Accumulator::default();
        for epoch in 0..200 {
            accumulator.observe(&sample(epoch, TOTAL_MAX));
        }
        assert_eq!(accumulator.totals(), steps(TOTAL_MAX));
        assert_eq!(accumulator.state().past_epochs.len(), PAST_EPOCHS_MAX);
    }

    fn steps(steps: u64) -> Totals {
        Totals { steps, ..Totals::default() }
    }

    fn sample(epoch: u64, n: u64) -> Sample {
        Sample { epoch, totals: steps(n) }
    }
}
