//! The judge: what an observation means for a control. Pure, so that any verdict can be repeated from its facts.

mod data;
mod detection;
mod facts;
mod meter;
mod network;
mod plan;
mod practice;

pub use data::SUITES;
pub use detection::WATCH_ROWS;
pub use facts::RequiredRow;
pub use meter::{COUNTER_ROWS, WINDOW_ROWS};
pub use plan::{PLAN_ROWS, REPLAY_ROWS};
pub use practice::INPUT_ROWS;

use crate::catalogue::{ControlId, Release};
use crate::evidence::Finding;
use crate::observation::Observation;
use crate::outcome::CheckOutcome;
use facts::Facts;

/// Decides what `observation` means for `control`. An observation that is another control's proves nothing.
#[must_use]
pub fn judge(control: ControlId, observation: &Observation) -> Finding {
    if control.control().release == Release::NotBuilt {
        return reason(CheckOutcome::NotBuilt, "this release does not make this promise");
    }
    let mut facts = Facts::default();
    match (control, observation) {
        (_, Observation::NotRun(why)) => return reason(CheckOutcome::NotRun, why),
        (_, Observation::NotEnforced(why)) => return reason(CheckOutcome::NotEnforced, why),
        (
            ControlId::Net1 | ControlId::Net2 | ControlId::Net3 | ControlId::Net4 | ControlId::Net5,
            Observation::Networks(networks),
        ) => network::probes(control, networks, &mut facts),
        (ControlId::Net8, Observation::Drift(watch)) => network::drift(watch, &mut facts),
        (ControlId::Plan1, Observation::PlanToken(token)) => plan::token(token, &mut facts),
        (ControlId::Plan2, Observation::PlanKeys(keys)) => plan::keys(keys, &mut facts),
        (ControlId::Plan3, Observation::PlanAttacks(rows)) => facts.rows(rows, &PLAN_ROWS),
        (ControlId::Plan4, Observation::Replay(replay)) => plan::replay(replay, &mut facts),
        (ControlId::Data1, Observation::Database(database)) => data::database(database, &mut facts),
        (ControlId::Data7, Observation::Listeners(listeners)) => data::listeners(listeners, &mut facts),
        (ControlId::Meter1, Observation::HeartbeatSignature(seen)) => meter::signature(seen, &mut facts),
        (ControlId::Meter2, Observation::Counting(counting)) => meter::counting(counting, &mut facts),
        (ControlId::Meter3, Observation::Window(rows)) => facts.rows(rows, &WINDOW_ROWS),
        (ControlId::Meter4, Observation::SidecarKey(key)) => meter::key(key, &mut facts),
        (ControlId::Det4, Observation::Certificates(watch)) => detection::certificates(watch, &mut facts),
        (ControlId::Ops2, Observation::Secrets(search)) => practice::secrets(search, &mut facts),
        (ControlId::Ops3, Observation::Inputs(inputs)) => practice::inputs(inputs, &mut facts),
        (_, _) => return reason(CheckOutcome::NotRun, "the observation is of something else"),
    }
    facts.into_finding()
}

fn reason(outcome: CheckOutcome, why: &str) -> Finding {
    Finding { outcome, facts: vec![("reason".to_owned(), why.to_owned())] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::observation::{Row, Seen};

    #[test]
    fn what_is_not_built_is_never_green() {
        for control in Catalogue::all().iter().filter(|control| control.release == Release::NotBuilt) {
            let observation = Observation::PlanAttacks(rows(&PLAN_ROWS));
            assert_eq!(judge(control.id, &observation).outcome, CheckOutcome::NotBuilt, "{}", control.id);
        }
    }

    #[test]
    fn what_was_not_looked_at_or_cannot_be_held_says_why() {
        let not_run = judge(ControlId::Plan1, &Observation::NotRun("no data plane".to_owned()));
        assert_eq!((not_run.outcome, not_run.facts[0].1.as_str()), (CheckOutcome::NotRun, "no data plane"));
        let not_enforced = judge(ControlId::Data1, &Observation::NotEnforced("no cipher".to_owned()));
        assert_eq!(not_enforced.outcome, CheckOutcome::NotEnforced);
    }

    #[test]
    fn an_observation_of_another_control_proves_nothing() {
        let observation = Observation::PlanAttacks(rows(&PLAN_ROWS));
        for control in Catalogue::all().iter().filter(|control| control.release == Release::Built) {
            let expected =
                if control.id == ControlId::Plan3 { CheckOutcome::Pass } else { CheckOutcome::NotRun };
            assert_eq!(judge(control.id, &observation).outcome, expected, "{}", control.id);
        }
    }

    #[test]
    fn a_broken_fact_says_what_it_must_be() {
        let finding = judge(
            ControlId::Meter3,
            &Observation::Window(vec![Row {
                name: "61-s-ahead".to_owned(),
                expected: "from_the_future".to_owned(),
                actual: "ok".to_owned(),
            }]),
        );
        assert_eq!(finding.outcome, CheckOutcome::Fail);
        assert_eq!(finding.facts[0].1, "ok (must be from_the_future)");
    }

    pub(super) fn outcome(control: ControlId, observation: Observation) -> CheckOutcome {
        judge(control, &observation).outcome
    }

    /// The good observation passes, and is red after each of the edits.
    pub(super) fn assert_each_breaks<T: Clone>(
        control: ControlId,
        good: T,
        observation: impl Fn(T) -> Observation,
        edits: &[fn(&mut T)],
    ) {
        assert_eq!(outcome(control, observation(good.clone())), CheckOutcome::Pass);
        for (number, edit) in edits.iter().enumerate() {
            let mut broken = good.clone();
            edit(&mut broken);
            assert_eq!(outcome(control, observation(broken)), CheckOutcome::Fail, "edit {number}");
        }
    }

    /// Rows as they should be: what must be refused is refused.
    pub(super) fn rows(required: &[RequiredRow]) -> Vec<Row> {
        let row = |required: &RequiredRow| match required {
            RequiredRow::Allowed(name) => row(name, "ok"),
            RequiredRow::Refused(name) => row(name, "refused"),
        };
        required.iter().map(row).collect()
    }

    pub(super) fn row(name: &str, code: &str) -> Row {
        Row { name: name.to_owned(), expected: code.to_owned(), actual: code.to_owned() }
    }

    pub(super) fn right() -> Seen {
        Seen { expected: "a".to_owned(), actual: "a".to_owned() }
    }

    pub(super) fn other() -> Seen {
        Seen { expected: "a".to_owned(), actual: "b".to_owned() }
    }
}
