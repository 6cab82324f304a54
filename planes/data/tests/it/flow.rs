//! What runs: local steps, waits, calls, limits, cancellation; and what comes out.

use crate::rig::{LIMITS, START, World, document, host, local, until};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use terms::Digest;
use wire::event::EventKind;
use wire::outcome::{Outcome, Reason, Status};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_runs_to_its_output_and_its_outcome() {
    let world = World::new();
    let plane = world.start().await;
    let plan = world.plan(local());
    let sent = world.send(&plan);
    assert_eq!(plane.take_sent(&sent).await, Ok(false));
    let outcome = plane.outcome(sent.execution_id).await;
    let (kept, output) = plane.journal.ended(sent.execution_id).await.unwrap();
    assert_eq!(output, r#"{"answer":41}"#);
    assert_eq!(kept, outcome);
    let expected = Outcome {
        execution_id: plan.execution_id,
        tenant_id: plan.tenant_id,
        plan_id: plan.plan_id,
        plan_hash: Digest::sha256(&sent.bytes),
        status: Status::Completed,
        reason: Reason::Ok,
        accepted_at: START,
        finished_at: START,
        wall_time_ms: 0,
        steps: 3,
        http_calls: 0,
        resumes: 0,
        output_bytes: 13,
        output_digest: Digest::sha256(br#"{"answer":41}"#),
    };
    assert_eq!(outcome, expected);
    let totals = plane.journal.sample().totals;
    assert_eq!((totals.executions, totals.outcomes, totals.steps, totals.output_bytes), (1, 1, 3, 13));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_holds_nothing_of_what_went_in_or_failed() {
    let world = World::new();
    let plane = world.start().await;
    let raising = document(json!([
        {"fail": {"raise": {"error": {"type": "https://x.example/jane-doe", "status": 500,
            "title": "jane@example.com", "detail": "${ \"card 4111 of \" + (.n | tostring) }"}}}},
    ]));
    let mut plan = world.plan(raising);
    plan.input = serde_json::value::to_raw_value(&json!({"n": "Jane Doe, 1 Main Street"})).unwrap();
    let sent = world.send(&plan);
    plane.take_sent(&sent).await.unwrap();
    let outcome = plane.outcome(sent.execution_id).await;
    assert_eq!((outcome.status, outcome.reason), (Status::Faulted, Reason::Raised));
    let Value::Object(members) = serde_json::to_value(outcome).unwrap() else { panic!("no object") };
    for (name, value) in members {
        let Some(text) = value.as_str() else { continue };
        let is_id = text.len() == 36 || text.len() == 64;
        let is_time = text.parse::<terms::Timestamp>().is_ok();
        let is_code = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(is_id || is_time || is_code, "{name}: {text}");
        assert!(!text.to_lowercase().contains("jane"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_ends_a_run_with_its_own_reason() {
    let mut world = World::new();
    let tasks = json!([{"a": {"set": {"x": 1}}}, {"b": {"set": {"x": 2}}}, {"c": {"set": {"x": "${ [range(5000)] }"}}}]);
    let rows: [(Reason, Tighten); 3] = [
        (Reason::StepLimit, |limits| limits.steps = 2),
        (Reason::MemoryLimit, |limits| limits.memory_bytes = 1_000),
        (Reason::OutputLimit, |limits| limits.output_bytes = 100),
    ];
    for (reason, tighten) in rows {
        // As the plan says, and as the operator does.
        let plane = world.start().await;
        let mut plan = world.plan(document(tasks.clone()));
        tighten(&mut plan.limits);
        let sent = world.send(&plan);
        plane.take_sent(&sent).await.unwrap();
        assert_eq!(plane.outcome(sent.execution_id).await.reason, reason);
        plane.journal.close().await;

        world.policy = LIMITS;
        tighten(&mut world.policy);
        let plane = world.start().await;
        let sent = world.send(&world.plan(document(tasks.clone())));
        plane.take_sent(&sent).await.unwrap();
        assert_eq!(plane.outcome(sent.execution_id).await.reason, reason);
        plane.journal.close().await;
        world.policy = LIMITS;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_beyond_its_wall_time_ends_there() {
    let world = World::new();
    let plane = world.start().await;
    let mut plan = world.plan(document(json!([{"pause": {"wait": {"minutes": 30}}}])));
    plan.limits.wall_time_ms = 10;
    let sent = world.send(&plan);
    plane.take_sent(&sent).await.unwrap();
    world.clock.advance(20);
    let outcome = plane.outcome(sent.execution_id).await;
    assert_eq!((outcome.status, outcome.reason), (Status::Faulted, Reason::WallTimeLimit));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_is_cancelled_also_when_it_has_left_memory() {
    let world = World::new();
    let plane = world.start().await;
    for wait in [json!({"seconds": 30}), json!({"minutes": 30})] {
        let sent = world.send(&world.plan(document(json!([{"pause": {"wait": wait}}]))));
        plane.take_sent(&sent).await.unwrap();
        plane.runtime.cancel(sent.execution_id).await.unwrap();
        let outcome = plane.outcome(sent.execution_id).await;
        assert_eq!((outcome.status, outcome.reason), (Status::Cancelled, Reason::Cancelled));
    }
    assert_eq!(plane.runtime.live(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_private_address_or_an_unlisted_host_is_denied_and_said() {
    let world = World::new();
    let plane = world.start().await;
    for (url, listed, code) in [
        ("https://localhost/secrets", "localhost", "egress.address_denied"),
        ("https://api.example.com/", "other.example.com", "egress.host_denied"),
    ] {
        let mut plan = world.plan(call("get", url));
        plan.egress = vec![host(listed)];
        let sent = world.send(&plan);
        plane.take_sent(&sent).await.unwrap();
        let outcome = plane.outcome(sent.execution_id).await;
        assert_eq!((outcome.status, outcome.reason), (Status::Faulted, Reason::EgressDenied), "{url}");
        assert_eq!(plane.said().await, [(EventKind::EgressDenied, code.to_owned(), 1)], "{url}");
    }
    let totals = plane.journal.sample().totals;
    assert_eq!((totals.http_calls, totals.egress_bytes), (0, 0), "nothing left this host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_compiled_faults_its_execution_alone() {
    let world = World::new();
    let plane = world.start().await;
    let sent = world.send(&world.plan(json!({"no": "workflow"})));
    plane.take_sent(&sent).await.unwrap();
    assert_eq!(plane.outcome(sent.execution_id).await.reason, Reason::Runtime);
    let sent = world.send(&world.plan(local()));
    plane.take_sent(&sent).await.unwrap();
    assert_eq!(plane.outcome(sent.execution_id).await.reason, Reason::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_wait_for_a_control_plane_that_is_down_and_come_back_after_a_restart() {
    let world = World::new();
    let plane = world.start().await;
    let first = world.send(&world.plan(local()));
    plane.take_sent(&first).await.unwrap();
    plane.outcome(first.execution_id).await;
    world.heard.is_down.store(true, Ordering::SeqCst);
    let second = world.send(&world.plan(local()));
    plane.take_sent(&second).await.unwrap();
    until(|| (plane.journal.sample().totals.outcomes == 2).then_some(())).await;
    plane.journal.close().await;

    world.heard.outcomes.lock().unwrap().clear();
    world.heard.is_down.store(false, Ordering::SeqCst);
    let plane = world.start().await;
    plane.outcome(second.execution_id).await;
    let again =
        world.heard.outcomes.lock().unwrap().iter().filter(|o| o.execution_id == first.execution_id).count();
    assert!(again <= 1, "one that was acknowledged is not sent twice on purpose");
}

type Tighten = fn(&mut wire::plan::Limits);

pub(crate) fn call(method: &str, url: &str) -> Value {
    document(json!([{"ask": {"call": "http", "with": {"method": method, "endpoint": url}}}]))
}
