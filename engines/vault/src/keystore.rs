//! The keystore: makes data keys, and keeps them wrapped under a key that is derived from the root.

use crate::context::{Owner, Purpose, encode_key};
use crate::data_key::{DataKey, derive};
use crate::sealed::{Cipher, Kind, NONCE_LENGTH, OVERHEAD, OpenError};
use aws_lc_rs::hkdf;
use terms::KeyBytes;
use zeroize::{Zeroize, Zeroizing};

/// The root of all keys, held outside of the database.
#[derive(Debug)]
pub struct RootKey(KeyBytes);

/// Wraps and unwraps data keys.
pub struct Keystore {
    cipher: Cipher,
    check: [u8; 8],
    page: KeyBytes,
}

/// A data key under the keystore's key: safe to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey([u8; WrappedKey::LENGTH]);

// === impl RootKey ===

impl RootKey {
    /// Takes the root's 256 bits.
    #[must_use]
    pub const fn new(bytes: KeyBytes) -> Self {
        Self(bytes)
    }
}

// === impl Keystore ===

impl Keystore {
    /// Derives the keystore's key from the root (HKDF-SHA256, RFC 5869).
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the root is wiped once the keystore stands")]
    pub fn new(root: RootKey) -> Self {
        let material = hkdf::Salt::new(hkdf::HKDF_SHA256, b"palisade/root/v1").extract(root.0.expose());
        let cipher = Cipher::new(derive(&material, &[b"keystore/kek/v1"]).expose());
        let mut check = [0; 8];
        let derived = derive(&material, &[b"keystore/check/v1"]);
        check.iter_mut().zip(derived.expose()).for_each(|(to, from)| *to = *from);
        let page = derive(&material, &[b"keystore/page/v1"]);
        Self { cipher, check, page }
    }

    /// Eight bytes that say which root this is without giving it away, so that a wrong key file is named as
    /// such before anything fails to open.
    #[must_use]
    pub const fn root_check(&self) -> [u8; 8] {
        self.check
    }

    /// The key of the database file's page cipher: it opens the file that the wrapped keys are in.
    #[must_use]
    pub fn page_key(&self) -> KeyBytes {
        self.page.clone()
    }

    /// Makes a new data key from fresh entropy and returns it wrapped.
    #[must_use]
    pub fn wrap_new(
        &self,
        owner: Owner,
        purpose: Purpose,
        version: u32,
        mut key_entropy: [u8; 32],
        nonce: [u8; NONCE_LENGTH],
    ) -> WrappedKey {
        let context = encode_key(owner, purpose, version);
        let sealed = self.cipher.seal(Kind::Key, version, &context, nonce, &key_entropy);
        key_entropy.zeroize();
        let mut wrapped = [0; WrappedKey::LENGTH];
        wrapped.copy_from_slice(&sealed);
        WrappedKey(wrapped)
    }

    /// Unwraps the data key of exactly this owner, purpose and version.
    ///
    /// # Errors
    /// [`OpenError`] if it is another's, was changed, or was wrapped under another root.
    pub fn unwrap(
        &self,
        owner: Owner,
        purpose: Purpose,
        version: u32,
        wrapped: &WrappedKey,
    ) -> Result<DataKey, OpenError> {
        let context = encode_key(owner, purpose, version);
        let plain = self.cipher.open(Kind::Key, version, &context, &wrapped.0)?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&plain);
        Ok(DataKey::new(version, &bytes))
    }
}

impl core::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keystore(redacted)")
    }
}

// === impl WrappedKey ===

impl WrappedKey {
    /// How many bytes a wrapped key has.
    pub const LENGTH: usize = 32 + OVERHEAD;

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl TryFrom<&[u8]> for WrappedKey {
    type Error = OpenError;

    /// Takes stored bytes; whether they are a key shows when they are unwrapped.
    fn try_from(bytes: &[u8]) -> Result<Self, OpenError> {
        bytes.try_into().map(Self).map_err(|_| OpenError::Truncated)
    }
}
