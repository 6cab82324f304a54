//! kill -9 under load: nothing accepted is lost, nothing runs twice, nothing is counted twice.

use anyhow::{Result, ensure};
use api::data_plane::DataPlaneView;
use api::execution::ExecutionView;
use api::page::Page;
use api::usage::UsageView;
use std::time::Duration;
use terms::ExecutionId;
use trials::{Options, Site, signal, wait_until};

const WORKFLOW: &str = r"
document: { dsl: '1.0.0', namespace: trial, name: slow, version: '1.0.0' }
do:
  - first: { set: { n: '${ .n + 1 }' } }
  - pause: { wait: { milliseconds: 700 } }
  - last: { set: { n: '${ .n + 1 }' } }
";

/// Executions in one trial.
const LOAD: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_data_plane_loses_no_execution_and_runs_none_twice() -> Result<()> {
    let site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await?;
    let started = load(&site).await?;
    let Some(data_plane) = site.data_planes().first() else { anyhow::bail!("no data plane") };
    signal(data_plane.pid, "KILL")?;
    all_end_once(&site, &started).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_counts_nothing_twice() -> Result<()> {
    let site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await?;
    let started = load(&site).await?;
    for _ in 0..3 {
        let planes: Page<DataPlaneView> = site.api()?.get("/v1/data-planes").await?;
        if let Some(pid) = planes.items.first().map(|d| d.sidecar_pid).filter(|pid| *pid > 0) {
            signal(pid, "KILL")?;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    all_end_once(&site, &started).await
}

async fn load(site: &Site) -> Result<Vec<ExecutionId>> {
    site.api()?.apply("demo", WORKFLOW).await?;
    let mut started = Vec::new();
    for n in 0..LOAD {
        let execution =
            site.api()?.start("demo", "slow", &format!("{{\"n\":{n}}}"), &format!("load-{n}")).await?;
        // The same key again starts nothing.
        let again =
            site.api()?.start("demo", "slow", &format!("{{\"n\":{n}}}"), &format!("load-{n}")).await?;
        ensure!(again.id == execution.id, "one idempotency key started two executions");
        started.push(execution.id);
    }
    Ok(started)
}

/// Every execution completes, and the sidecars swear to each of them exactly once (and the demo's own one).
async fn all_end_once(site: &Site, started: &[ExecutionId]) -> Result<()> {
    for id in started {
        let mut ended: ExecutionView = site.api()?.ended("demo", *id, 25_000).await?;
        if !ended.state.is_final() {
            ended = site.api()?.ended("demo", *id, 25_000).await?;
        }
        ensure!(ended.state.as_str() == "completed", "{id} is {}", ended.state.as_str());
    }
    let expected = LOAD + 1;
    let api = site.api()?;
    let metered = wait_until(Duration::from_secs(30), || async {
        let usage: Result<UsageView, _> = api.get("/v1/tenants/demo/usage").await;
        usage.is_ok_and(|usage| usage.totals.executions == expected && usage.totals.outcomes == expected)
    })
    .await;
    let usage: UsageView = site.api()?.get("/v1/tenants/demo/usage").await?;
    ensure!(
        metered,
        "metered {} executions and {} outcomes, not {expected}",
        usage.totals.executions,
        usage.totals.outcomes
    );
    site.run(&["audit", "verify"])?;
    Ok(())
}
