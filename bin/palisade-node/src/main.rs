//! The node process: runs this host's data planes and sidecars until it is told to stop; or keeps their networks.

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use host::clock::Clock;
use host::logs::LogFormat;
use host::network::{Tag, keeper};
use node::config::Networks;
use node::reset::Reset;
use node::{End, NodeConfig};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs this host's data planes and metering sidecars.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", required_unless_present = "control_plane")]
    config: Option<PathBuf>,
    /// The control plane, instead of a configuration file.
    #[arg(long, value_name = "URL", conflicts_with = "config", requires_all = ["enroll_token_file", "ca_file"])]
    control_plane: Option<String>,
    /// The file of the one-time enrolment token.
    #[arg(long, value_name = "FILE")]
    enroll_token_file: Option<PathBuf>,
    /// The roots that the control plane's certificate comes from (PEM).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The state directory of this host.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/palisade", conflicts_with = "config")]
    state_dir: PathBuf,
    /// What keeps tenants apart.
    #[arg(long, value_enum, default_value_t = Driver::Linux, conflicts_with = "config")]
    driver: Driver,
}

/// What keeps tenants apart, for a control plane on another host.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Driver {
    /// A network of its own for each tenant, by namespaces and nftables; needs root.
    Linux,
    /// Nothing: every data plane listens on the host's loopback. For demonstrations.
    Loopback,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Removes what a node has made of this host's networks and control groups, and nothing else.
    #[command(after_help = RESET_EXAMPLES)]
    Reset {
        /// The configuration file (TOML) of the node.
        #[arg(long, value_name = "FILE", conflicts_with = "state_dir")]
        config: Option<PathBuf>,
        /// The state directory of the node; it stays.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/palisade")]
        state_dir: PathBuf,
    },
    /// Keeps the router's network namespace, and owns its rules and the host's, until it is killed.
    #[command(hide = true)]
    Keeper {
        /// Where it listens to the node.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// What marks its namespace.
        #[arg(long, value_name = "TEXT", default_value = "palisade restricted=true")]
        tag: Tag,
    },
}

const EXAMPLES: &str = "\
Examples:
  palisade-node --config /etc/palisade/node.toml
  palisade-node --control-plane https://palisade.example.com \\
    --enroll-token-file enrol.token --ca-file ca.pem
  palisade-node reset --config /etc/palisade/node.toml
  palisade-node --control-plane https://localhost:8443 --driver loopback \\
    --enroll-token-file enrol.token --ca-file ca.pem --state-dir ./state

As root, each data plane and sidecar runs as a user of its own, and each tenant in a network.
Without root, choose the driver `loopback`. PALISADE_LOG=debug says more.";

const RESET_EXAMPLES: &str = "\
Examples:
  palisade-node reset
  palisade-node reset --config /etc/palisade/node.toml

Needs root, and that no node runs here: its tenants are cut off until one does again.";

fn main() -> ExitCode {
    match start(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> anyhow::Result<()> {
    host::process::harden_self().context("this process cannot be hardened")?;
    let format =
        if let Some(Command::Reset { .. }) = &args.command { LogFormat::Human } else { LogFormat::Json };
    host::logs::init(format, "info")?;
    if let Some(Command::Keeper { socket, tag }) = &args.command {
        // Before any runtime: a keeper has no thread but its own.
        match keeper::run(socket, tag)? {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    if let Some(Command::Reset { config, state_dir }) = args.command {
        let state_dir = match config {
            Some(file) => host::config::load::<NodeConfig>(&file)?.state_dir,
            None => state_dir,
        };
        return runtime.block_on(reset(&state_dir));
    }
    let config = config(args)?;
    runtime.block_on(async {
        let clock = Clock::system();
        let mut stop = core::pin::pin!(host::signals::stop_signal());
        while node::run(&config, &clock, stop.as_mut()).await? == End::EnrolledAnew {
            tracing::info!("enrolled anew; starting again");
        }
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "what was removed is the command's result")]
async fn reset(state_dir: &Path) -> anyhow::Result<()> {
    let Reset { removed, left } = node::reset::reset(state_dir).await?;
    if removed.is_empty() {
        println!("this host has no networks or control groups of a node's");
    }
    removed.iter().for_each(|what| println!("removed {what}"));
    left.iter().for_each(|why| tracing::warn!("left: {why}"));
    Ok(())
}

fn config(args: Args) -> anyhow::Result<NodeConfig> {
    match (args.config, args.control_plane, args.enroll_token_file, args.ca_file) {
        (Some(file), ..) => Ok(host::config::load(&file)?),
        (None, Some(url), Some(token), Some(ca)) => {
            let defaults = NodeConfig::with_defaults(args.state_dir, url, token);
            let networks = match args.driver {
                Driver::Linux => Networks::elsewhere(),
                Driver::Loopback => Networks::Loopback,
            };
            Ok(NodeConfig { control_plane_ca_file: ca, networks, ..defaults })
        }
        (None, ..) => anyhow::bail!("--config FILE, or --control-plane URL with its files, is needed"),
    }
}
