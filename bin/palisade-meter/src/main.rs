//! The metering-sidecar process: reads its configuration and meters one data plane until it is told to stop.

use anyhow::Context as _;
use clap::Parser;
use host::clock::Clock;
use host::logs::LogFormat;
use sidecar::{End, MeterConfig};
use std::path::PathBuf;
use std::process::ExitCode;

/// Meters one tenant's data plane.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  palisade-meter --config /var/lib/palisade/meter-0190a000-0000-7000-8000-000000000000/meter.toml

The node writes the configuration and starts this process; by hand it is for debugging only.
PALISADE_LOG=debug says more.";

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    host::process::harden_self().context("this process cannot be hardened")?;
    host::logs::init(LogFormat::Json, "info")?;
    let config: MeterConfig = host::config::load(&args.config)?;
    // Before the runtime: threads that run already would stay outside.
    sidecar::walls::raise(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let clock = Clock::system();
        let mut stop = core::pin::pin!(host::signals::stop_signal());
        while sidecar::run(&config, &clock, stop.as_mut()).await? == End::EnrolledAnew {
            tracing::info!("enrolled anew; starting again");
        }
        Ok(())
    })
}
