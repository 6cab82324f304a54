//! Signed notes (C2SP signed-note) under Ed25519: how the audit log's checkpoints are signed.

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::{KeyError, Pkcs8, SignError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terms::{Digest, Unverified, Verified};
use wire::checkpoint::{Note, NoteSignature};

/// The signature type of Ed25519 (C2SP signed-note, "Signature types").
const ED25519_TYPE: u8 = 0x01;

/// A key pair that signs notes, and its name.
pub struct NoteSigner {
    key: SigningKey,
    name: String,
    key_hash: [u8; 4],
}

/// A public key that notes are checked with, and its name.
#[derive(Debug, Clone)]
pub struct NoteKey {
    key: VerifyingKey,
    name: String,
    key_hash: [u8; 4],
}

/// Says why a note cannot be signed, or a key not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A name is empty, or has white space or a `+`.
    #[error("`{0}` is not a key name")]
    Name(String),
    /// Not `name+hash+key` with a hash that fits.
    #[error("not a verifier key")]
    VerifierKey,
    /// The text does not end in a newline, or has control characters.
    #[error("the text of a note ends in a newline and has no other control characters")]
    Text,
    /// The key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature could not be made.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Says why a note is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteRefusal {
    /// No signature under the note is by this key.
    #[error("the note is not signed by this key")]
    Unsigned,
    /// A signature that names this key is not valid.
    #[error("the signature is not valid")]
    BadSignature,
}

// === impl NoteSigner ===

impl NoteSigner {
    /// Generates a key pair for `name`, and the private key for whoever seals and keeps it.
    ///
    /// # Errors
    /// [`NoteError::Name`] or [`NoteError::Key`].
    pub fn generate(name: &str) -> Result<(Self, Pkcs8), NoteError> {
        let (key, pkcs8) = SigningKey::generate()?;
        Ok((Self::new(name, key)?, pkcs8))
    }

    /// Reads a kept key pair for `name`.
    ///
    /// # Errors
    /// [`NoteError::Name`] or [`NoteError::Key`].
    pub fn from_pkcs8(name: &str, pkcs8: &[u8]) -> Result<Self, NoteError> {
        Self::new(name, SigningKey::from_pkcs8(pkcs8)?)
    }

    /// The verifier key: `name+hash+base64(type || public key)`.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        verifier_key(&self.name, self.key_hash, self.key.public_key())
    }

    /// Signs `text`, which ends in a newline.
    ///
    /// # Errors
    /// [`NoteError::Text`] for a text that is no note's, [`NoteError::Sign`] if the provider refuses.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        if !text.ends_with('\n') || text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Text);
        }
        let signature = NoteSignature {
            name: self.name.clone(),
            key_hash: self.key_hash,
            signature: self.key.sign(text.as_bytes())?.to_vec(),
        };
        Ok(Note { text: text.to_owned(), signatures: vec![signature] })
    }

    fn new(name: &str, key: SigningKey) -> Result<Self, NoteError> {
        check_name(name)?;
        let key_hash = key_hash(name, key.public_key());
        Ok(Self { key, name: name.to_owned(), key_hash })
    }
}

impl core::fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "NoteSigner({})", self.verifier_key())
    }
}

// === impl NoteKey ===

impl NoteKey {
    /// Reads a verifier key: `name+hash+base64(type || public key)`.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`] for anything else, [`NoteError::Key`] for a key that proves nothing.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::VerifierKey)?;
        let (hash, key) = rest.split_once('+').ok_or(NoteError::VerifierKey)?;
        check_name(name)?;
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::VerifierKey)?;
        let Some((&ED25519_TYPE, public_key)) = bytes.split_first() else {
            return Err(NoteError::VerifierKey);
        };
        let public_key = public_key.try_into().map_err(|_| NoteError::VerifierKey)?;
        let key_hash = key_hash(name, &public_key);
        if hash != hash_text(key_hash) {
            return Err(NoteError::VerifierKey);
        }
        Ok(Self { key: VerifyingKey::new(public_key)?, name: name.to_owned(), key_hash })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl core::fmt::Display for NoteKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&verifier_key(&self.name, self.key_hash, self.key.as_bytes()))
    }
}

/// Checks a note's signature by `key`, and gives the text out.
///
/// Signatures by other keys are ignored, as the specification asks; each one that names this key must be
/// valid.
///
/// # Errors
/// [`NoteRefusal`] if none is by this key or one of them is not valid.
pub fn verify_note(key: &NoteKey, note: Unverified<Note>) -> Result<Verified<String>, NoteRefusal> {
    let note = note.into_unchecked();
    let mut own =
        note.signatures.iter().filter(|s| s.name == key.name && s.key_hash == key.key_hash).peekable();
    if own.peek().is_none() {
        return Err(NoteRefusal::Unsigned);
    }
    if own.any(|s| !key.key.has_signed(note.text.as_bytes(), &s.signature)) {
        return Err(NoteRefusal::BadSignature);
    }
    Ok(Verified::attest(note.text))
}

fn check_name(name: &str) -> Result<(), NoteError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
        return Err(NoteError::Name(name.chars().take(64).collect()));
    }
    Ok(())
}

/// The first four bytes of `SHA-256(name || LF || type || public key)`.
fn key_hash(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    let digest = Digest::sha256_parts(&[name.as_bytes(), b"\n", &[ED25519_TYPE], public_key]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

fn hash_text(key_hash: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(key_hash))
}

fn verifier_key(name: &str, key_hash: [u8; 4], public_key: &[u8; 32]) -> String {
    let key = STANDARD.encode([[ED25519_TYPE].as_slice(), public_key].concat());
    format!("{name}+{}+{key}", hash_text(key_hash))
}
