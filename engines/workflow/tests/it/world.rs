//! A world for runs: a clock that tests turn, and answers that tests give.

use serde_json::Value;
use terms::Timestamp;
use workflow::{Effect, Limits, Reply, Run, RuntimeContext, Workflow};

pub(crate) const LIMITS: Limits = Limits {
    steps: 1_000,
    wall_time_ms: 60_000,
    memory_bytes: 4 << 20,
    output_bytes: 64 << 10,
    http_calls: 20,
};

pub(crate) const START: i64 = 1_795_507_200_000;

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(START + ms)
}

pub(crate) fn parse(text: &str) -> Workflow {
    Workflow::parse(text.as_bytes()).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", faults.join("\n"))
    })
}

/// A document whose `do` is `tasks`, indented by nothing.
pub(crate) fn document(tasks: &str) -> String {
    format!("document: {{dsl: '1.0.0', namespace: test, name: test, version: '0.1.0'}}\n{tasks}")
}

pub(crate) fn start(workflow: &Workflow, input: Value, limits: Limits) -> Run {
    let context = RuntimeContext { execution_id: "run-1".to_owned(), started_at: at(0) };
    Run::start(workflow, input, limits, context)
}

/// Runs to the end in a world where time passes only by waiting, and nothing is ever called.
pub(crate) fn run(text: &str, input: Value) -> Effect {
    let mut run = start(&parse(text), input, LIMITS);
    let mut now = at(0);
    let mut effect = run.advance(Reply::Start, now);
    while let Effect::Wait { ms, .. } = effect {
        now = now.plus_ms(i64::try_from(ms).unwrap());
        effect = run.advance(Reply::Waited, now);
    }
    effect
}

/// The output of a run that ends well.
pub(crate) fn output(text: &str, input: Value) -> Value {
    match run(text, input) {
        Effect::Completed(value) => value,
        other => panic!("{other:?}\n{text}"),
    }
}

/// The output of the tasks in `tasks`.
pub(crate) fn output_of(tasks: &str, input: Value) -> Value {
    output(&document(tasks), input)
}

/// The fault of a run that fails.
pub(crate) fn fault_of(tasks: &str, input: Value) -> workflow::RunFault {
    match run(&document(tasks), input) {
        Effect::Faulted(fault) => fault,
        other => panic!("{other:?}\n{tasks}"),
    }
}
