//! Envelopes: only what the key signed, as the type that it signed, comes out.

use notary::{EnvelopeKey, EnvelopeRefusal, KeyError, SidecarKey, verify_envelope};
use terms::Unverified;
use wire::dsse::{Envelope, EnvelopeError};

const TYPE: &str = "application/vnd.palisade.test+json;v=1";

#[test]
fn a_signed_payload_comes_out_byte_for_byte_also_after_its_key_was_kept() {
    let (key, pkcs8) = SidecarKey::generate().unwrap();
    let kept = SidecarKey::from_pkcs8(&pkcs8).unwrap();
    assert_eq!(kept.public_key(), key.public_key());
    let envelope = kept.sign(TYPE, b"{ \"a\" : 1 }").unwrap();
    let sent = serde_json::to_vec(&envelope).unwrap();
    let payload = verify(&key, Envelope::read(&sent).unwrap(), TYPE).unwrap();
    assert_eq!(payload, b"{ \"a\" : 1 }");
}

#[test]
fn any_flipped_bit_of_payload_or_signature_is_refused() {
    let key = SidecarKey::generate().unwrap().0;
    let decoded = key.sign(TYPE, b"payload").unwrap().decode(TYPE).unwrap();
    for bit in 0..decoded.payload.len() * 8 {
        let mut payload = decoded.payload.clone();
        payload[bit / 8] ^= 1 << (bit % 8);
        let envelope = Envelope::new(TYPE, &payload, "", &decoded.signature);
        assert_eq!(verify(&key, envelope, TYPE), Err(EnvelopeRefusal::BadSignature), "payload bit {bit}");
    }
    for bit in 0..decoded.signature.len() * 8 {
        let mut signature = decoded.signature;
        signature[bit / 8] ^= 1 << (bit % 8);
        let envelope = Envelope::new(TYPE, &decoded.payload, "", &signature);
        assert_eq!(verify(&key, envelope, TYPE), Err(EnvelopeRefusal::BadSignature), "signature bit {bit}");
    }
}

#[test]
fn another_type_another_key_and_another_key_hint_are_told_apart() {
    let (key, other) = (SidecarKey::generate().unwrap().0, SidecarKey::generate().unwrap().0);
    let mut envelope = key.sign(TYPE, b"payload").unwrap();
    let wrong_type = verify(&key, envelope.clone(), "application/other").unwrap_err();
    assert_eq!(wrong_type, EnvelopeRefusal::Malformed(EnvelopeError::PayloadType("application/other")));
    assert_eq!(wrong_type.code(), "envelope.wrong_type");
    assert_eq!(verify(&other, envelope.clone(), TYPE), Err(EnvelopeRefusal::BadSignature));
    // The type is signed, not only compared.
    envelope.payload_type = "application/other".into();
    assert_eq!(verify(&key, envelope.clone(), "application/other"), Err(EnvelopeRefusal::BadSignature));
    envelope.payload_type = TYPE.into();
    envelope.signatures[0].keyid = "a lie".into();
    assert!(verify(&key, envelope, TYPE).is_ok());
}

#[test]
fn each_malformed_envelope_has_its_code() {
    let key = SidecarKey::generate().unwrap().0;
    let good = key.sign(TYPE, b"payload").unwrap();
    let none = Envelope { signatures: vec![], ..good.clone() };
    let two =
        Envelope { signatures: [good.signatures.clone(), good.signatures.clone()].concat(), ..good.clone() };
    let encoding = Envelope { payload: "cGF5bG9hZB==".into(), ..good.clone() };
    for envelope in [none, two, encoding] {
        assert_eq!(verify(&key, envelope, TYPE).unwrap_err().code(), "envelope.malformed");
    }
    let forged = Envelope::new(TYPE, b"payload", "", &[0; 64]);
    assert_eq!(verify(&key, forged, TYPE).unwrap_err().code(), "envelope.bad_signature");
}

#[test]
fn keys_that_prove_nothing_are_not_enrolled() {
    let identity = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    assert_eq!(EnvelopeKey::new(identity).err(), Some(KeyError::Point));
    let key = SidecarKey::generate().unwrap().0;
    assert_eq!(EnvelopeKey::new(key.public_key()).unwrap().as_bytes(), &key.public_key());
}

#[test]
fn a_private_key_of_another_kind_is_refused_and_none_is_shown() {
    let (plan_signer, p256) = notary::PlanSigner::generate().unwrap();
    assert_eq!(SidecarKey::from_pkcs8(&p256).err(), Some(KeyError::Pkcs8));
    assert_eq!(SidecarKey::from_pkcs8(b"").err(), Some(KeyError::Pkcs8));
    let (key, ed25519) = SidecarKey::generate().unwrap();
    assert_eq!(notary::PlanSigner::from_pkcs8(&ed25519).err(), Some(KeyError::Pkcs8));
    let shown = format!("{plan_signer:?} {key:?}");
    assert!(shown.len() < 200, "{shown}");
}

fn verify(
    key: &SidecarKey,
    envelope: Envelope,
    payload_type: &'static str,
) -> Result<Vec<u8>, EnvelopeRefusal> {
    let key = EnvelopeKey::new(key.public_key()).unwrap();
    verify_envelope(&key, Unverified::new(envelope), payload_type).map(terms::Verified::into_inner)
}
