//! The control-plane process.

use anyhow::Context as _;
use clap::Parser;
use control::Config;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs Palisade's control plane: tenants, workflows, executions, usage, audit.
#[derive(Parser)]
#[command(name = "palisade-control", version, after_help = EXAMPLES)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", required_unless_present = "check_config")]
    config: Option<PathBuf>,
    /// Checks a configuration file and stops.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check_config: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  palisade-control --config /etc/palisade/control.toml
  palisade-control --check-config /etc/palisade/control.toml

`palisade up --demo` makes a configuration and starts everything.";

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a process that could not start")]
            {
                eprintln!("palisade-control: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.check_config {
        load(file)?;
        return Ok(());
    }
    let file = arguments.config.as_ref().context("--config FILE is needed")?;
    let config = load(file)?;
    host::process::harden_self().context("this process cannot protect its memory")?;
    host::logs::init(host::logs::LogFormat::Json, "info")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(async { control::run(config, host::signals::stop_signal()).await })?)
}

fn load(file: &std::path::Path) -> anyhow::Result<Config> {
    let config: Config = host::config::load(file)?;
    config.check().with_context(|| format!("`{}`", file.display()))?;
    Ok(config)
}
