//! Durable executions of a three-step workflow, from the client's request to its outcome.

use crate::limits::{percentile, syncs_per_second};
use crate::report::{Reached, Report};
use anyhow::{Context as _, Result, ensure};
use api::execution::ExecutionState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use trials::{Api, Site};

const WORKFLOW: &str = r"
document: { dsl: '1.0.0', namespace: bench, name: three-steps, version: '1.0.0' }
do:
  - first: { set: { total: '${ [.orders[].price] | add }' } }
  - second: { set: { total: '${ .total }', large: '${ .total > 100 }' } }
  - third: { set: { answer: '${ if .large then .total else 0 end }' } }
";

const INPUT: &str = r#"{"orders":[{"price":30},{"price":40},{"price":50}]}"#;

const TENANT: &str = "demo";

/// Executions with one at a time, and with sixteen at once.
const ALONE: u32 = 300;
const TOGETHER: u32 = 6_000;
const AT_ONCE: u32 = 16;

/// Measures both.
pub(crate) async fn measure(report: &mut Report, site: &Site) -> Result<()> {
    site.api()?.apply(TENANT, WORKFLOW).await?;
    let syncs = syncs_per_second()?;
    run(&site.api()?, "warm", 50).await?;

    let mut times = run(&site.api()?, "alone", ALONE).await?;
    times.sort_by(f64::total_cmp);
    let p50 = percentile(&times, 0.5);
    let against = format!("three raw syncs {:.2} ms", 3_000.0 / syncs);
    report.line("start to done, one at once, p50", format!("{p50:.2} ms"), against, "<= 5 ms", p50 <= 5.0);
    report.line("... p99", format!("{:.2} ms", percentile(&times, 0.99)), "", "", Reached::Context);

    let processes = processes(site)?;
    let cpu_before = cpu_us(&processes)?;
    let (begin, next) = (Instant::now(), Arc::new(AtomicU32::new(0)));
    let mut workers = Vec::new();
    for worker in 0..AT_ONCE {
        let (api, next) = (site.api()?.clone(), Arc::clone(&next));
        workers.push(tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < TOGETHER {
                one(&api, &format!("together-{worker}-{}", next.load(Ordering::Relaxed))).await?;
            }
            anyhow::Ok(())
        }));
    }
    for worker in workers {
        worker.await??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = f64::from(TOGETHER) / seconds;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
    let each_ms = (cpu_us(&processes)? - cpu_before) as f64 / 1_000.0 / f64::from(TOGETHER);
    report.line(
        "executions of three steps, 16 at once",
        format!("{rate:.0}/s"),
        format!("raw fdatasync {syncs:.0}/s"),
        ">= 1 000/s",
        rate >= 1_000.0,
    );
    report.line(
        "... processor time each, control and data plane",
        format!("{each_ms:.2} ms"),
        "",
        "<= 1 ms",
        each_ms <= 1.0,
    );
    Ok(())
}

async fn run(api: &Api, name: &str, count: u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for n in 0..count {
        let begin = Instant::now();
        one(api, &format!("{name}-{n}")).await?;
        times.push(begin.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}

async fn one(api: &Api, key: &str) -> Result<()> {
    let started = api.start(TENANT, "three-steps", INPUT, key).await?;
    let ended = api.ended(TENANT, started.id, 30_000).await?;
    ensure!(ended.state == ExecutionState::Completed, "execution {} is {}", ended.id, ended.state.as_str());
    Ok(())
}

fn processes(site: &Site) -> Result<Vec<u32>> {
    let ready: serde_json::Value =
        serde_json::from_slice(&std::fs::read(site.state().join("control/ready.json"))?)?;
    let control = ready.get("pid").and_then(serde_json::Value::as_u64).context("the control plane's pid")?;
    let data_plane = site.data_planes().first().context("the demo has a data plane")?;
    Ok(vec![u32::try_from(control)?, data_plane.pid])
}

fn cpu_us(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in processes {
        sum += host::usage::cpu_time_us(*pid)?;
    }
    Ok(sum)
}
