//! The journal's key and its manifest: which journal this is, and under which key it is sealed.

use super::JournalError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use terms::{KeyBytes, TenantId, Timestamp};
use vault::{DataKey, Keystore, Owner, Purpose, RootKey, WrappedKey};

/// The data plane's own root key: 32 bytes in hex, 0600.
const ROOT_KEY: &str = "root.key";

const MANIFEST: &str = "journal.json";

/// A manifest has about 400 bytes.
const MANIFEST_MAX: usize = 16 * 1024;

/// The first and only version of the journal's key; a rotation begins a new one.
const KEY_VERSION: u32 = 1;

/// Which journal this is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    v: u8,
    tenant: TenantId,
    journal: String,
    began_at: Timestamp,
    root_check: String,
    wrapped_key: String,
}

/// An opened manifest.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) key: DataKey,
    pub(super) owner: Owner,
    /// The journal's own id, so that no record of another one opens here.
    pub(super) journal: [u8; 16],
}

/// Where the root key is.
pub(super) fn root_key_path(state_dir: &Path) -> PathBuf {
    state_dir.join(ROOT_KEY)
}

/// Opens the manifest in `dir` with the root key in `state_dir`.
pub(super) fn open(state_dir: &Path, dir: &Path, tenant: TenantId) -> Result<Sealing, JournalError> {
    let path = dir.join(MANIFEST);
    if !path.exists() {
        return Err(JournalError::NoManifest(path));
    }
    let damaged = |what: &str| JournalError::Manifest { path: path.clone(), reason: what.to_owned() };
    let bytes = host::files::read_private(&path, MANIFEST_MAX)?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    if manifest.v != 1 {
        return Err(damaged("its version is not known to this release"));
    }
    if manifest.tenant != tenant {
        return Err(JournalError::Tenant { found: manifest.tenant, expected: tenant });
    }
    let keystore = keystore(state_dir)?.ok_or_else(|| JournalError::NoKey(root_key_path(state_dir)))?;
    if manifest.root_check != hex::encode(keystore.root_check()) {
        return Err(JournalError::WrongKey(root_key_path(state_dir)));
    }
    let wrapped = hex::decode(&manifest.wrapped_key).map_err(|_| damaged("its key is not hex"))?;
    let journal = hex::decode(&manifest.journal).ok().and_then(|bytes| bytes.try_into().ok());
    let journal = journal.ok_or_else(|| damaged("its id is not 16 bytes in hex"))?;
    let owner = Owner::Tenant(tenant);
    let wrapped = WrappedKey::try_from(wrapped.as_slice()).map_err(|error| damaged(&error.to_string()))?;
    let key = keystore
        .unwrap(owner, Purpose::Journal, KEY_VERSION, &wrapped)
        .map_err(|error| damaged(&error.to_string()))?;
    Ok(Sealing { key, owner, journal })
}

/// Writes a manifest for a new journal, with a new key; makes the root key if there is none.
pub(super) fn create(
    state_dir: &Path,
    dir: &Path,
    tenant: TenantId,
    now: Timestamp,
) -> Result<Sealing, JournalError> {
    let keystore = match keystore(state_dir)? {
        Some(keystore) => keystore,
        None => new_keystore(state_dir)?,
    };
    let owner = Owner::Tenant(tenant);
    let entropy = host::entropy::bytes::<32>()?;
    let wrapped =
        keystore.wrap_new(owner, Purpose::Journal, KEY_VERSION, entropy, host::entropy::bytes::<12>()?);
    let manifest = Manifest {
        v: 1,
        tenant,
        journal: hex::encode(host::entropy::bytes::<16>()?),
        began_at: now,
        root_check: hex::encode(keystore.root_check()),
        wrapped_key: hex::encode(wrapped.as_bytes()),
    };
    let path = dir.join(MANIFEST);
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|error| JournalError::Manifest { path: path.clone(), reason: error.to_string() })?;
    host::files::write_private_atomically(&path, &bytes)?;
    open(state_dir, dir, tenant)
}

fn keystore(state_dir: &Path) -> Result<Option<Keystore>, JournalError> {
    let path = root_key_path(state_dir);
    if !path.exists() {
        return Ok(None);
    }
    let text = zeroize::Zeroizing::new(host::files::read_private(&path, 1024)?);
    let bytes = core::str::from_utf8(&text).ok().and_then(|text| hex::decode(text.trim()).ok());
    let bytes = zeroize::Zeroizing::new(bytes.ok_or_else(|| JournalError::WrongKey(path.clone()))?);
    let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| JournalError::WrongKey(path))?;
    Ok(Some(Keystore::new(RootKey::new(KeyBytes::new(bytes)))))
}

fn new_keystore(state_dir: &Path) -> Result<Keystore, JournalError> {
    let bytes = zeroize::Zeroizing::new(host::entropy::bytes::<32>()?);
    let text = zeroize::Zeroizing::new(hex::encode(bytes.as_slice()));
    host::files::write_private_atomically(&root_key_path(state_dir), text.as_bytes())?;
    Ok(Keystore::new(RootKey::new(KeyBytes::new(*bytes))))
}
