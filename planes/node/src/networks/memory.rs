//! What must outlive the node's process, and the keeper's: which settings of the host are our doing, and since when
//! traffic is counted.

use host::files::{self, FileError};
use network::NetworkNumber;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use terms::Timestamp;

/// The file, beside the keeper's socket.
pub(super) const FILE: &str = "networks.kept.json";

/// Most bytes of the file: 155 times and 16 names.
const BYTES_MAX: usize = 64 * 1_024;

/// Where Linux says which start of the machine this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The start of the machine that all of it is about: the next one forgets settings and counters.
    boot: String,
    /// Links of the host that forward because we said so.
    switched_on: BTreeSet<String>,
    /// Which keeper counts, by its process id.
    keeper: u32,
    /// Since when each network's traffic is counted.
    counted_since: BTreeMap<u8, Timestamp>,
}

/// Says why nothing can be remembered.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not one that a node wrote.
    #[error(
        "`{}` cannot be read ({why}): remove it, and see that the host's links to the internet do not forward",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Memory {
    /// Reads what is remembered of this start of the machine.
    pub(super) fn load(folder: &Path) -> Result<Self, MemoryError> {
        let path = folder.join(FILE);
        let boot = files::read_bounded(Path::new(BOOT), BYTES_MAX)?;
        let boot = String::from_utf8_lossy(&boot).trim().to_owned();
        let kept = match path.symlink_metadata() {
            Ok(_) => {
                let bytes = files::read_private(&path, BYTES_MAX)?;
                let read = serde_json::from_slice::<Kept>(&bytes);
                read.map_err(|error| MemoryError::Damaged { path: path.clone(), why: error.to_string() })?
            }
            Err(_) => Kept::default(),
        };
        let kept = if kept.boot == boot { kept } else { Kept { boot, ..Kept::default() } };
        Ok(Self { path, kept })
    }

    /// Links of the host that forward because we said so.
    pub(super) const fn switched_on(&self) -> &BTreeSet<String> {
        &self.kept.switched_on
    }

    /// Remembers links before they are switched on.
    pub(super) fn will_switch_on<'a>(
        &mut self,
        links: impl Iterator<Item = &'a String>,
    ) -> Result<(), MemoryError> {
        self.change(|kept| kept.switched_on.extend(links.cloned()))
    }

    /// Remembers since when each network's traffic is counted: from now for those that are new, and for all of them if
    /// the keeper is another or counts `anew`.
    pub(super) fn counts(
        &mut self,
        numbers: impl Iterator<Item = NetworkNumber>,
        keeper: u32,
        anew: bool,
        now: Timestamp,
    ) -> Result<(), MemoryError> {
        self.change(|kept| {
            let before = std::mem::take(&mut kept.counted_since);
            let is_another = anew || std::mem::replace(&mut kept.keeper, keeper) != keeper;
            let since = |number: u8| before.get(&number).copied().filter(|_| !is_another).unwrap_or(now);
            kept.counted_since = numbers.map(|number| (number.value(), since(number.value()))).collect();
        })
    }

    /// Since when a network's traffic is counted.
    pub(super) fn counted_since(&self, number: NetworkNumber) -> Option<Timestamp> {
        self.kept.counted_since.get(&number.value()).copied()
    }

    fn change(&mut self, change: impl FnOnce(&mut Kept)) -> Result<(), MemoryError> {
        let mut next = self.kept.clone();
        change(&mut next);
        if next != self.kept {
            let bytes = serde_json::to_vec(&next)
                .map_err(|error| MemoryError::Damaged { path: self.path.clone(), why: error.to_string() })?;
            files::write_private_atomically(&self.path, &bytes)?;
            self.kept = next;
        }
        Ok(())
    }
}
