//! The gate: the attack table, replays, conflicts, keys, and bounds.

use crate::rig::{START, World, local};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data::gate::{Gate, GateRefusal};
use data::journal::{Fate, Journal};
use data::keys::{KeyRefusal, PlanKeys};
use notary::Expected;
use plan::SKEW_MS;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use terms::PlanId;
use wire::event::EventKind;

const CASES: &str = include_str!("../../../../ground/wire/vectors/plan-token/cases.json");
const CONTEXT: &str = include_str!("../../../../ground/wire/vectors/plan-token/context.json");

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_attack_table_is_refused_with_its_code_and_changes_nothing() {
    let context: Value = serde_json::from_str(CONTEXT).unwrap();
    let mut world = World::new();
    *world.heard.jwks.lock().unwrap() = Some(serde_json::from_value(context["jwks"].clone()).unwrap());
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    let text = |case: &Value, member: &str| case[member].as_str().unwrap().to_owned();
    world.expected = Expected {
        issuer: text(&context, "issuer"),
        audience: text(&context, "audience"),
        tenant: text(&context, "tenant").parse().unwrap(),
    };
    let plane = world.start().await;

    for case in cases.iter().filter(|case| case["expect"] != "ok") {
        let plan = STANDARD.decode(text(case, "plan_base64")).unwrap();
        let refusal = plane.take(&text(case, "token"), &plan).await.unwrap_err();
        assert_eq!(refusal.code(), text(case, "expect"), "{}", text(case, "name"));
        let said = plane.said().await;
        assert_eq!(said, [(EventKind::PlanRefused, text(case, "expect"), 1)], "{}", text(case, "name"));
        assert_eq!((plane.journal.len(), plane.runtime.live()), (0, 0), "{}", text(case, "name"));
    }
    let refused: u64 = plane.gate.refused().values().sum();
    assert_eq!(refused, cases.iter().filter(|case| case["expect"] != "ok").count() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_an_oversized_one_and_an_oversized_plan_have_codes_of_their_own() {
    let world = World::new();
    let plane = world.start().await;
    assert_eq!(Gate::split(None).unwrap_err().code(), "plan.token_missing");
    assert_eq!(Gate::split(Some(&[b'a'; 1 << 20])).unwrap_err().code(), "plan.token_too_large");
    assert_eq!(Gate::split(Some(b"\xff.\xff.\xff")).unwrap_err().code(), "plan.token_encoding");
    let sent = world.send(&world.plan(local()));
    let huge = vec![b' '; wire::plan::BYTES_MAX + 1];
    assert_eq!(plane.take(&sent.token, &huge).await.unwrap_err(), GateRefusal::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_plan_again_is_the_same_execution_also_after_it_expired() {
    let world = World::new();
    let plane = world.start().await;
    let sent = world.send(&world.plan(local()));
    assert_eq!(plane.take_sent(&sent).await, Ok(false));
    plane.outcome(sent.execution_id).await;
    world.clock.advance(3_600_000);
    assert_eq!(plane.take_sent(&sent).await, Ok(true));
    assert_eq!(plane.said().await, [(EventKind::PlanReplayed, "plan.replayed".to_owned(), 1)]);
    assert_eq!(plane.journal.sample().totals.executions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deliveries_of_one_plan_at_once_start_one_execution() {
    let world = World::new();
    let plane = Arc::new(world.start().await);
    let sent = world.send(&world.plan(local()));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (plane, sent) = (plane.clone(), sent.clone());
            tokio::spawn(async move { plane.take_sent(&sent).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for task in tasks {
        first += usize::from(!task.await.unwrap());
    }
    assert_eq!(first, 1);
    assert_eq!(plane.journal.sample().totals.executions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ids_with_other_bytes_are_a_conflict() {
    let world = World::new();
    let plane = world.start().await;
    let plan = world.plan(local());
    plane.take_sent(&world.send(&plan)).await.unwrap();
    let mut other_bytes = plan.clone();
    other_bytes.limits.steps -= 1;
    let refusal = plane.take_sent(&world.send(&other_bytes)).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), ("plan.conflict", 409));
    let mut other_plan = plan.clone();
    other_plan.plan_id = PlanId::from_bytes([9; 16]);
    let refusal = plane.take_sent(&world.send(&other_plan)).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), ("plan.execution_conflict", 409));
    let kinds: Vec<_> = plane.said().await.into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [EventKind::PlanConflict, EventKind::PlanConflict]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_ran_does_not_run_again_after_a_restart() {
    let world = World::new();
    let plan = world.plan(local());
    let sent = world.send(&plan);
    let plane = world.start().await;
    plane.take_sent(&sent).await.unwrap();
    plane.outcome(sent.execution_id).await;
    plane.journal.close().await;

    let plane = world.start().await;
    assert_eq!(plane.fate, Fate::Whole);
    assert_eq!(plane.take_sent(&sent).await, Ok(true));
    let mut other = plan.clone();
    other.limits.steps -= 1;
    assert_eq!(plane.take_sent(&world.send(&other)).await.unwrap_err().code(), "plan.conflict");
    assert_eq!(plane.journal.sample().totals.executions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_may_have_run_does_not_run_after_its_journal_was_lost() {
    let world = World::new();
    let sent = world.send(&world.plan(local()));
    let plane = world.start().await;
    plane.take_sent(&sent).await.unwrap();
    plane.journal.close().await;
    std::fs::remove_dir_all(world.dir.path().join("journal")).unwrap();

    world.clock.advance(1_000);
    let plane = world.start_in(world.dir.path(), true).await;
    assert_eq!(plane.fate, Fate::Lost);
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.issued_before_recovery");
    // Also one that was issued just after, by a clock that is behind.
    world.clock.advance(SKEW_MS - 1_000);
    let behind = world.send(&world.plan(local()));
    assert_eq!(plane.take_sent(&behind).await.unwrap_err().code(), "plan.issued_before_recovery");
    world.clock.advance(2_000);
    let later = world.send(&world.plan(local()));
    assert_eq!(plane.take_sent(&later).await, Ok(false));
    plane.journal.close().await;

    // The memory of the loss outlives a restart.
    let plane = world.start_in(world.dir.path(), true).await;
    assert_eq!(plane.fate, Fate::Whole);
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.issued_before_recovery");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_from_before_a_data_plane_began_is_refused_even_if_nothing_is_known_to_be_lost() {
    let world = World::new();
    let sent = world.send(&world.plan(local()));
    world.clock.advance(2_000);
    let plane = world.start().await;
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.issued_before_recovery");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_refused_before_and_after_their_time() {
    let world = World::new();
    let plane = world.start().await;
    let mut early = world.plan(local());
    early.issued_at = START.plus_ms(SKEW_MS + 1_000);
    let sent = world.send(&early);
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.not_yet_valid");
    let late = world.send(&world.plan(local()));
    world.clock.advance(300_000);
    assert_eq!(plane.take_sent(&late).await.unwrap_err().code(), "plan.expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_data_plane_refuses_for_now_and_admits_nothing() {
    let world = World::new();
    let plane = world.start().await;
    let held: Vec<_> = std::iter::from_fn(|| plane.runtime.reserve(1 << 21)).collect();
    let rest: Vec<_> = std::iter::from_fn(|| plane.runtime.reserve(1)).collect();
    let sent = world.send(&world.plan(local()));
    let refusal = plane.take_sent(&sent).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.status()), ("plan.overloaded", 503));
    assert!(plane.said().await.is_empty(), "being busy is no security event");
    drop((held, rest));
    assert_eq!(plane.take_sent(&sent).await, Ok(false), "the refusal admitted nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_serves_all_that_wait_and_unknown_keys_cause_no_storm() {
    let world = World::new();
    let keys = PlanKeys::new(world.heard.clone(), world.clock.clone());
    let known = world.signer.kid().clone();
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let (keys, known) = (keys.clone(), known.clone());
            tokio::spawn(async move { keys.find(&known).await.is_ok() })
        })
        .collect();
    for task in waiting {
        assert!(task.await.unwrap());
    }
    assert_eq!(world.heard.fetches.load(Ordering::SeqCst), 1);
    for at in 0..100 {
        let foreign = format!("{at:043}").parse().unwrap();
        assert!(matches!(keys.find(&foreign).await, Err(KeyRefusal::Unknown(_))));
    }
    assert_eq!(world.heard.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_an_outage_for_an_hour_and_then_nothing_is_verified() {
    let world = World::new();
    let keys = PlanKeys::new(world.heard.clone(), world.clock.clone());
    let known = world.signer.kid().clone();
    assert!(keys.find(&known).await.is_ok());
    world.heard.is_down.store(true, Ordering::SeqCst);
    world.clock.advance(300_000 + 3_500_000);
    assert!(keys.find(&known).await.is_ok(), "stale, but the control plane is down");
    world.clock.advance(200_000);
    assert!(matches!(keys.find(&known).await, Err(KeyRefusal::Unavailable { .. })));
    world.heard.is_down.store(false, Ordering::SeqCst);
    world.clock.advance(10_000);
    assert!(keys.find(&known).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forgotten_runs_again() {
    let world = World::new();
    let plane = world.start().await;
    let sent = world.send(&world.plan(local()));
    plane.take_sent(&sent).await.unwrap();
    plane.outcome(sent.execution_id).await;
    world.clock.advance(26 * 3_600_000);
    let forgotten =
        crate::rig::until_async(async || plane.journal.sweep(world.clock.now()).await.unwrap()).await;
    plane.gate.forget(forgotten);
    assert_eq!(plane.journal.len(), 0);
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.expired");
    // Nor by a clock that went back.
    world.clock.advance(-26 * 3_600_000);
    assert_eq!(plane.take_sent(&sent).await.unwrap_err().code(), "plan.expired");
}

#[test]
fn a_second_tenant_cannot_open_the_journal_of_the_first() {
    let world = World::new();
    let (journal, _) = world.open(world.dir.path());
    drop(journal);
    let other = terms::TenantId::from_bytes([2; 16]);
    let error = Journal::open(world.dir.path(), other, false, START).unwrap_err();
    assert!(error.to_string().contains("belongs to tenant"), "{error}");
}
