//! Envelopes (DSSE v1) under Ed25519: what a sidecar swears to.

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::{KeyError, Pkcs8, SignError};
use terms::{Digest, Unverified, Verified};
use wire::dsse::{self, Envelope, EnvelopeError};

/// A key pair that signs envelopes. It is born where it signs and never leaves.
pub struct SidecarKey(SigningKey);

/// The public key of one signer of envelopes.
#[derive(Debug, Clone)]
pub struct EnvelopeKey(VerifyingKey);

/// Says why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeRefusal {
    /// Not an envelope of the expected payload type.
    #[error(transparent)]
    Malformed(#[from] EnvelopeError),
    /// The signature is not the key's over this payload and type.
    #[error("the signature is not valid")]
    BadSignature,
}

// === impl SidecarKey ===

impl SidecarKey {
    /// Generates a key pair, and the private key for the signer's own 0600 file.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system gives no entropy.
    pub fn generate() -> Result<(Self, Pkcs8), KeyError> {
        let (key, pkcs8) = SigningKey::generate()?;
        Ok((Self(key), pkcs8))
    }

    /// Reads a kept key pair.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] for anything but an Ed25519 private key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8(pkcs8).map(Self)
    }

    /// The public key, as it is enrolled.
    #[must_use]
    pub const fn public_key(&self) -> [u8; 32] {
        *self.0.public_key()
    }

    /// Signs `payload` as a value of `payload_type`.
    ///
    /// # Errors
    /// [`SignError::Sign`] if the crypto provider refuses.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Envelope, SignError> {
        let signature = self.0.sign(&dsse::pre_authentication_encoding(payload_type, payload))?;
        Ok(Envelope::new(payload_type, payload, &key_hint(self.0.public_key()), &signature))
    }
}

impl core::fmt::Debug for SidecarKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SidecarKey({})", key_hint(self.0.public_key()))
    }
}

// === impl EnvelopeKey ===

impl EnvelopeKey {
    /// Takes an enrolled public key.
    ///
    /// # Errors
    /// [`KeyError::Point`] for a point of small order or in a non-canonical form: such a key's signatures
    /// prove nothing.
    pub fn new(public_key: [u8; 32]) -> Result<Self, KeyError> {
        VerifyingKey::new(public_key).map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

// === impl EnvelopeRefusal ===

impl EnvelopeRefusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(EnvelopeError::PayloadType(_)) => "envelope.wrong_type",
            Self::Malformed(
                EnvelopeError::Json(_)
                | EnvelopeError::Signatures
                | EnvelopeError::Encoding
                | EnvelopeError::SignatureLength,
            ) => "envelope.malformed",
            Self::BadSignature => "envelope.bad_signature",
        }
    }
}

/// Checks an envelope's signature over its payload's exact bytes and type, and gives the payload out.
///
/// The envelope's `keyid` is a hint for people and takes no part.
///
/// # Errors
/// [`EnvelopeRefusal`], the first thing that is wrong.
pub fn verify_envelope(
    key: &EnvelopeKey,
    envelope: Unverified<Envelope>,
    payload_type: &'static str,
) -> Result<Verified<Vec<u8>>, EnvelopeRefusal> {
    let decoded = envelope.unchecked().decode(payload_type)?;
    let signed = dsse::pre_authentication_encoding(payload_type, &decoded.payload);
    if !key.0.has_signed(&signed, &decoded.signature) {
        return Err(EnvelopeRefusal::BadSignature);
    }
    Ok(Verified::attest(decoded.payload))
}

fn key_hint(public_key: &[u8; 32]) -> String {
    Digest::sha256(public_key).to_string()
}
