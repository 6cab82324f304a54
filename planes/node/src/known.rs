//! What a node has given away: a slot for each tenant, and with it two user ids and a port. Never given twice.

use host::files::{self, FileError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use terms::{NodeId, TenantId};

/// Most bytes of the file: a hundred for each tenant that was ever here.
const BYTES_MAX: usize = 8 << 20;

/// The node's memory.
#[derive(Debug)]
pub(crate) struct Known {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The highest slot that was given away; the control plane has slot 0.
    last_slot: u32,
    tenants: BTreeMap<TenantId, Slot>,
}

/// What one tenant has on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slot {
    /// Its number, from 1.
    pub(crate) slot: u32,
    /// Which node id placed it here: another one's folders are not ours to remove.
    pub(crate) node: NodeId,
    /// The port that its data plane last took; 0 before the first.
    pub(crate) port: u16,
}

/// Says why the node's memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not one that a node wrote.
    #[error("`{0}` cannot be read ({1}): restore it; without it, user ids could be given away twice")]
    Damaged(PathBuf, String),
}

impl Known {
    /// Reads the memory; a new one where there is none.
    pub(crate) fn load(dir: &Path) -> Result<Self, KnownError> {
        let path = dir.join("node.json");
        if path.symlink_metadata().is_err() {
            return Ok(Self { path, kept: Kept::default() });
        }
        let bytes = files::read_private(&path, BYTES_MAX)?;
        let kept = serde_json::from_slice(&bytes);
        let kept = kept.map_err(|error| KnownError::Damaged(path.clone(), error.to_string()))?;
        Ok(Self { path, kept })
    }

    /// Every tenant that has folders here, and whether `node` placed it.
    pub(crate) fn tenants(&self, node: NodeId) -> Vec<(TenantId, bool)> {
        self.kept.tenants.iter().map(|(id, slot)| (*id, slot.node == node)).collect()
    }

    /// A tenant's slot; a new one, kept, if it has none.
    pub(crate) fn slot(&mut self, tenant: TenantId, node: NodeId) -> Result<Slot, KnownError> {
        if let Some(slot) = self.kept.tenants.get_mut(&tenant) {
            let same = core::mem::replace(&mut slot.node, node) == node;
            let slot = *slot;
            if !same {
                self.keep()?;
            }
            return Ok(slot);
        }
        self.kept.last_slot = self.kept.last_slot.saturating_add(1);
        let slot = Slot { slot: self.kept.last_slot, node, port: 0 };
        self.kept.tenants.insert(tenant, slot);
        self.keep()?;
        Ok(slot)
    }

    /// Remembers the port that a tenant's data plane took.
    pub(crate) fn took_port(&mut self, tenant: TenantId, port: u16) -> Result<(), KnownError> {
        match self.kept.tenants.get_mut(&tenant) {
            Some(slot) if slot.port != port => slot.port = port,
            Some(_) | None => return Ok(()),
        }
        self.keep()
    }

    /// Forgets a tenant whose folders are gone. Its number is not given away again.
    pub(crate) fn forget(&mut self, tenant: TenantId) -> Result<(), KnownError> {
        self.kept.tenants.remove(&tenant);
        self.keep()
    }

    fn keep(&self) -> Result<(), KnownError> {
        let damaged = |error: serde_json::Error| KnownError::Damaged(self.path.clone(), error.to_string());
        let bytes = serde_json::to_vec(&self.kept).map_err(damaged)?;
        Ok(files::write_private_atomically(&self.path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([9; 16]);

    fn tenant(n: u8) -> TenantId {
        TenantId::from_bytes([n; 16])
    }

    #[test]
    fn a_slot_is_never_given_twice_also_over_restarts_and_removals() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Known::load(dir.path()).unwrap();
        assert_eq!(known.slot(tenant(1), NODE).unwrap().slot, 1);
        assert_eq!(known.slot(tenant(2), NODE).unwrap().slot, 2);
        known.forget(tenant(2)).unwrap();
        let mut known = Known::load(dir.path()).unwrap();
        assert_eq!(known.slot(tenant(1), NODE).unwrap().slot, 1);
        assert_eq!(known.slot(tenant(2), NODE).unwrap().slot, 3);
    }

    #[test]
    fn a_damaged_memory_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        files::write_private_atomically(&dir.path().join("node.json"), b"{").unwrap();
        assert!(matches!(Known::load(dir.path()), Err(KnownError::Damaged(..))));
        assert_eq!(std::fs::read(dir.path().join("node.json")).unwrap(), b"{");
    }
}
