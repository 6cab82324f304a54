//! Offline verification: plans and heartbeats against keys that the caller kept.

mod heartbeat;
mod plan;

use crate::failure::Outcome;
use crate::output::Output;

/// Verifies plans and heartbeats offline
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Plan(plan::Options),
    Heartbeat(heartbeat::Options),
}

/// Runs a command that verifies.
///
/// # Errors
/// A verification failure, or why there was nothing to verify.
pub(crate) fn run(command: Command, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::Plan(options) => plan::run(&options, output),
        Command::Heartbeat(options) => heartbeat::run(&options, output),
    }
}
