//! The data-plane process: reads its configuration and runs one tenant's data plane until it is told to stop.

use anyhow::Context as _;
use clap::Parser;
use data::Config;
use host::logs::LogFormat;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs one tenant's data plane.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  palisade-data --config /var/lib/palisade/data-0190a000-0000-7000-8000-000000000000/data.toml

The node writes the configuration and starts this process; by hand it is for debugging only.
PALISADE_LOG=debug says more.";

/// Threads that may block: name look-ups, and one computing machine per processor.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
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
    let config: Config = host::config::load(&args.config)?;
    // Before the runtime: threads that run already would stay outside.
    data::walls::raise(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let stop = host::signals::stop_signal();
        Ok(data::run(config, stop).await?)
    })
}
