//! Plan keys: exactly P-256 signature keys under their own thumbprints.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::{KeyError, KeySet, PlanKey, PlanSigner, SignError};
use terms::{Digest, KeyId, PlanId, TenantId};
use wire::jwks::{Jwk, Jwks};
use wire::plan_token::{Claims, Header, PlanToken, signing_input};

#[test]
fn a_signers_public_key_is_read_back_under_the_same_id() {
    let (signer, pkcs8) = PlanSigner::generate().unwrap();
    let kept = PlanSigner::from_pkcs8(&pkcs8).unwrap();
    assert_eq!((kept.jwk(), kept.kid()), (signer.jwk(), signer.kid()));
    assert_eq!(PlanKey::from_jwk(&signer.jwk()).unwrap().kid(), signer.kid());
    assert_eq!(*signer.kid(), thumbprint(&signer.jwk()));
}

#[test]
fn a_token_is_exactly_what_the_wire_says_is_signed() {
    let (signer, _) = PlanSigner::generate().unwrap();
    let claims = claims(1_700_000_000, 1_700_000_300);
    let token = signer.sign(&claims).unwrap();
    let header = Header { alg: "ES256".into(), typ: "palisade-plan+jwt".into(), kid: signer.kid().clone() };
    assert_eq!(token.rsplit_once('.').unwrap().0, signing_input(&header, &claims).unwrap());
    assert_eq!(PlanToken::split(&token).unwrap().claims().unwrap(), claims);
}

#[test]
fn a_token_of_another_lifetime_is_never_signed() {
    let (signer, _) = PlanSigner::generate().unwrap();
    for (iat, exp) in [(100, 399), (100, 401), (100, 100), (i64::MAX, i64::MAX), (-1, 299)] {
        assert_eq!(signer.sign(&claims(iat, exp)), Err(SignError::Lifetime), "{iat} {exp}");
    }
    let late = Claims { nbf: 101, ..claims(100, 400) };
    assert_eq!(signer.sign(&late), Err(SignError::Lifetime));
}

#[test]
fn every_member_of_a_key_must_be_right() {
    let good = PlanSigner::generate().unwrap().0.jwk();
    let row = |change: fn(&mut Jwk)| {
        let mut jwk = good.clone();
        change(&mut jwk);
        PlanKey::from_jwk(&jwk).err()
    };
    assert_eq!(row(|k| k.kty = "RSA".into()), Some(KeyError::Type));
    assert_eq!(row(|k| k.crv = "P-384".into()), Some(KeyError::Curve));
    assert_eq!(row(|k| k.crv = "secp256k1".into()), Some(KeyError::Curve));
    assert_eq!(row(|k| k.alg = "ES384".into()), Some(KeyError::Algorithm));
    assert_eq!(row(|k| k.alg = "HS256".into()), Some(KeyError::Algorithm));
    assert_eq!(row(|k| k.use_ = "enc".into()), Some(KeyError::Use));
    assert_eq!(row(|k| k.x.push('=')), Some(KeyError::Coordinate));
    assert_eq!(row(|k| k.x = URL_SAFE_NO_PAD.encode([0; 31])), Some(KeyError::Coordinate));
    assert_eq!(row(|k| k.y = URL_SAFE_NO_PAD.encode([0; 33])), Some(KeyError::Coordinate));
    assert_eq!(row(|k| k.kid = "k".repeat(43).parse().unwrap()), Some(KeyError::Thumbprint));
    assert_eq!(row(|k| core::mem::swap(&mut k.x, &mut k.y)), Some(KeyError::Thumbprint));
}

#[test]
fn bytes_that_are_no_point_of_the_curve_are_refused_even_under_their_own_thumbprint() {
    let good = PlanSigner::generate().unwrap().0.jwk();
    let prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rows = [
        (coordinate(&[0; 32]), coordinate(&[0; 32])),
        (good.x.clone(), good.x.clone()),
        (coordinate(&[0xff; 32]), good.y.clone()),
        (coordinate(&hex::decode(prime).unwrap()), good.y.clone()),
    ];
    for (x, y) in rows {
        let mut jwk = Jwk { x, y, ..good.clone() };
        jwk.kid = thumbprint(&jwk);
        assert_eq!(PlanKey::from_jwk(&jwk).err(), Some(KeyError::Point), "{jwk:?}");
    }
}

#[test]
fn a_private_key_on_another_curve_is_refused() {
    let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    assert_eq!(PlanSigner::from_pkcs8(p384.as_ref()).err(), Some(KeyError::Pkcs8));
}

#[test]
fn a_set_keeps_its_good_keys_and_names_what_is_wrong_with_the_others() {
    let good = PlanSigner::generate().unwrap().0.jwk();
    let bad = Jwk { use_: "enc".into(), ..PlanSigner::generate().unwrap().0.jwk() };
    let (set, refused) = KeySet::from_jwks(&Jwks { keys: vec![bad.clone(), good.clone()] });
    assert_eq!(refused, [KeyError::Use]);
    assert!(set.find(&good.kid).is_some() && set.find(&bad.kid).is_none());
    assert!(KeySet::from_jwks(&Jwks { keys: vec![bad] }).0.is_empty());
}

/// RFC 7638, written out again so that the code is not its own witness.
fn thumbprint(jwk: &Jwk) -> KeyId {
    let members = serde_json::json!({ "crv": jwk.crv, "kty": jwk.kty, "x": jwk.x, "y": jwk.y });
    let digest = Digest::sha256(members.to_string().as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_bytes()).parse().unwrap()
}

fn claims(iat: i64, exp: i64) -> Claims {
    Claims {
        iss: "https://localhost:8443".into(),
        sub: TenantId::from_bytes([1; 16]),
        aud: "spiffe://palisade.internal/x".into(),
        iat,
        nbf: iat,
        exp,
        jti: PlanId::from_bytes([2; 16]),
        plan_hash: Digest::sha256(b""),
        plan_len: 0,
    }
}
