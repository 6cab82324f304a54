//! A compact JWS taken apart and verified with nothing but base64, JSON and raw ES256, so that a fault of our own
//! parser cannot hide itself.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use terms::Digest;

/// A token's parts, decoded.
pub(super) struct TakenApart {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl TakenApart {
    /// Takes a compact JWS apart (RFC 7515, section 7.1).
    pub(super) fn new(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }

    /// A text of the header, empty if there is none.
    pub(super) fn header_text(&self, name: &str) -> String {
        text(&self.header, name)
    }

    /// A text of the claims, empty if there is none.
    pub(super) fn claim_text(&self, name: &str) -> String {
        text(&self.claims, name)
    }

    /// A number of the claims, 0 if there is none.
    pub(super) fn claim_number(&self, name: &str) -> i64 {
        self.claims.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    /// Whether the set has the key that the header names, and that key made the signature.
    pub(super) fn is_signed_by(&self, jwks: &Value) -> bool {
        let keys = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let kid = self.header_text("kid");
        let point = keys.iter().find(|key| text(key, "kid") == kid).and_then(point);
        point.is_some_and(|point| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
        })
    }
}

/// Whether a JWK is a public P-256 key for ES256 under its own thumbprint (RFC 7638), with nothing private in it.
pub(super) fn is_sound(jwk: &Value) -> bool {
    let (x, y) = (text(jwk, "x"), text(jwk, "y"));
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(Digest::sha256(members.as_bytes()).as_bytes());
    let wanted = [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig"), ("kid", &thumbprint)];
    wanted.iter().all(|(name, value)| text(jwk, name) == *value)
        && jwk.get("d").is_none()
        && point(jwk).is_some_and(|point| point.len() == 65)
}

/// The uncompressed point (SEC 1, section 2.3.3).
fn point(jwk: &Value) -> Option<Vec<u8>> {
    Some([vec![4], decode(&text(jwk, "x"))?, decode(&text(jwk, "y"))?].concat())
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

fn text(object: &Value, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notary::PlanSigner;
    use serde_json::json;
    use terms::{PlanId, TenantId};
    use wire::plan_token::Claims;

    #[test]
    fn a_token_of_ours_comes_apart_and_verifies_with_its_own_key_alone() {
        let (signer, _) = PlanSigner::generate().unwrap();
        let taken = TakenApart::new(&signer.sign(&claims()).unwrap()).unwrap();
        assert_eq!(
            (taken.header_text("alg").as_str(), taken.claim_text("iss").as_str()),
            ("ES256", "https://x")
        );
        assert_eq!(taken.claim_number("exp") - taken.claim_number("iat"), 300);
        assert!(taken.is_signed_by(&json!({ "keys": [signer.jwk()] })));
        let other = PlanSigner::generate().unwrap().0.jwk();
        let disguised = json!({ "kid": signer.kid(), "x": other.x, "y": other.y });
        for wrong in
            [json!({ "keys": [other] }), json!({ "keys": [disguised] }), json!({ "keys": [] }), json!([])]
        {
            assert!(!taken.is_signed_by(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_changed_token_does_not_verify() {
        let (signer, _) = PlanSigner::generate().unwrap();
        let mut taken = TakenApart::new(&signer.sign(&claims()).unwrap()).unwrap();
        taken.signed.push('A');
        assert!(!taken.is_signed_by(&json!({ "keys": [signer.jwk()] })));
    }

    #[test]
    fn a_key_is_sound_only_as_it_is_served() {
        let good = serde_json::to_value(PlanSigner::generate().unwrap().0.jwk()).unwrap();
        assert!(is_sound(&good));
        for (name, value) in [
            ("kty", "RSA"),
            ("crv", "P-384"),
            ("alg", "HS256"),
            ("use", "enc"),
            ("kid", "k"),
            ("x", "AA"),
            ("d", "secret"),
        ] {
            let mut bad = good.clone();
            bad[name] = json!(value);
            assert!(!is_sound(&bad), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_jws_does_not_come_apart() {
        for bad in ["", "a.b", "a.b.c", "e30.e30.!", "e30=.e30.AA"] {
            assert!(TakenApart::new(bad).is_none(), "{bad}");
        }
    }

    fn claims() -> Claims {
        Claims {
            iss: "https://x".to_owned(),
            sub: TenantId::from_bytes([1; 16]),
            aud: "a".to_owned(),
            iat: 1_000,
            nbf: 1_000,
            exp: 1_300,
            jti: PlanId::from_bytes([2; 16]),
            plan_hash: Digest::sha256(b"plan"),
            plan_len: 4,
        }
    }
}
