//! The metering key: born in this process, kept in its own 0600 file, never sent anywhere.

use host::files::{self, FileError};
use notary::{KeyError, SidecarKey};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The key's file in the sidecar's folder.
const FILE: &str = "metering.key";

/// The largest key file: an Ed25519 key in PKCS #8 has 48 to 83 bytes.
const MAX_BYTES: usize = 256;

/// Says why there is no metering key.
#[derive(Debug, thiserror::Error)]
pub enum MeteringKeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else, or no key could be made.
    #[error("`{}`: {source}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The sidecar is enrolled, and its key is not there.
    #[error("`{}` is missing though this sidecar is enrolled; restore it, or remove the folder to enrol a new sidecar", .0.display())]
    Missing(PathBuf),
}

/// Loads the key of a sidecar that is enrolled.
///
/// # Errors
/// [`MeteringKeyError`]; a missing key is never replaced, for the control plane knows the old one.
pub fn load(dir: &Path) -> Result<SidecarKey, MeteringKeyError> {
    kept(dir)?.ok_or_else(|| MeteringKeyError::Missing(dir.join(FILE)))
}

/// Loads the key, or makes one: for a sidecar that is about to enrol.
///
/// # Errors
/// [`MeteringKeyError`].
pub fn load_or_make(dir: &Path) -> Result<SidecarKey, MeteringKeyError> {
    if let Some(key) = kept(dir)? {
        return Ok(key);
    }
    let path = dir.join(FILE);
    let (key, pkcs8) =
        SidecarKey::generate().map_err(|source| MeteringKeyError::Key { path: path.clone(), source })?;
    files::write_private_atomically(&path, &pkcs8)?;
    Ok(key)
}

fn kept(dir: &Path) -> Result<Option<SidecarKey>, MeteringKeyError> {
    let path = dir.join(FILE);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let pkcs8 = Zeroizing::new(files::read_private(&path, MAX_BYTES)?);
    let key = SidecarKey::from_pkcs8(&pkcs8).map_err(|source| MeteringKeyError::Key { path, source })?;
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(MeteringKeyError::Missing(_))));
        let made = load_or_make(dir.path()).unwrap().public_key();
        assert_eq!(load_or_make(dir.path()).unwrap().public_key(), made);
        assert_eq!(load(dir.path()).unwrap().public_key(), made);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        files::write_private_atomically(&dir.path().join(FILE), b"no key").unwrap();
        assert!(matches!(load_or_make(dir.path()), Err(MeteringKeyError::Key { .. })));
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), b"no key");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_or_make(dir.path()).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(dir.path().join(FILE), open).unwrap();
        assert!(matches!(load(dir.path()), Err(MeteringKeyError::File(FileError::OpenToOthers { .. }))));
    }
}
