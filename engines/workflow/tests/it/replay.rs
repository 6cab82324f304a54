//! A model of crash and recovery: the replies of a random run, fed again, bring the same run back.

use crate::world::{LIMITS, at, document, parse, start};
use proptest::prelude::*;
use serde_json::{Value, json};
use terms::Timestamp;
use workflow::{Effect, FaultKind, HttpFailure, HttpReply, Limits, Reply, Run, Workflow};

/// A task of a random workflow; names are given by place.
#[derive(Debug, Clone)]
enum Task {
    Set(i8),
    Wait(u16),
    Call,
    Raise(u16),
    Switch(u8, u8),
    Costly,
    Do(Vec<Task>),
    For(u8, Vec<Task>),
    Try { body: Vec<Task>, handler: Option<Vec<Task>>, retries: u8, delay: u16, attempt: Option<u16> },
    Timed(u16, Vec<Task>),
}

/// What the world does when it is asked.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    fails: bool,
    late_ms: u16,
    early: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn replayed_replies_bring_a_run_back(
        tasks in block(3),
        answers in proptest::collection::vec(answer(), 1..12),
        steps in 1..80_u64,
        http_calls in 0..6_u64,
    ) {
        let workflow = parse(&document(&written(&tasks, 0)));
        let limits = Limits { steps, http_calls, ..LIMITS };
        let mut run = start(&workflow, json!({"n": 0, "l": [1, 2, 3]}), limits);
        let mut journal: Vec<(Reply, Timestamp)> = vec![(Reply::Start, at(0))];
        let mut now = at(0);
        let mut effect = run.advance(Reply::Start, now);
        for turn in 0..40 {
            prop_assert!(run.steps() <= steps && run.http_calls() <= http_calls);
            check_effect(&effect, &run)?;
            let answer = &answers[turn % answers.len()];
            let Some(reply) = answered(&effect, answer, &mut now) else { break };
            // A crash here loses the run; only the journal is left.
            let (mut again, last) = replayed(&workflow, limits, &journal);
            prop_assert_eq!(&last, &effect);
            prop_assert_eq!(format!("{run:?}"), format!("{again:?}"));
            journal.push((reply.clone(), now));
            effect = run.advance(reply.clone(), now);
            prop_assert_eq!(&again.advance(reply, now), &effect);
        }
        let (again, last) = replayed(&workflow, limits, &journal);
        prop_assert_eq!(last, effect);
        prop_assert_eq!(
            (again.steps(), again.http_calls(), again.expression_ticks()),
            (run.steps(), run.http_calls(), run.expression_ticks())
        );
    }
}

fn check_effect(effect: &Effect, run: &Run) -> Result<(), TestCaseError> {
    match effect {
        Effect::Http(call) => {
            prop_assert!(call.url.starts_with("https://api.example.com/"));
            prop_assert_eq!(call.step, run.steps());
            prop_assert!(call.timeout_ms <= LIMITS.wall_time_ms);
        }
        Effect::Wait { ms, step } => {
            prop_assert!(*ms <= LIMITS.wall_time_ms);
            prop_assert!(*step <= run.steps());
        }
        Effect::Completed(_) => {}
        Effect::Faulted(fault) => prop_assert!(fault.kind != FaultKind::Runtime, "{fault:?}"),
    }
    Ok(())
}

/// The world's reply, after its time; none if nothing is awaited.
fn answered(effect: &Effect, answer: &Answer, now: &mut Timestamp) -> Option<Reply> {
    match effect {
        Effect::Wait { ms, .. } => {
            let ms = i64::try_from(*ms).unwrap();
            *now = now.plus_ms(if answer.early { ms / 2 } else { ms + i64::from(answer.late_ms) });
            Some(Reply::Waited)
        }
        Effect::Http(_) => {
            *now = now.plus_ms(i64::from(answer.late_ms));
            if answer.fails {
                return Some(Reply::Http(Err(HttpFailure { code: "connect" })));
            }
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let body = b"{\"n\": 5, \"l\": [1]}".to_vec();
            Some(Reply::Http(Ok(HttpReply { status: answer.status, headers, body })))
        }
        Effect::Completed(_) | Effect::Faulted(_) => None,
    }
}

fn replayed(workflow: &Workflow, limits: Limits, journal: &[(Reply, Timestamp)]) -> (Run, Effect) {
    let mut run = start(workflow, json!({"n": 0, "l": [1, 2, 3]}), limits);
    let mut effect = Effect::Completed(Value::Null);
    for (reply, now) in journal {
        effect = run.advance(reply.clone(), *now);
    }
    (run, effect)
}

fn answer() -> impl Strategy<Value = Answer> {
    (proptest::sample::select(vec![200, 201, 404, 503]), any::<bool>(), 0..3_000_u16, any::<bool>())
        .prop_map(|(status, fails, late_ms, early)| Answer { status, fails, late_ms, early })
}

fn block(depth: u32) -> BoxedStrategy<Vec<Task>> {
    proptest::collection::vec(task(depth), 1..4).boxed()
}

fn task(depth: u32) -> BoxedStrategy<Task> {
    let leaf = prop_oneof![
        any::<i8>().prop_map(Task::Set),
        (0..5_000_u16).prop_map(Task::Wait),
        Just(Task::Call),
        (400..420_u16).prop_map(Task::Raise),
        (any::<u8>(), any::<u8>()).prop_map(|(when, then)| Task::Switch(when, then)),
        Just(Task::Costly),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || block(depth - 1);
    prop_oneof![
        4 => leaf,
        1 => inner().prop_map(Task::Do),
        1 => (0..4_u8, inner()).prop_map(|(items, body)| Task::For(items, body)),
        2 => (inner(), proptest::option::of(inner()), 0..3_u8, 0..2_000_u16, proptest::option::of(1..3_000_u16))
            .prop_map(|(body, handler, retries, delay, attempt)| Task::Try { body, handler, retries, delay, attempt }),
        1 => (1..6_000_u16, inner()).prop_map(|(ms, body)| Task::Timed(ms, body)),
    ]
    .boxed()
}

/// The tasks as a document's `do`, in JSON, which YAML reads too.
fn written(tasks: &[Task], depth: usize) -> String {
    let items: Vec<Value> = block_json(tasks, depth);
    format!("do: {}", Value::Array(items))
}

fn block_json(tasks: &[Task], depth: usize) -> Vec<Value> {
    let last = tasks.len() - 1;
    tasks.iter().enumerate().map(|(i, task)| json!({format!("t{i}"): task_json(task, depth, last)})).collect()
}

fn task_json(task: &Task, depth: usize, last: usize) -> Value {
    let inner = |tasks: &[Task]| block_json(tasks, depth + 1);
    match task {
        Task::Set(n) => json!({"set": {"n": format!("${{ (.n // 0) + {n} }}"), "l": "${ .l }"},
            "export": {"as": "{sum: (($context.sum // 0) + .n)}"}}),
        Task::Wait(ms) => json!({"wait": {"milliseconds": ms}}),
        Task::Call => {
            json!({"call": "http", "with": {"method": "get", "endpoint": "https://api.example.com/{n}"}})
        }
        Task::Raise(status) => json!({"if": "(.n // 0) % 2 == 0",
            "raise": {"error": {"type": "t", "status": status, "detail": "${ \"n is \\(.n)\" }"}}}),
        Task::Switch(when, then) => json!({"switch": [
            {"a": {"when": format!("(.n // 0) % 7 == {}", when % 7), "then": then_json(*then, last)}},
            {"b": {"then": "continue"}}]}),
        Task::Costly => json!({"set": {"n": "${ [range(300)] | add }", "l": "${ .l }"}}),
        Task::Do(body) => json!({"do": inner(body), "output": {"as": ". + {at: $task.name}"}}),
        Task::For(items, body) => {
            json!({"for": {"each": format!("x{depth}"), "in": format!("[range({items})]")},
            "while": format!("$x{depth} < 3"), "do": inner(body)})
        }
        Task::Try { body, handler, retries, delay, attempt } => {
            let attempt_limit = match attempt {
                Some(ms) => json!({"count": retries, "duration": {"milliseconds": ms}}),
                None => json!({"count": retries}),
            };
            let mut catch = json!({"as": format!("e{depth}"), "when": format!("$e{depth}.status != 419"), "retry": {
                "delay": {"milliseconds": delay},
                "backoff": {"linear": {}},
                "jitter": {"from": {"milliseconds": 0}, "to": {"milliseconds": 50}},
                "limit": {"attempt": attempt_limit}}});
            if let Some(handler) = handler {
                catch["do"] = inner(handler).into();
            }
            json!({"try": inner(body), "catch": catch})
        }
        Task::Timed(ms, body) => json!({"do": inner(body), "timeout": {"after": {"milliseconds": ms}}}),
    }
}

fn then_json(then: u8, last: usize) -> String {
    match then % 8 {
        0 => "end".to_owned(),
        1 => "exit".to_owned(),
        2..=4 => format!("t{}", usize::from(then) % (last + 1)),
        _ => "continue".to_owned(),
    }
}
