//! Limits: each one ends a run with its own kind of fault, and none can be caught.

use crate::world::{LIMITS, at, document, parse, start};
use serde_json::{Value, json};
use workflow::{Effect, FaultKind, Limits, Reply};

#[test]
fn an_endless_workflow_ends_with_the_step_limit() {
    for tasks in [
        "do: [{a: {set: {x: 1}, then: a}}]",
        "do: [{a: {switch: [{x: {then: a}}]}}]",
        "do: [{a: {if: 'false', wait: PT1S}}, {b: {switch: [{x: {then: a}}]}}]",
        "do: [{a: {for: {in: '[range(5000)]'}, do: [{b: {set: {x: 1}}}]}}]",
        "do: [{a: {try: [{b: {raise: {error: {type: t, status: 400}}}}], catch: {retry: {}}, then: a}}]",
    ] {
        let (kind, steps) = ended(tasks, Value::Null, Limits { steps: 100, ..LIMITS });
        assert_eq!((kind, steps), (FaultKind::StepLimit, 100), "{tasks}");
    }
}

#[test]
fn an_endless_expression_ends_with_the_step_limit_and_cannot_be_caught() {
    let tasks = "do: [{a: {try: [{b: {set: '${ [repeat(.)] }'}}], catch: {do: [{c: {set: {x: 1}}}]}}}]";
    assert_eq!(ended(tasks, Value::Null, LIMITS).0, FaultKind::StepLimit);
}

#[test]
fn many_costly_expressions_end_together() {
    let tasks = "do: [{a: {for: {in: '[range(100)]'}, do: [{b: {set: '${ last(range(400000)) }'}}]}}]";
    let (kind, steps) = ended(tasks, Value::Null, LIMITS);
    assert_eq!(kind, FaultKind::StepLimit);
    assert!(steps < 60, "{steps}");
}

#[test]
fn values_beyond_the_memory_limit_end_the_run() {
    let small = Limits { memory_bytes: 10_000, ..LIMITS };
    let big = json!("x".repeat(20_000));
    for (tasks, input) in [
        ("do: [{a: {wait: PT1S}}]", big),
        ("do: [{a: {set: '${ \"x\" * 20000 }'}}]", Value::Null),
        ("do: [{a: {set: {a: '${ . }', b: '${ . }', c: '${ . }'}}}]", json!("x".repeat(5_000))),
        ("do: [{a: {set: '${ [., .] }', then: a}}]", json!(1)),
        ("do: [{a: {set: [1], export: {as: '[$context, $context, 1]'}, then: a}}]", json!(1)),
        ("do: [{a: {set: {x: '${ . }'}, then: a}}]", json!(1)),
    ] {
        let tasks = tasks.replace("set: [1]", "set: {x: 1}");
        assert_eq!(ended(&tasks, input, small).0, FaultKind::MemoryLimit, "{tasks}");
    }
    let tasks = "do: [{a: {set: {x: '${ . }'}, then: a}}]";
    assert_eq!(ended(tasks, json!(1), LIMITS).0, FaultKind::MemoryLimit, "a value that only nests");
}

#[test]
fn an_output_beyond_its_limit_ends_the_run() {
    let tasks = "do: [{a: {set: '${ \"x\" * 98 }'}}]";
    assert_eq!(ended(tasks, Value::Null, Limits { output_bytes: 99, ..LIMITS }).0, FaultKind::OutputLimit);
    let mut run = start(&parse(&document(tasks)), Value::Null, Limits { output_bytes: 100, ..LIMITS });
    assert!(matches!(run.advance(Reply::Start, at(0)), Effect::Completed(_)));
}

#[test]
fn calls_beyond_their_limit_are_not_made() {
    let tasks = "do: [{a: {call: http, with: {method: get, endpoint: 'https://api.example.com/'}, then: a}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, Limits { http_calls: 3, ..LIMITS });
    let mut effect = run.advance(Reply::Start, at(0));
    while let Effect::Http(_) = effect {
        let reply = workflow::HttpReply { status: 200, headers: Vec::new(), body: Vec::new() };
        effect = run.advance(Reply::Http(Ok(reply)), at(0));
    }
    assert!(matches!(effect, Effect::Faulted(fault) if fault.kind == FaultKind::HttpLimit));
    assert_eq!(run.http_calls(), 3);
}

#[test]
fn a_response_beyond_the_memory_limit_ends_the_run() {
    let tasks = "do: [{a: {call: http, with: {method: get, endpoint: 'https://api.example.com/'}}}]";
    let deep = format!("{}1{}", "[".repeat(110), "]".repeat(110));
    for body in [vec![b'x'; 20_000], deep.into_bytes(), format!("[{}1]", "1,".repeat(1_000)).into_bytes()] {
        let mut run = start(&parse(&document(tasks)), Value::Null, Limits { memory_bytes: 10_000, ..LIMITS });
        run.advance(Reply::Start, at(0));
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let effect = run.advance(Reply::Http(Ok(workflow::HttpReply { status: 200, headers, body })), at(0));
        assert!(matches!(effect, Effect::Faulted(fault) if fault.kind == FaultKind::MemoryLimit));
    }
}

#[test]
fn the_wall_time_ends_the_run() {
    let mut run = start(&parse(&document("do: [{a: {wait: PT1H}}]")), Value::Null, LIMITS);
    assert_eq!(run.advance(Reply::Start, at(0)), Effect::Wait { ms: 60_000, step: 1 });
    assert!(matches!(
        run.advance(Reply::Waited, at(60_000)),
        Effect::Faulted(fault) if fault.kind == FaultKind::Timeout
    ));
}

fn ended(tasks: &str, input: Value, limits: Limits) -> (FaultKind, u64) {
    let mut run = start(&parse(&document(tasks)), input, limits);
    match run.advance(Reply::Start, at(0)) {
        Effect::Faulted(fault) => (fault.kind, run.steps()),
        other => panic!("{other:?}\n{tasks}"),
    }
}
