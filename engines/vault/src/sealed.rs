//! The bytes of a sealed value or wrapped key, and the one cipher behind both.
//!
//! ```text
//! magic 2 | format 1 | algorithm 1 | key version 4, big endian | nonce 12 | ciphertext | tag 16
//! ```
//! The first eight bytes are authenticated along with the context.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a nonce (RFC 8452 section 4).
pub const NONCE_LENGTH: usize = 12;

/// How many bytes sealing adds.
pub const OVERHEAD: usize = HEADER_LENGTH + NONCE_LENGTH + TAG_LENGTH;

const HEADER_LENGTH: usize = 8;
const TAG_LENGTH: usize = 16;
const FORMAT: u8 = 1;
/// AES-256-GCM-SIV (RFC 8452).
const ALGORITHM: u8 = 1;

/// Says why bytes do not open. Nothing of the plaintext is given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Fewer bytes than header, nonce and tag.
    #[error("the sealed bytes are cut short")]
    Truncated,
    /// The first bytes are not ours.
    #[error("these bytes were not sealed here")]
    NotSealed,
    /// A format that this release does not know.
    #[error("sealed format `{0}` is not known")]
    Format(u8),
    /// An algorithm that this release does not know.
    #[error("sealing algorithm `{0}` is not known")]
    Algorithm(u8),
    /// Sealed under another version of the key.
    #[error("sealed under key version `{sealed}`, the key at hand is version `{held}`")]
    KeyVersion {
        /// The version in the header.
        sealed: u32,
        /// The version of the key at hand.
        held: u32,
    },
    /// The check failed: other key, other context, or changed bytes.
    #[error("the sealed bytes were changed, moved, or belong to another key")]
    Refused,
}

/// What is sealed: a value is never taken for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Key,
}

impl Kind {
    const fn magic(self) -> [u8; 2] {
        match self {
            Self::Value => *b"PV",
            Self::Key => *b"PK",
        }
    }
}

/// The version of the key that a sealed value needs, so that the right one can be fetched.
///
/// # Errors
/// [`OpenError`] if the header is not that of a value sealed by this release. The version is not yet
/// authenticated; [`crate::DataKey::open`] does that.
pub fn key_version(sealed: &[u8]) -> Result<u32, OpenError> {
    let (header, _) = sealed.split_first_chunk::<HEADER_LENGTH>().ok_or(OpenError::Truncated)?;
    read_header(Kind::Value, *header)
}

/// One AES-256-GCM-SIV key, its schedule made once.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    #[expect(clippy::expect_used, reason = "the library refuses keys of another length only")]
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("a 256-bit key")))
    }

    #[expect(
        clippy::expect_used,
        reason = "the library refuses plaintexts over 64 GiB only (RFC 8452 section 6)"
    )]
    pub(crate) fn seal(
        &self,
        kind: Kind,
        version: u32,
        context: &[u8],
        nonce: [u8; NONCE_LENGTH],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let header = header(kind, version);
        let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let body = out.get_mut(HEADER_LENGTH + NONCE_LENGTH..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(authenticated(header, context));
        let tag = self.0.seal_in_place_separate_tag(nonce, aad, body).expect("a plaintext within 64 GiB");
        out.extend_from_slice(tag.as_ref());
        out
    }

    pub(crate) fn open(
        &self,
        kind: Kind,
        version: u32,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (header, rest) = sealed.split_first_chunk::<HEADER_LENGTH>().ok_or(OpenError::Truncated)?;
        let found = read_header(kind, *header)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or(OpenError::Truncated)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>().ok_or(OpenError::Truncated)?;
        if found != version {
            return Err(OpenError::KeyVersion { sealed: found, held: version });
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(authenticated(*header, context));
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        self.0
            .open_separate_gather(nonce, aad, ciphertext, tag, &mut plaintext)
            .map_err(|_| OpenError::Refused)?;
        Ok(plaintext)
    }
}

fn header(kind: Kind, version: u32) -> [u8; HEADER_LENGTH] {
    let [m0, m1] = kind.magic();
    let [v0, v1, v2, v3] = version.to_be_bytes();
    [m0, m1, FORMAT, ALGORITHM, v0, v1, v2, v3]
}

fn read_header(kind: Kind, header: [u8; HEADER_LENGTH]) -> Result<u32, OpenError> {
    let [m0, m1, format, algorithm, v0, v1, v2, v3] = header;
    if [m0, m1] != kind.magic() {
        return Err(OpenError::NotSealed);
    }
    if format != FORMAT {
        return Err(OpenError::Format(format));
    }
    if algorithm != ALGORITHM {
        return Err(OpenError::Algorithm(algorithm));
    }
    Ok(u32::from_be_bytes([v0, v1, v2, v3]))
}

fn authenticated(header: [u8; HEADER_LENGTH], context: &[u8]) -> Vec<u8> {
    [header.as_slice(), context].concat()
}
