//! A control plane that does not answer: everything goes on without it, and arrives once it is back.

use super::files::{heartbeats_in, metering_journal};
use super::load::{PATIENCE, chain, usage_is_what_was_consumed};
use api::execution::{ExecutionState, ExecutionView};
use terms::Timestamp;
use trials::{Options, Site, signal, wait_until};

/// A wait that ends while the control plane does not answer.
const WORKFLOW: &str = r"
document: { dsl: '1.0.0', namespace: trial, name: patient, version: '1.0.0' }
do:
  - pause: { wait: { seconds: 1 } }
";

/// Heartbeats that are made while the control plane does not answer.
const MISSED: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_the_control_plane_hangs_arrives_whole_and_in_order() {
    let site = Site::up(Options { heartbeat_interval_ms: 1_000, ..Options::default() }).await.unwrap();
    let api = site.api().unwrap();
    api.apply("demo", WORKFLOW).await.unwrap();
    let started = api.start("demo", "patient", "{}", "once").await.unwrap();
    let path = format!("/v1/tenants/demo/executions/{}", started.id);
    let accepted = wait_until(PATIENCE, async || {
        let now: ExecutionView = api.get(&path).await.unwrap();
        now.state == ExecutionState::Accepted
    });
    assert!(accepted.await, "no data plane took the plan");

    let control = site.pid_of("palisade-control").unwrap();
    let heartbeats_made = || heartbeats_in(&metering_journal(&site)).len();
    let made_before = heartbeats_made();
    signal(control, "STOP").unwrap();
    let spools = wait_until(PATIENCE, async || heartbeats_made() >= made_before + MISSED).await;
    let back_at = now();
    signal(control, "CONT").unwrap();
    assert!(spools, "the sidecar stopped swearing");

    let ended = api.ended("demo", started.id, 30_000).await.unwrap();
    assert_eq!(ended.state, ExecutionState::Completed);
    assert!(ended.outcome.unwrap().finished_at < back_at, "it ended without the control plane");
    let is_live_again = wait_until(PATIENCE, async || {
        let last = chain(&api).await.pop().unwrap();
        last.sworn.counter as usize > made_before + MISSED && !last.sworn.spooled && last.stored.accepted
    });
    assert!(is_live_again.await, "no live heartbeat was accepted any more");
    // The first one of the outage was on its way already, and could not know.
    let beats = chain(&api).await;
    let spooled = beats.iter().filter(|beat| beat.sworn.spooled && beat.stored.accepted).count();
    assert!(spooled >= MISSED - 1, "{spooled} of {MISSED} were marked as spooled and accepted");
    usage_is_what_was_consumed(&api).await;
}

fn now() -> Timestamp {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_unix_ms(since_epoch.as_millis() as i64)
}
