//! A heartbeat's envelope opened with nothing but JSON, base64 and raw Ed25519.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use wire::dsse::{Envelope, Signature};

/// The payload type of heartbeats, written out: the constant that signs must not be the one that checks.
const PAYLOAD_TYPE: &str = "application/vnd.palisade.heartbeat+json;v=1";

/// How many bytes of the payload are flipped: spread over all of it.
const PAYLOAD_FLIPS: usize = 64;

/// An envelope's parts.
pub(super) struct Opened {
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) is_base64: bool,
}

impl Opened {
    /// Opens a DSSE v1 envelope with one signature.
    pub(super) fn new(envelope: &[u8]) -> Option<Self> {
        let envelope: Value = serde_json::from_slice(envelope).ok()?;
        if envelope.get("payloadType")?.as_str()? != PAYLOAD_TYPE {
            return None;
        }
        let [signature] = envelope.get("signatures")?.as_array()?.as_slice() else { return None };
        let (sig, payload) = (signature.get("sig")?.as_str()?, envelope.get("payload")?.as_str()?);
        let (signature, decoded) = (STANDARD.decode(sig).ok()?, STANDARD.decode(payload).ok()?);
        let is_base64 = STANDARD.encode(&signature) == sig && STANDARD.encode(&decoded) == payload;
        Some(Self { payload: decoded, signature, is_base64 })
    }

    /// The payload as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }

    /// Whether the signature is the key's over payload and type.
    pub(super) fn verifies(&self, public_key: &[u8; 32]) -> bool {
        verifies(public_key, &self.payload, &self.signature)
    }

    /// Flips one bit at a time, in every byte of the signature and in bytes all over the payload: how many, and how
    /// many of those are `accepted` all the same.
    pub(super) fn flips(&self, accepted: impl Fn(Envelope) -> bool) -> (u64, u64) {
        let step = self.payload.len().div_ceil(PAYLOAD_FLIPS).max(1);
        let payloads = (0..self.payload.len()).step_by(step);
        let payloads = payloads.map(|at| envelope(&flipped(&self.payload, at), &self.signature));
        let signatures =
            (0..self.signature.len()).map(|at| envelope(&self.payload, &flipped(&self.signature, at)));
        payloads
            .chain(signatures)
            .fold((0, 0), |(tried, taken), flipped| (tried + 1, taken + u64::from(accepted(flipped))))
    }
}

fn envelope(payload: &[u8], signature: &[u8]) -> Envelope {
    let signature = Signature { keyid: String::new(), sig: STANDARD.encode(signature) };
    Envelope {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![signature],
    }
}

/// Over `DSSEv1 SP len(type) SP type SP len(payload) SP payload` (DSSE v1, protocol).
fn verifies(public_key: &[u8; 32], payload: &[u8], signature: &[u8]) -> bool {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    let signed = [head.as_bytes(), payload].concat();
    UnparsedPublicKey::new(&ED25519, public_key).verify(&signed, signature).is_ok()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    if let Some(byte) = flipped.get_mut(at) {
        *byte ^= 1 << (at % 8);
    }
    flipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use notary::SidecarKey;
    use serde_json::json;

    #[test]
    fn an_envelope_of_ours_opens_and_verifies_with_its_own_key_alone() {
        let (key, envelope) = signed(b"{\"counter\":7}");
        let opened = Opened::new(&serde_json::to_vec(&envelope).unwrap()).unwrap();
        assert!(opened.is_base64 && opened.verifies(&key.public_key()));
        assert_eq!((opened.signature.len(), opened.json()["counter"].as_u64()), (64, Some(7)));
        assert!(!opened.verifies(&SidecarKey::generate().unwrap().0.public_key()));
    }

    #[test]
    fn all_parts_are_flipped_and_whatever_takes_one_is_seen() {
        let (key, envelope) = signed(&[b'x'; 640]);
        let opened = Opened::new(&serde_json::to_vec(&envelope).unwrap()).unwrap();
        let strict = |flipped: Envelope| {
            let flipped = Opened::new(&serde_json::to_vec(&flipped).unwrap()).unwrap();
            flipped.verifies(&key.public_key())
        };
        assert_eq!(opened.flips(strict), (64 + 64, 0));
        let blind_to_the_signature = |flipped: Envelope| flipped.payload == envelope.payload;
        assert_eq!(opened.flips(blind_to_the_signature), (64 + 64, 64));
        let blind_to_the_payload = |flipped: Envelope| flipped.payload != envelope.payload;
        assert_eq!(opened.flips(blind_to_the_payload), (64 + 64, 64));
    }

    #[test]
    fn what_is_not_one_signed_heartbeat_does_not_open() {
        let (_, envelope) = signed(b"{}");
        let good = serde_json::to_value(&envelope).unwrap();
        for (pointer, value) in [
            ("/payloadType", json!("application/json")),
            ("/signatures", json!([])),
            ("/signatures/0/sig", json!("AA=")),
            ("/payload", json!(7)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(Opened::new(bad.to_string().as_bytes()).is_none(), "{pointer}");
        }
    }

    fn signed(payload: &[u8]) -> (SidecarKey, wire::dsse::Envelope) {
        let (key, _) = SidecarKey::generate().unwrap();
        let envelope = key.sign(wire::heartbeat::PAYLOAD_TYPE, payload).unwrap();
        (key, envelope)
    }
}
