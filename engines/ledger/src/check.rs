//! The offline check of a whole log against a checkpoint whose signature was verified.

use crate::frontier::Frontier;
use terms::Digest;
use wire::checkpoint::Checkpoint;

/// Says how a log departs from its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// Entries are missing at the end.
    #[error("the checkpoint covers `{expected}` entries, the log has `{found}`")]
    Shorter {
        /// How many the checkpoint covers.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// An entry was edited, dropped, added or moved.
    #[error("the entries up to `{size}` do not lead to the checkpoint's root")]
    Root {
        /// How many the checkpoint covers.
        size: u64,
    },
}

/// Checks that the log's first leaves are exactly those under `checkpoint`; later ones are not looked at.
///
/// # Errors
/// [`LogFault`] says what departs.
pub fn check_log(leaves: impl IntoIterator<Item = Digest>, checkpoint: &Checkpoint) -> Result<(), LogFault> {
    let mut frontier = Frontier::new();
    let mut leaves = leaves.into_iter();
    while frontier.size() < checkpoint.size {
        let Some(leaf) = leaves.next() else {
            return Err(LogFault::Shorter { expected: checkpoint.size, found: frontier.size() });
        };
        frontier.append(leaf);
    }
    if frontier.root() == checkpoint.root { Ok(()) } else { Err(LogFault::Root { size: checkpoint.size }) }
}
