//! `node reset`: takes everything off this host that a node made in its kernel.

use crate::connection;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::program;
use crate::state_dir::StateDir;

/// Removes this host's tenant networks and control groups, and nothing that is not ours
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade node reset --yes

Namespaces, links, rules and control groups that bear our names and tags go; whatever else the host
has stays. Needs root, and that no node runs here. The state directory stays as it is.")]
pub(crate) struct Options {
    /// Says that it is meant: tenants of this host are cut off until a node runs again
    #[arg(long)]
    yes: bool,
}

/// Runs `palisade-node reset`.
///
/// # Errors
/// [`Failure`] when it is not meant, this is not root, or the program is not there.
pub(super) async fn run(
    options: Options,
    at: &connection::Options,
    output: &mut Output<'_>,
) -> Outcome<Exit> {
    if at.names_a_control_plane() {
        return Err(Failure::usage(
            "`node reset` is about this host and asks no control plane",
            "leave out --url, --ca-file and --token-file",
        ));
    }
    if !options.yes {
        return Err(Failure::usage(
            "removing this host's networks cuts off every tenant on it",
            "say that it is meant: palisade node reset --yes",
        ));
    }
    if !host::process::is_root() {
        let cause = "only root can remove networks and control groups";
        return Err(Failure::new(Exit::Refused, "not_root", cause, "run it as root"));
    }
    let state = StateDir::find(at.state_dir.as_deref())?;
    let arguments = vec!["reset".into(), "--state-dir".into(), state.path().into()];
    let ended = program::run("palisade-node", arguments, output).await?;
    Ok(if ended.success() { Exit::Success } else { Exit::Failure })
}
