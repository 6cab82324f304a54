//! A data key: seals values, opens them where they belong, and indexes them blindly.

use crate::context::Context;
use crate::sealed::{Cipher, Kind, NONCE_LENGTH, OpenError};
use aws_lc_rs::{hkdf, hmac};
use terms::KeyBytes;
use zeroize::Zeroizing;

/// One owner's key for one purpose, in one version.
///
/// Sealing, indexing and [`subkey`](Self::subkey) each use a key of their own, derived from this one: what one
/// of them gives away says nothing about the others.
pub struct DataKey {
    version: u32,
    cipher: Cipher,
    index: hmac::Key,
    material: hkdf::Prk,
}

impl DataKey {
    pub(crate) fn new(version: u32, bytes: &[u8; 32]) -> Self {
        let material = hkdf::Salt::new(hkdf::HKDF_SHA256, b"palisade/data-key/v1").extract(bytes);
        let cipher = Cipher::new(derive(&material, &[b"seal"]).expose());
        let index = hmac::Key::new(hmac::HMAC_SHA256, derive(&material, &[b"index"]).expose());
        Self { version, cipher, index, material }
    }

    /// The key's version, as it stands in the header of whatever it seals.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Seals `plaintext` for its place; [`OVERHEAD`](crate::OVERHEAD) bytes longer.
    ///
    /// `nonce` is fresh entropy. A nonce that comes twice shows at most that two plaintexts of one place are
    /// equal (RFC 8452 section 1).
    #[must_use]
    pub fn seal(&self, context: &Context<'_>, nonce: [u8; NONCE_LENGTH], plaintext: &[u8]) -> Vec<u8> {
        self.cipher.seal(Kind::Value, self.version, &context.encode(), nonce, plaintext)
    }

    /// Opens what was sealed for this very place under this key.
    ///
    /// # Errors
    /// [`OpenError`] for anything else; no plaintext leaves before the check passed.
    pub fn open(&self, context: &Context<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.cipher.open(Kind::Value, self.version, &context.encode(), sealed)
    }

    /// The blind index of `value`: equal values in one owner's column give equal indexes, and nobody without
    /// the key can tell which value it is. The context's row does not count.
    #[must_use]
    pub fn blind_index(&self, context: &Context<'_>, value: &[u8]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&self.index);
        mac.update(&context.encode_without_row());
        mac.update(value);
        let mut out = [0; 32];
        out.copy_from_slice(mac.sign().as_ref());
        out
    }

    /// A key for a cipher that is not ours, such as the database's page cipher.
    #[must_use]
    pub fn subkey(&self, label: &str) -> KeyBytes {
        derive(&self.material, &[b"subkey/", label.as_bytes()])
    }
}

impl core::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DataKey(version {}, redacted)", self.version)
    }
}

/// HKDF-Expand to one key (RFC 5869 section 2.3).
#[expect(clippy::expect_used, reason = "the library refuses lengths over 255 digests only; this is one")]
pub(crate) fn derive(material: &hkdf::Prk, info: &[&[u8]]) -> KeyBytes {
    let mut out = Zeroizing::new([0; 32]);
    material.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(out.as_mut())).expect("one digest");
    KeyBytes::new(*out)
}
