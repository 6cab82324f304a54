//! Benchmarks: each number beside the physical limit that was measured in the same run, and its target.

mod audit;
mod executions;
mod heartbeats;
mod limits;
mod memory;
mod plans;
mod report;

use anyhow::{Context as _, Result};
use report::Report;
use std::path::PathBuf;
use trials::{Options, Site};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let write = match arguments.next() {
        Some(flag) if flag == "--write" => Some(PathBuf::from(arguments.next().context("--write FILE")?)),
        Some(other) => anyhow::bail!("no such argument: {}", other.display()),
        None => None,
    };
    let mut report = Report::new()?;
    plans::measure(&mut report)?;
    audit::measure(&mut report).await?;
    let mut site = Site::up(Options { heartbeat_interval_ms: 10_000, ..Options::default() }).await?;
    memory::measure(&mut report, &site)?;
    executions::measure(&mut report, &site).await?;
    heartbeats::measure(&mut report, &site).await?;
    site.stop().await?;
    report.print();
    match write {
        Some(path) => report.write(&path),
        None => Ok(()),
    }
}
