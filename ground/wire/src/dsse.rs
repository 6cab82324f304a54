//! DSSE v1: an envelope whose signature covers the payload's exact bytes and its type.

use crate::json::{self, Bounds, JsonError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bounds of an envelope; a heartbeat's has about 1.2 kB.
pub const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, depth: 4, nodes: 16 };

/// The envelope as it travels (DSSE v1 JSON form).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The payload, standard base64.
    pub payload: String,
    /// The payload's media type.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Exactly one signature.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// A hint which key signed; never trusted.
    pub keyid: String,
    /// The 64-byte signature (Ed25519, or ES256 as r and s), standard base64.
    pub sig: String,
}

/// An envelope, decoded but not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The payload's exact bytes.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: [u8; 64],
}

/// Says why bytes are not an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not strict JSON of an envelope's shape.
    #[error("not an envelope: {0}")]
    Json(#[from] JsonError),
    /// Another payload type than expected.
    #[error("the payload type is not `{0}`")]
    PayloadType(&'static str),
    /// No signature or more than one.
    #[error("an envelope carries exactly one signature")]
    Signatures,
    /// Not canonical standard base64.
    #[error("payload or signature is not canonical base64")]
    Encoding,
    /// The signature does not have 64 bytes.
    #[error("the signature does not have 64 bytes")]
    SignatureLength,
}

/// The bytes that are signed: `DSSEv1 SP len(type) SP type SP len(payload) SP payload`.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Wraps `payload` and its signature.
    #[must_use]
    pub fn new(payload_type: &str, payload: &[u8], keyid: &str, signature: &[u8; 64]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![Signature { keyid: keyid.to_owned(), sig: STANDARD.encode(signature) }],
        }
    }

    /// Reads an envelope from bytes.
    ///
    /// # Errors
    /// [`EnvelopeError::Json`] for anything but an envelope's strict JSON.
    pub fn read(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(json::read(bytes, &BOUNDS)?)
    }

    /// Takes payload and signature out, if the payload is of the expected type.
    ///
    /// # Errors
    /// [`EnvelopeError`], the first thing that is wrong.
    pub fn decode(&self, expected_type: &'static str) -> Result<Decoded, EnvelopeError> {
        if self.payload_type != expected_type {
            return Err(EnvelopeError::PayloadType(expected_type));
        }
        let [signature] = self.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures);
        };
        let payload = STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::Encoding)?;
        let signature = STANDARD.decode(&signature.sig).map_err(|_| EnvelopeError::Encoding)?;
        let signature = signature.try_into().map_err(|_| EnvelopeError::SignatureLength)?;
        Ok(Decoded { payload, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pre_authentication_encoding_is_the_one_in_the_specification() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_with_no_signature_or_two_is_refused() {
        let one = Envelope::new("t", b"x", "k", &[0; 64]);
        let none = Envelope { signatures: vec![], ..one.clone() };
        let two =
            Envelope { signatures: [one.signatures.clone(), one.signatures.clone()].concat(), ..one.clone() };
        assert!(one.decode("t").is_ok());
        assert_eq!(none.decode("t"), Err(EnvelopeError::Signatures));
        assert_eq!(two.decode("t"), Err(EnvelopeError::Signatures));
        assert_eq!(one.decode("u"), Err(EnvelopeError::PayloadType("u")));
    }

    #[test]
    fn an_envelope_with_other_base64_is_refused() {
        let good = Envelope::new("t", b"x", "k", &[0; 64]);
        for payload in ["eA", "eA=", "eB==", "eA==\n", "_w=="] {
            let bad = Envelope { payload: payload.to_owned(), ..good.clone() };
            assert_eq!(bad.decode("t"), Err(EnvelopeError::Encoding), "{payload}");
        }
    }
}
