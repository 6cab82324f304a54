//! Plan keys: P-256 pairs that sign plan tokens and hosts' networks, and the public keys that check them.

use crate::{KeyError, Pkcs8, SignError, plan_token};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::sync::Arc;
use terms::{Digest, KeyId};
use wire::jwks::{Jwk, Jwks};
use wire::plan_token::{ALG, Claims, Header, TYP};

/// Bytes of one coordinate of a P-256 point.
const COORDINATE_BYTES: usize = 32;

/// First byte of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// A key pair that signs plan tokens. The private key is parsed once.
pub struct PlanSigner {
    pair: EcdsaKeyPair,
    jwk: Jwk,
    encoded_header: String,
}

/// A public plan key, parsed once.
#[derive(Debug, Clone)]
pub struct PlanKey {
    kid: KeyId,
    key: ParsedPublicKey,
}

/// The public keys that a plan token may be signed with, by key id.
#[derive(Debug, Clone, Default)]
pub struct KeySet(BTreeMap<KeyId, Arc<PlanKey>>);

// === impl PlanSigner ===

impl PlanSigner {
    /// Generates a key pair, and the private key for whoever seals and keeps it.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system gives no entropy.
    pub fn generate() -> Result<(Self, Pkcs8), KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generate)?;
        let pkcs8 = Pkcs8::new(document.as_ref().to_vec());
        Ok((Self::from_pkcs8(&pkcs8)?, pkcs8))
    }

    /// Reads a kept key pair.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] for anything but a P-256 private key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| KeyError::Pkcs8)?;
        let jwk = jwk_of_point(pair.public_key().as_ref())?;
        let header = Header { alg: ALG.to_owned(), typ: TYP.to_owned(), kid: jwk.kid.clone() };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Pkcs8)?;
        Ok(Self { pair, jwk, encoded_header: URL_SAFE_NO_PAD.encode(header) })
    }

    /// The key's RFC 7638 thumbprint.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.jwk.kid
    }

    /// The public key, as the JWKS serves it.
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        self.jwk.clone()
    }

    /// Signs `claims`: a compact JWS (RFC 7515 section 3.1).
    ///
    /// # Errors
    /// [`SignError::Lifetime`] for claims that do not live for exactly a plan token's lifetime.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        if !plan_token::has_plan_lifetime(claims) {
            return Err(SignError::Lifetime);
        }
        let claims = serde_json::to_vec(claims).map_err(|_| SignError::Write)?;
        let mut token = self.encoded_header.clone();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.sign_bytes(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The signature over `message`: r and s (RFC 7518 section 3.4). What is signed says what it is.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| SignError::Sign)?;
        signature.as_ref().try_into().map_err(|_| SignError::Sign)
    }
}

impl core::fmt::Debug for PlanSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PlanSigner({})", self.jwk.kid)
    }
}

// === impl PlanKey ===

impl PlanKey {
    /// Reads a public key, if it is exactly what plan tokens are signed with.
    ///
    /// # Errors
    /// [`KeyError`], the first thing that is wrong.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let required = [
            (jwk.kty.as_str(), "EC", KeyError::Type),
            (jwk.crv.as_str(), "P-256", KeyError::Curve),
            (jwk.alg.as_str(), ALG, KeyError::Algorithm),
            (jwk.use_.as_str(), "sig", KeyError::Use),
        ];
        for (found, wanted, error) in required {
            if found != wanted {
                return Err(error);
            }
        }
        let (x, y) = (coordinate(&jwk.x)?, coordinate(&jwk.y)?);
        if thumbprint(&jwk.x, &jwk.y)? != jwk.kid {
            return Err(KeyError::Thumbprint);
        }
        let point = [[UNCOMPRESSED].as_slice(), &x, &y].concat();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Point)?;
        Ok(Self { kid: jwk.kid.clone(), key })
    }

    /// The key's RFC 7638 thumbprint.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// Whether `signature` (r and s, RFC 7518 section 3.4) is this key's over `message`.
    #[must_use]
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads the usable keys of `jwks`, and says what is wrong with the others.
    #[must_use]
    pub fn from_jwks(jwks: &Jwks) -> (Self, Vec<KeyError>) {
        let (mut keys, mut refused) = (BTreeMap::new(), Vec::new());
        for jwk in &jwks.keys {
            match PlanKey::from_jwk(jwk) {
                Ok(key) => drop(keys.insert(key.kid.clone(), Arc::new(key))),
                Err(error) => refused.push(error),
            }
        }
        (Self(keys), refused)
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, kid: &KeyId) -> Option<Arc<PlanKey>> {
        self.0.get(kid).cloned()
    }

    /// Whether no token can be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn jwk_of_point(point: &[u8]) -> Result<Jwk, KeyError> {
    let coordinates = point.strip_prefix(&[UNCOMPRESSED]).ok_or(KeyError::Point)?;
    let (x, y) = coordinates.split_at_checked(COORDINATE_BYTES).ok_or(KeyError::Point)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    Ok(Jwk {
        kty: "EC".to_owned(),
        crv: "P-256".to_owned(),
        kid: thumbprint(&x, &y)?,
        x,
        y,
        use_: "sig".to_owned(),
        alg: ALG.to_owned(),
    })
}

fn coordinate(text: &str) -> Result<[u8; COORDINATE_BYTES], KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Coordinate)?;
    bytes.try_into().map_err(|_| KeyError::Coordinate)
}

/// RFC 7638 section 3: the hash of the required members in lexicographic order, without white space.
fn thumbprint(x: &str, y: &str) -> Result<KeyId, KeyError> {
    let members = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
    let digest = Digest::sha256(members.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_bytes()).parse().map_err(|_| KeyError::Thumbprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_es256_example_of_rfc_7515_verifies() {
        let (x, y) =
            ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let jwk = Jwk {
            kty: "EC".into(),
            crv: "P-256".into(),
            kid: thumbprint(x, y).unwrap(),
            x: x.into(),
            y: y.into(),
            use_: "sig".into(),
            alg: "ES256".into(),
        };
        let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap().try_into().unwrap();
        let key = PlanKey::from_jwk(&jwk).unwrap();
        assert!(key.has_signed(signed.as_bytes(), &signature));
        assert!(!key.has_signed(b"another message", &signature));
    }
}
