//! Hosts' networks: envelopes (DSSE v1) under ES256, by a key that also signs plans.
//!
//! One key signs two formats, so neither may ever pass as the other. What is signed of an envelope begins with
//! `DSSEv1 ` and holds blanks; what is signed of a token is base64url with one full stop, which has no blank.

use crate::{PlanKey, PlanSigner, SignError};
use std::sync::Arc;
use terms::{KeyId, Unverified, Verified};
use wire::dsse::{self, Envelope, EnvelopeError};
use wire::json::JsonError;
use wire::networks::{HostNetworks, PAYLOAD_TYPE, SignedNetworks, SignedNetworksError};

/// Says why a host's networks are refused. The list is closed: counters and events use its codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksRefusal {
    /// Not an envelope around a host's networks.
    #[error(transparent)]
    Envelope(#[from] SignedNetworksError),
    /// No usable key has the envelope's key id.
    #[error("the key `{0}` is not known")]
    UnknownKey(KeyId),
    /// The signature is not the key's over this payload and type.
    #[error("the signature is not valid")]
    BadSignature,
    /// The bytes are what was signed, but not a host's networks.
    #[error("the networks are refused: {0}")]
    Malformed(#[from] JsonError),
}

// === impl PlanSigner ===

impl PlanSigner {
    /// Signs the networks of one host, and gives the envelope's bytes.
    ///
    /// # Errors
    /// [`SignError::Write`] for what no host could read again, [`SignError::Sign`] if the crypto provider refuses.
    pub fn sign_networks(&self, networks: &HostNetworks) -> Result<Vec<u8>, SignError> {
        let payload = networks.write().map_err(|_| SignError::Write)?;
        HostNetworks::read(&payload).map_err(|_| SignError::Write)?;
        let signature = self.sign_bytes(&dsse::pre_authentication_encoding(PAYLOAD_TYPE, &payload))?;
        let envelope = Envelope::new(PAYLOAD_TYPE, &payload, self.kid().as_str(), &signature);
        serde_json::to_vec(&envelope).map_err(|_| SignError::Write)
    }
}

// === impl NetworksRefusal ===

impl NetworksRefusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Envelope(SignedNetworksError::Envelope(EnvelopeError::PayloadType(_))) => {
                "networks.wrong_type"
            }
            Self::Envelope(SignedNetworksError::Envelope(EnvelopeError::Json(JsonError::TooLarge {
                ..
            }))) => "networks.too_large",
            Self::Envelope(
                SignedNetworksError::KeyId
                | SignedNetworksError::Envelope(
                    EnvelopeError::Json(JsonError::Malformed(_))
                    | EnvelopeError::Signatures
                    | EnvelopeError::Encoding
                    | EnvelopeError::SignatureLength,
                ),
            ) => "networks.envelope",
            Self::UnknownKey(_) => "networks.unknown_key",
            Self::BadSignature => "networks.bad_signature",
            Self::Malformed(_) => "networks.malformed",
        }
    }
}

/// Checks the signature over a host's networks, and only then reads them.
///
/// For which host they are, and whether a later version is there already, is for that host's node to judge.
/// A signature stays valid with `s` replaced by `n - s` (ECDSA is malleable): nothing is keyed by it.
///
/// # Errors
/// [`NetworksRefusal`], the first thing that is wrong.
pub fn verify_networks(
    signed: Unverified<SignedNetworks>,
    find_key: impl FnOnce(&KeyId) -> Option<Arc<PlanKey>>,
) -> Result<Verified<HostNetworks>, NetworksRefusal> {
    let signed = signed.into_unchecked();
    let kid = signed.kid();
    let Some(key) = find_key(kid).filter(|key| key.kid() == kid) else {
        return Err(NetworksRefusal::UnknownKey(kid.clone()));
    };
    let message = dsse::pre_authentication_encoding(PAYLOAD_TYPE, signed.payload());
    if !key.has_signed(&message, signed.signature()) {
        return Err(NetworksRefusal::BadSignature);
    }
    Ok(Verified::attest(HostNetworks::read(signed.payload())?))
}
