//! Takes off this host what a node has made of it, but for its state directory.

use crate::networking::{SIGN, last_node};
use crate::networks::{self, NetworksError};
use host::confine::cgroup::{CgroupError, GroupName, GroupNameError, remove_slice};
use host::files::{self, LockError};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long processes of a killed node may take to end: a data plane lets calls under way end for 20 s.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(100);

/// What became of what a node had made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reset {
    /// What was removed, each in a few words.
    pub removed: Vec<String>,
    /// What has a name of ours and is not ours, so it stays; each in a sentence.
    pub left: Vec<String>,
}

/// Says why something of ours stays.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Only root made any of it.
    #[error("only root can remove networks and control groups: run it as root")]
    NotRoot,
    /// A node runs.
    #[error("{0}: stop it first")]
    Running(LockError),
    /// Networks stay.
    #[error(transparent)]
    Networks(#[from] NetworksError),
    /// A control group stays.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// The node's id names no control groups.
    #[error(transparent)]
    GroupName(#[from] GroupNameError),
    /// A file stays.
    #[error("`{file}` cannot be removed: {source}", file = .0.display(), source = .1)]
    File(std::path::PathBuf, std::io::Error),
}

/// Removes the networks of this host, and the control groups of the node whose state directory this is. Twice is no
/// more than once.
///
/// # Errors
/// [`ResetError`]; what was removed before stays removed.
pub async fn reset(state_dir: &Path) -> Result<Reset, ResetError> {
    if !host::process::is_root() {
        return Err(ResetError::NotRoot);
    }
    let own = state_dir.join("node");
    // One that never ran has no folder to be locked, and may have been another's whose networks are left.
    let _lock = own.is_dir().then(|| files::lock_dir(&own)).transpose().map_err(ResetError::Running)?;
    let networks::Reset { removed, left } = networks::reset(&own).await?;
    let mut removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let sign = own.join(SIGN);
    match std::fs::remove_file(&sign) {
        Ok(()) => removed.push(format!("the file `{}`", sign.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ResetError::File(sign, error)),
    }
    if let Some((node, _)) = last_node(&own)
        && remove_groups(&GroupName::slice_of(&node.to_string())?).await?
    {
        removed.push(format!("the control groups of node `{node}`"));
    }
    Ok(Reset { removed, left })
}

/// Removes a node's control groups. What a killed node leaves running ends with it, but not at once.
async fn remove_groups(slice: &GroupName) -> Result<bool, CgroupError> {
    let until = Instant::now() + ENDED_WITHIN;
    loop {
        match remove_slice(slice) {
            Err(_) if Instant::now() < until => sleep(LOOK).await,
            done => return done,
        }
    }
}
