//! What each kind of task does, and how data flows through them.

use crate::world::{LIMITS, at, document, fault_of, output, output_of, parse, start};
use serde_json::{Value, json};
use workflow::{Effect, FaultKind, Reply};

/// What tasks do to an input: name, tasks, input, output.
const DOES: &[(&str, &str, &str, &str)] = &[
    (
        "set replaces the data",
        "do: [{a: {set: {x: '${ .y }', z: [1, '${ .y + 1 }']}}}]",
        r#"{"y": 1}"#,
        r#"{"x": 1, "z": [1, 2]}"#,
    ),
    ("set by one expression", "do: [{a: {set: '${ .y }'}}]", r#"{"y": [1]}"#, "[1]"),
    (
        "data passes from task to task",
        "do: [{a: {set: {n: '${ .n + 1 }'}}}, {b: {set: {n: '${ .n * 10 }'}}}]",
        r#"{"n": 1}"#,
        r#"{"n": 20}"#,
    ),
    (
        "input.from shapes a task's input",
        "do: [{a: {input: {from: .x}, set: {got: '${ . }', same: '${ $input }'}}}]",
        r#"{"x": 5}"#,
        r#"{"got": 5, "same": 5}"#,
    ),
    ("output.as shapes a task's output", "do: [{a: {set: {x: 1, y: 2}, output: {as: .x}}}]", "null", "1"),
    (
        "output.as may be a map",
        "do: [{a: {set: {x: 1}, output: {as: {only: '${ .x }', was: '${ $input }'}}}}]",
        "7",
        r#"{"only": 1, "was": 7}"#,
    ),
    (
        "export.as changes the context alone",
        "do: [{a: {set: {x: 1}, export: {as: '{k: .x}'}}}, {b: {set: {c: '${ $context.k }', d: '${ . }'}}}]",
        "null",
        r#"{"c": 1, "d": {"x": 1}}"#,
    ),
    (
        "export sees the shaped output",
        "do: [{a: {set: {x: 1}, output: {as: .x}, export: {as: '{o: $output, d: .}'}}}, {b: {set: '${ $context }'}}]",
        "null",
        r#"{"o": 1, "d": 1}"#,
    ),
    (
        "the workflow's input.from and output.as",
        "input: {from: .in}\noutput: {as: '{out: ., was: $input}'}\ndo: [{a: {set: '${ . + 1 }'}}]",
        r#"{"in": 1}"#,
        r#"{"out": 2, "was": 1}"#,
    ),
    (
        "if skips and passes the data on",
        "do: [{a: {if: .go, set: {x: 1}, export: {as: .}, then: end}}, {b: {set: {ctx: '${ $context }', d: '${ . }'}}}]",
        r#"{"go": false}"#,
        r#"{"ctx": null, "d": {"go": false}}"#,
    ),
    ("if may be wrapped", "do: [{a: {if: '${ .go }', set: {x: 1}}}]", r#"{"go": true}"#, r#"{"x": 1}"#),
    (
        "do runs a list",
        "do: [{a: {do: [{b: {set: {n: 1}}}, {c: {set: {n: '${ .n + 1 }'}}}]}}]",
        "null",
        r#"{"n": 2}"#,
    ),
    (
        "then jumps ahead",
        "do: [{a: {set: {n: 1}, then: c}}, {b: {set: {n: 9}}}, {c: {set: {n: '${ .n + 1 }'}}}]",
        "null",
        r#"{"n": 2}"#,
    ),
    (
        "then jumps back",
        "do: [{a: {set: {n: '${ .n + 1 }'}}}, {b: {switch: [{again: {when: .n < 3, then: a}}]}}]",
        r#"{"n": 0}"#,
        r#"{"n": 3}"#,
    ),
    (
        "end ends the workflow from within",
        "do: [{a: {do: [{b: {set: {x: 1}, then: end}}]}}, {c: {set: {x: 2}}}]",
        "null",
        r#"{"x": 1}"#,
    ),
    ("end still shapes the output", "output: {as: .x}\ndo: [{a: {set: {x: 1}, then: end}}]", "null", "1"),
    (
        "exit leaves the block",
        "do: [{a: {do: [{b: {set: {x: 1}, then: exit}}, {c: {set: {x: 2}}}]}}, {d: {set: {x: '${ .x + 10 }'}}}]",
        "null",
        r#"{"x": 11}"#,
    ),
    (
        "exit at the top ends the workflow",
        "do: [{a: {set: {x: 1}, then: exit}}, {b: {set: {x: 2}}}]",
        "null",
        r#"{"x": 1}"#,
    ),
    (
        "exit in a loop ends the iteration",
        "do: [{a: {for: {in: .l}, do: [{b: {switch: [{odd: {when: $item % 2 == 1, then: exit}}]}}, {c: {set: '${ . + {sum: ((.sum // 0) + $item)} }'}}]}}]",
        r#"{"l": [1, 2, 3, 4]}"#,
        r#"{"l": [1, 2, 3, 4], "sum": 6}"#,
    ),
    (
        "switch takes the first case that holds",
        "do: [{a: {switch: [{x: {when: .n > 5, then: big}}, {y: {when: .n > 1, then: mid}}, {z: {then: end}}]}}, {big: {set: {big: 1}}}, {mid: {set: {mid: 1}, then: end}}]",
        r#"{"n": 3}"#,
        r#"{"mid": 1}"#,
    ),
    (
        "switch without a case that holds goes on",
        "do: [{a: {switch: [{x: {when: .n > 5, then: end}}]}}, {b: {set: {went: '${ .n }'}}}]",
        r#"{"n": 3}"#,
        r#"{"went": 3}"#,
    ),
    (
        "for binds item and index, and passes data on",
        "do: [{a: {for: {in: .l}, do: [{b: {set: {l: '${ .l }', got: '${ (.got // []) + [[$index, $item]] }'}}}]}}]",
        r#"{"l": ["x", "y"]}"#,
        r#"{"l": ["x", "y"], "got": [[0, "x"], [1, "y"]]}"#,
    ),
    (
        "for over nothing passes its input on",
        "do: [{a: {for: {in: .l}, do: [{b: {set: {never: 1}}}]}}]",
        r#"{"l": []}"#,
        r#"{"l": []}"#,
    ),
    (
        "while ends a loop",
        "do: [{a: {for: {each: x, at: i, in: .l}, while: $i < 2, do: [{b: {set: {l: '${ .l }', n: '${ $x }'}}}]}}]",
        r#"{"l": [7, 8, 9]}"#,
        r#"{"l": [7, 8, 9], "n": 8}"#,
    ),
    (
        "loops nest, and inner names don't leak",
        "do: [{a: {for: {each: x, in: .l}, do: [{b: {for: {each: x, in: $x}, do: [{c: {set: '${ . + {s: ((.s // 0) + $x)} }'}}]}}, {d: {set: '${ . + {last: $x} }'}}]}}]",
        r#"{"l": [[1, 2], [3]]}"#,
        r#"{"l": [[1, 2], [3]], "s": 6, "last": [3]}"#,
    ),
    (
        "a for's output.as applies at its end",
        "do: [{a: {for: {in: .l}, do: [{b: {set: '${ . + {n: $item} }'}}], output: {as: .n}}}]",
        r#"{"l": [1, 2]}"#,
        "2",
    ),
    (
        "try passes what succeeds",
        "do: [{a: {try: [{b: {set: {x: 1}}}], catch: {do: [{c: {set: {x: 2}}}]}}}]",
        "null",
        r#"{"x": 1}"#,
    ),
    (
        "catch handles, with the error in a variable",
        "do: [{a: {try: [{b: {raise: {error: {type: t, status: 404, title: T}}}}], catch: {as: e, do: [{c: {set: {e: '${ $e }', d: '${ . }'}}}]}}}]",
        "5",
        r#"{"e": {"type": "t", "status": 404, "title": "T", "instance": "/do/0/a/try/0/b"}, "d": 5}"#,
    ),
    (
        "catch without do ignores the error",
        "do: [{a: {try: [{b: {raise: {error: {type: t, status: 404}}}}], catch: {}}}, {c: {set: {went: '${ . }'}}}]",
        "5",
        r#"{"went": 5}"#,
    ),
    (
        "catch filters by type and status",
        "do: [{o: {try: [{a: {try: [{b: {raise: {error: {type: t, status: 404}}}}], catch: {errors: {with: {type: t, status: 500}}}}}], catch: {errors: {with: {type: t, status: 404}}, do: [{c: {set: {outer: 1}}}]}}}]",
        "null",
        r#"{"outer": 1}"#,
    ),
    (
        "catch when and exceptWhen",
        "do: [{o: {try: [{a: {try: [{b: {raise: {error: {type: t, status: 404}}}}], catch: {when: $error.status == 404, exceptWhen: '$error.type == \"t\"'}}}], catch: {do: [{c: {set: {outer: 1}}}]}}}]",
        "null",
        r#"{"outer": 1}"#,
    ),
    (
        "an expression's error is caught",
        "do: [{a: {try: [{b: {set: '${ error(\"no\") }'}}], catch: {errors: {with: {type: 'https://serverlessworkflow.io/spec/1.0.0/errors/expression'}}, do: [{c: {set: '${ $error.detail }'}}]}}}]",
        "null",
        r#""no""#,
    ),
    (
        "an error can be raised again",
        "do: [{o: {try: [{a: {try: [{b: {raise: {error: {type: t, status: 404, detail: d}}}}], catch: {do: [{c: {raise: {error: '${ $error + {status: 410} }'}}}]}}}], catch: {do: [{c: {set: '${ $error | {status, detail} }'}}]}}}]",
        "null",
        r#"{"status": 410, "detail": "d"}"#,
    ),
    (
        "an error in a handler passes outwards",
        "do: [{o: {try: [{a: {try: [{b: {raise: {error: {type: t, status: 404}}}}], catch: {do: [{c: {raise: {error: {type: u, status: 500}}}}]}}}], catch: {do: [{c: {set: '${ $error.type }'}}]}}}]",
        "null",
        r#""u""#,
    ),
    (
        "a caught error leaves loops",
        "do: [{a: {try: [{b: {for: {in: .l}, do: [{c: {set: '${ if $item == 2 then error(\"two\") else . end }'}}]}}], catch: {do: [{d: {set: '${ $error.detail }'}}]}}}]",
        r#"{"l": [1, 2, 3]}"#,
        r#""two""#,
    ),
    (
        "a named error, with expressions read where it is raised",
        "use: {errors: {e: {type: t, status: 422, detail: '${ \"bad \\(.x)\" }'}}}\ndo: [{a: {try: [{b: {raise: {error: e}}}], catch: {do: [{c: {set: '${ $error.detail }'}}]}}}]",
        r#"{"x": 3}"#,
        r#""bad 3""#,
    ),
    ("wait passes its input on", "do: [{a: {wait: PT1S}}, {b: {set: {x: '${ . }'}}}]", "4", r#"{"x": 4}"#),
    (
        "$task describes the task",
        "do: [{a: {set: {n: '${ $task.name }', r: '${ $task.reference }', i: '${ $task.input }', d: '${ $task.definition | keys }'}}}]",
        "1",
        r#"{"n": "a", "r": "/do/0/a", "i": 1, "d": ["set"]}"#,
    ),
    (
        "$workflow and $runtime describe the run",
        "do: [{a: {set: {id: '${ $workflow.id }', n: '${ $workflow.definition.document.name }', i: '${ $workflow.input }', r: '${ $runtime.name }', t: '${ $workflow.startedAt.epoch.milliseconds }'}}}]",
        "1",
        r#"{"id": "run-1", "n": "test", "i": 1, "r": "palisade", "t": 1795507200000}"#,
    ),
    ("context starts as null", "do: [{a: {set: '${ [$context] }'}}]", "1", "[null]"),
    (
        "big integers and order of keys survive",
        "do: [{a: {set: '${ . + {z: 1} }'}}]",
        r#"{"b": 9007199254740993, "a": 1.5}"#,
        r#"{"b": 9007199254740993, "a": 1.5, "z": 1}"#,
    ),
];

#[test]
fn tasks_do_what_the_language_says() {
    let mut wrong = Vec::new();
    for (name, tasks, input, expected) in DOES {
        let got = output_of(tasks, serde_json::from_str(input).unwrap());
        let expected: Value = serde_json::from_str(expected).unwrap();
        // As text, so that the order of keys counts too.
        let (got, expected) = (got.to_string(), expected.to_string());
        if got != expected {
            wrong.push(format!("{name}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_uncaught_error_fails_the_run_with_a_kind_of_a_closed_list() {
    let raised = fault_of("do: [{a: {raise: {error: {type: t, status: 404, detail: d}}}}]", Value::Null);
    assert_eq!(raised.kind, FaultKind::Raised);
    assert_eq!(
        raised.problem.to_json(),
        json!({"type": "t", "status": 404, "detail": "d", "instance": "/do/0/a"})
    );
    for (tasks, kind) in [
        ("do: [{a: {set: '${ .x.y }'}}]", FaultKind::Expression),
        ("do: [{a: {set: '${ 1, 2 }'}}]", FaultKind::Expression),
        ("do: [{a: {for: {in: .}, do: [{b: {wait: PT1S}}]}}]", FaultKind::Expression),
        ("do: [{a: {if: '.x.y', wait: PT1S}}]", FaultKind::Expression),
        ("input: {from: .x}\ndo: [{a: {wait: PT1S}}]", FaultKind::Expression),
        ("output: {as: .x}\ndo: [{a: {set: '${ 1 }'}}]", FaultKind::Expression),
        ("do: [{a: {raise: {error: '${ 1 }'}}}]", FaultKind::Validation),
        ("do: [{a: {raise: {error: {type: t, status: '${ 99 }'}}}}]", FaultKind::Validation),
        ("do: [{a: {raise: {error: {type: '${ null }', status: 400}}}}]", FaultKind::Validation),
    ] {
        assert_eq!(fault_of(tasks, json!("text")).kind, kind, "{tasks}");
    }
}

#[test]
fn every_kind_of_fault_has_its_own_code() {
    let codes: std::collections::BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(codes.len(), FaultKind::ALL.len());
}

#[test]
fn a_task_that_waits_waits_again_when_woken_early() {
    let workflow = parse(&document("do: [{a: {wait: PT10S}}]"));
    let mut run = start(&workflow, Value::Null, LIMITS);
    assert_eq!(run.advance(Reply::Start, at(0)), Effect::Wait { ms: 10_000, step: 1 });
    assert_eq!(run.advance(Reply::Waited, at(4_000)), Effect::Wait { ms: 6_000, step: 1 });
    assert_eq!(run.advance(Reply::Waited, at(-1_000)), Effect::Wait { ms: 11_000, step: 1 });
    assert_eq!(run.advance(Reply::Waited, at(10_000)), Effect::Completed(Value::Null));
}

#[test]
fn a_task_is_tried_again_after_growing_delays_and_then_handled() {
    let tasks = "do: [{a: {try: [{b: {raise: {error: {type: t, status: 503}}}}], catch: {retry: {delay: PT1S, \
                 backoff: {exponential: {}}, limit: {attempt: {count: 3}}}, do: [{c: {set: {gave: up}}}]}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    let mut now = 0;
    let mut waits = Vec::new();
    let mut effect = run.advance(Reply::Start, at(now));
    while let Effect::Wait { ms, .. } = effect {
        waits.push(ms);
        now += i64::try_from(ms).unwrap();
        effect = run.advance(Reply::Waited, at(now));
    }
    assert_eq!(waits, [1_000, 2_000, 4_000]);
    assert_eq!(effect, Effect::Completed(json!({"gave": "up"})));
    assert_eq!(run.steps(), 1 + 4 + 1);
}

#[test]
fn retries_follow_their_policy() {
    let waits = |policy: &str| {
        let tasks = format!(
            "do: [{{a: {{try: [{{b: {{raise: {{error: {{type: t, status: 503}}}}}}}}], catch: {{retry: {policy}}}}}}}]"
        );
        let mut run = start(&parse(&document(&tasks)), Value::Null, LIMITS);
        let (mut now, mut waits) = (0, Vec::new());
        let mut effect = run.advance(Reply::Start, at(now));
        while let Effect::Wait { ms, .. } = effect {
            waits.push(ms);
            now += i64::try_from(ms).unwrap();
            effect = run.advance(Reply::Waited, at(now));
        }
        // A policy that is exhausted has not handled the error.
        assert!(matches!(effect, Effect::Faulted(fault) if fault.kind == FaultKind::Raised));
        waits
    };
    assert_eq!(waits("{limit: {attempt: {count: 2}}}"), [0_u64; 0]);
    assert_eq!(waits("{delay: PT1S, limit: {attempt: {count: 2}}}"), [1_000, 1_000]);
    assert_eq!(
        waits("{delay: PT1S, backoff: {linear: {}}, limit: {attempt: {count: 3}}}"),
        [1_000, 2_000, 3_000]
    );
    assert_eq!(waits("{delay: PT1S, limit: {duration: PT2.5S}}"), [1_000, 1_000]);
    assert_eq!(waits("{delay: PT1S, when: $error.status == 500}"), [0_u64; 0]);
    assert_eq!(waits("{delay: PT1S, exceptWhen: $error.status == 503}"), [0_u64; 0]);
    let jittered = waits("{delay: PT1S, jitter: {from: PT0.1S, to: PT0.9S}, limit: {attempt: {count: 8}}}");
    assert!(jittered.iter().all(|ms| (1_100..=1_900).contains(ms)), "{jittered:?}");
    assert!(jittered.iter().any(|ms| *ms != jittered[0]));
}

#[test]
fn a_timeout_fails_its_task_and_can_be_caught() {
    let tasks = "use: {timeouts: {short: {after: PT5S}}}\n\
                 do: [{a: {try: [{b: {do: [{c: {wait: PT1M}}], timeout: short}}], catch: {errors: {with: {status: 408}}, \
                 do: [{d: {set: '${ $error.instance }'}}]}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    assert_eq!(run.advance(Reply::Start, at(0)), Effect::Wait { ms: 5_000, step: 3 });
    assert_eq!(run.advance(Reply::Waited, at(5_000)), Effect::Completed(json!("/do/0/a/try/0/b")));
}

#[test]
fn a_timeout_of_a_try_is_outside_of_its_own_catch() {
    let tasks =
        "do: [{a: {try: [{b: {wait: PT1M}}], catch: {do: [{c: {set: {x: 1}}}]}, timeout: {after: PT5S}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    run.advance(Reply::Start, at(0));
    let Effect::Faulted(fault) = run.advance(Reply::Waited, at(5_000)) else { panic!() };
    assert_eq!(fault.kind, FaultKind::Timeout);
}

#[test]
fn an_attempt_has_its_own_timeout_and_is_tried_again() {
    let tasks = "do: [{a: {try: [{b: {wait: PT1M}}], catch: {retry: {limit: {attempt: {count: 1, duration: PT2S}}}, \
                 do: [{c: {set: '${ $error.status }'}}]}}}]";
    let mut run = start(&parse(&document(tasks)), Value::Null, LIMITS);
    assert_eq!(run.advance(Reply::Start, at(0)), Effect::Wait { ms: 2_000, step: 2 });
    assert_eq!(run.advance(Reply::Waited, at(2_000)), Effect::Wait { ms: 2_000, step: 3 });
    assert_eq!(run.advance(Reply::Waited, at(4_000)), Effect::Completed(json!(408)));
}

#[test]
fn the_time_of_the_workflow_cannot_be_caught() {
    let text = "timeout: {after: PT5S}\ndo: [{a: {try: [{b: {wait: PT1M}}], catch: {}}}]";
    let mut run = start(&parse(&document(text)), Value::Null, LIMITS);
    assert_eq!(run.advance(Reply::Start, at(0)), Effect::Wait { ms: 5_000, step: 2 });
    let Effect::Faulted(fault) = run.advance(Reply::Waited, at(5_000)) else { panic!() };
    assert_eq!(fault.kind, FaultKind::Timeout);
}

#[test]
fn a_reply_that_nobody_awaits_changes_nothing() {
    let mut run = start(&parse(&document("do: [{a: {wait: PT1S}}]")), Value::Null, LIMITS);
    assert!(
        matches!(run.advance(Reply::Waited, at(0)), Effect::Faulted(fault) if fault.kind == FaultKind::Runtime)
    );
    let wait = run.advance(Reply::Start, at(0));
    assert_eq!(run.advance(Reply::Start, at(500)), wait);
    assert_eq!(run.advance(Reply::Http(Err(workflow::HttpFailure { code: "x" })), at(500)), wait);
    let done = run.advance(Reply::Waited, at(1_000));
    assert_eq!(done, Effect::Completed(Value::Null));
    assert_eq!(run.advance(Reply::Waited, at(9_000_000)), done);
    assert_eq!(run.steps(), 1);
}

#[test]
fn a_workflow_of_every_task_runs() {
    let text = include_str!("../vectors/accepted-block-scalars.yaml");
    assert_eq!(output(text, json!({"a": 1, "b": 2})), json!({"text": "two\nlines\n", "code": 3}));
}
