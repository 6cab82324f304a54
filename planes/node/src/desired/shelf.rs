//! The accepted document on disk, with the keys that verify it: a node that starts again goes on with it, whether or
//! not the control plane answers.

use super::{Refusal, open};
use host::files::{self, FileError};
use notary::KeySet;
use std::path::{Path, PathBuf};
use terms::{KeyId, Verified};
use wire::jwks::{self, Jwk, Jwks};
use wire::networks::{ENVELOPE_BOUNDS, HostNetworks, SignedNetworks};

/// The envelope's file.
const ENVELOPE: &str = "networks.dsse";

/// The keys' file.
const KEYS: &str = "networks.jwks";

/// Where the document is kept.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    /// The key that the kept envelope was signed with.
    key: Option<Jwk>,
}

/// Says why the kept document cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what a node wrote.
    #[error("`{}` is damaged: {reason}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The keys cannot be written.
    #[error("the keys cannot be written: {0}")]
    Keys(#[from] serde_json::Error),
}

impl Shelf {
    /// Opens the shelf in the folder `dir`, and gives what is kept there, if anything is.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged; [`Shelf::empty`] goes on without.
    pub(crate) fn load(dir: &Path) -> Result<(Self, Option<Verified<HostNetworks>>), ShelfError> {
        let path = dir.join(ENVELOPE);
        if path.symlink_metadata().is_err() {
            return Ok((Self::empty(dir), None));
        }
        let damaged = |name: &str, reason: String| ShelfError::Damaged { path: dir.join(name), reason };
        let envelope = files::read_private(&path, ENVELOPE_BOUNDS.bytes)?;
        let keys = files::read_private(&dir.join(KEYS), jwks::BOUNDS.bytes)?;
        let keys = Jwks::read(&keys).map_err(|error| damaged(KEYS, error.to_string()))?;
        let opened = open(&envelope, &KeySet::from_jwks(&keys).0);
        let document = opened.map_err(|refusal| damaged(ENVELOPE, refusal.to_string()))?;
        let key = kid(&envelope).ok().and_then(|kid| keys.keys.into_iter().find(|key| key.kid == kid));
        Ok((Self { dir: dir.to_owned(), key }, Some(document)))
    }

    /// A shelf with nothing on it, whatever lies there.
    pub(crate) fn empty(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), key: None }
    }

    /// Keeps an envelope that was opened with one of `keys`. After a crash the last one or this one is there, and
    /// can be opened.
    ///
    /// # Errors
    /// When the system refuses; the last one is kept then.
    pub(crate) fn keep(&mut self, envelope: &[u8], keys: &Jwks) -> Result<(), ShelfError> {
        let key = kid(envelope).ok().and_then(|kid| keys.keys.iter().find(|key| key.kid == kid)).cloned();
        // Both keys first: the crash may come before the new envelope, or after.
        let last = self.key.iter().filter(|last| Some(*last) != key.as_ref());
        let both = Jwks { keys: last.chain(&key).cloned().collect() };
        files::write_private_atomically(&self.dir.join(KEYS), &serde_json::to_vec(&both)?)?;
        files::write_private_atomically(&self.dir.join(ENVELOPE), envelope)?;
        self.key = key;
        Ok(())
    }
}

fn kid(envelope: &[u8]) -> Result<KeyId, Refusal> {
    let signed = SignedNetworks::read(envelope).map_err(notary::NetworksRefusal::from)?;
    Ok(signed.kid().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use notary::PlanSigner;
    use terms::{NodeId, Timestamp};

    #[test]
    fn what_is_kept_is_there_again_whatever_key_comes_next() {
        let dir = tempfile::tempdir().unwrap();
        let (mut shelf, nothing) = Shelf::load(dir.path()).unwrap();
        assert!(nothing.is_none());
        for version in 1..=3 {
            let signer = PlanSigner::generate().unwrap().0;
            shelf.keep(&signed(&signer, version), &keys(&signer)).unwrap();
            let (again, found) = Shelf::load(dir.path()).unwrap();
            assert_eq!(found.map(|document| document.version), Some(version));
            shelf = again;
        }
    }

    #[test]
    fn a_crash_between_the_keys_and_the_envelope_leaves_the_last_one_readable() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (PlanSigner::generate().unwrap().0, PlanSigner::generate().unwrap().0);
        let mut shelf = Shelf::empty(dir.path());
        shelf.keep(&signed(&first, 1), &keys(&first)).unwrap();
        let envelope = std::fs::read(dir.path().join(ENVELOPE)).unwrap();
        shelf.keep(&signed(&second, 2), &keys(&second)).unwrap();
        files::write_private_atomically(&dir.path().join(ENVELOPE), &envelope).unwrap();
        assert_eq!(Shelf::load(dir.path()).unwrap().1.map(|document| document.version), Some(1));
    }

    #[test]
    fn a_damaged_file_is_named_and_nothing_of_it_is_used() {
        let signer = PlanSigner::generate().unwrap().0;
        let other = serde_json::to_vec(&keys(&PlanSigner::generate().unwrap().0)).unwrap();
        for (name, content) in [(ENVELOPE, &b"{"[..]), (KEYS, b"{"), (KEYS, &other)] {
            let dir = tempfile::tempdir().unwrap();
            Shelf::empty(dir.path()).keep(&signed(&signer, 1), &keys(&signer)).unwrap();
            files::write_private_atomically(&dir.path().join(name), content).unwrap();
            let Err(ShelfError::Damaged { .. }) = Shelf::load(dir.path()) else { panic!("{name}") };
        }
        let dir = tempfile::tempdir().unwrap();
        Shelf::empty(dir.path()).keep(&signed(&signer, 1), &keys(&signer)).unwrap();
        std::fs::remove_file(dir.path().join(KEYS)).unwrap();
        assert!(matches!(Shelf::load(dir.path()), Err(ShelfError::File(_))));
    }

    fn keys(signer: &PlanSigner) -> Jwks {
        Jwks { keys: vec![signer.jwk()] }
    }

    fn signed(signer: &PlanSigner, version: u64) -> Vec<u8> {
        let document = HostNetworks {
            node: NodeId::from_bytes([1; 16]),
            issuer: "https://localhost".to_owned(),
            version,
            issued_at: Timestamp::EPOCH,
            control_addresses: Vec::new(),
            data_planes_elsewhere: Vec::new(),
            tenants: Vec::new(),
        };
        signer.sign_networks(&document).unwrap()
    }
}
