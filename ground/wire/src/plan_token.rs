//! The plan token: a JWT (RFC 7519) in compact form (RFC 7515), split but not yet believed.

use crate::json::{self, Bounds, JsonError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use terms::{Digest, KeyId, PlanId, TenantId, TrustDomain, Workload};

/// The token's `typ`, so that no other JWT is taken for a plan token (RFC 8725 section 3.11).
pub const TYP: &str = "palisade-plan+jwt";

/// The token's `alg`.
pub const ALG: &str = "ES256";

/// Most bytes of a token; ours have about 900.
pub const BYTES_MAX: usize = 16 * 1024;

/// Seconds from `iat` to `exp`.
pub const LIFETIME_S: i64 = 300;

/// The request header that carries the token beside the plan's bytes.
pub const HEADER_NAME: &str = "palisade-plan-token";

const BOUNDS: Bounds = Bounds { bytes: BYTES_MAX, depth: 2, nodes: 16 };

/// The JOSE header: exactly these three members. `crit`, `jwk`, `jku`, `x5u`, `x5c` are unknown and so refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// `ES256`.
    pub alg: String,
    /// [`TYP`].
    pub typ: String,
    /// The signing key's RFC 7638 thumbprint.
    pub kid: KeyId,
}

/// The claims: exactly these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The control plane's public URL.
    pub iss: String,
    /// The tenant.
    pub sub: TenantId,
    /// The SPIFFE id of that tenant's data plane.
    pub aud: String,
    /// Seconds since the epoch: issued.
    pub iat: i64,
    /// Seconds since the epoch: not valid before.
    pub nbf: i64,
    /// Seconds since the epoch: not valid from here on; `iat + 300`.
    pub exp: i64,
    /// The plan.
    pub jti: PlanId,
    /// SHA-256 of the plan's exact bytes.
    pub plan_hash: Digest,
    /// How many bytes the plan has.
    pub plan_len: u64,
}

/// A compact JWS, taken apart. Nothing in it is believed until the notary has checked it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanToken {
    header: Header,
    signing_input: Vec<u8>,
    claims_json: Vec<u8>,
    signature: [u8; 64],
}

/// Says why a text is not a plan token. Each variant has its own reason code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More than [`BYTES_MAX`] bytes.
    #[error("the token has {0} bytes, more than {BYTES_MAX}")]
    TooLarge(usize),
    /// Not three non-empty parts.
    #[error("a token has three parts")]
    Parts,
    /// Not canonical base64url without padding.
    #[error("a part of the token is not canonical base64url")]
    Encoding,
    /// The header is not strict JSON with exactly `alg`, `typ`, `kid`.
    #[error("the header is refused: {0}")]
    Header(JsonError),
    /// Another algorithm than ES256.
    #[error("the algorithm is not ES256")]
    Algorithm,
    /// Another `typ` than ours.
    #[error("the type is not {TYP}")]
    Type,
    /// The signature does not have 64 bytes.
    #[error("the signature does not have 64 bytes")]
    SignatureLength,
    /// The claims are not strict JSON with exactly our claims.
    #[error("the claims are refused: {0}")]
    Claims(JsonError),
}

/// The audience of `tenant`'s plan tokens.
#[must_use]
pub fn audience(domain: &TrustDomain, tenant: TenantId) -> String {
    terms::SpiffeId::new(domain.clone(), Workload::DataPlane(tenant)).to_string()
}

/// The bytes that are signed: `base64url(header) . base64url(claims)` (RFC 7515 section 5.1).
///
/// # Errors
/// Only if the values cannot be written as JSON.
pub fn signing_input(header: &Header, claims: &Claims) -> Result<String, serde_json::Error> {
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(header)?);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
    Ok(format!("{header}.{claims}"))
}

impl PlanToken {
    /// Takes a compact JWS apart: size, parts, encoding, header; the claims stay closed.
    ///
    /// # Errors
    /// [`TokenError`], the first thing that is wrong.
    pub fn split(compact: &str) -> Result<Self, TokenError> {
        if compact.len() > BYTES_MAX {
            return Err(TokenError::TooLarge(compact.len()));
        }
        let mut parts = compact.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Parts);
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(TokenError::Parts);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding);
        let header_json = decode(header)?;
        let header_value: Header = json::read(&header_json, &BOUNDS).map_err(TokenError::Header)?;
        if header_value.alg != ALG {
            return Err(TokenError::Algorithm);
        }
        if header_value.typ != TYP {
            return Err(TokenError::Type);
        }
        let signature: [u8; 64] = decode(signature)?.try_into().map_err(|_| TokenError::SignatureLength)?;
        let claims_json = decode(claims)?;
        let signed = header.len() + 1 + claims.len();
        let signing_input = compact.as_bytes().iter().take(signed).copied().collect();
        Ok(Self { header: header_value, signing_input, claims_json, signature })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        &self.signing_input
    }

    /// The signature: r and s, 32 bytes each (RFC 7518 section 3.4).
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Reads the claims, once the signature was checked.
    ///
    /// # Errors
    /// [`TokenError::Claims`] for anything but exactly our claims.
    pub fn claims(&self) -> Result<Claims, TokenError> {
        json::read(&self.claims_json, &BOUNDS).map_err(TokenError::Claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> String {
        URL_SAFE_NO_PAD
            .encode(format!("{{\"alg\":\"ES256\",\"typ\":\"{TYP}\",\"kid\":\"{}\"}}", "k".repeat(43)))
    }

    fn signature() -> String {
        URL_SAFE_NO_PAD.encode([1; 64])
    }

    #[test]
    fn a_token_of_the_right_form_comes_apart() {
        let token = PlanToken::split(&format!("{}.e30.{}", header(), signature())).unwrap();
        assert_eq!(token.header().kid.as_str(), "k".repeat(43));
        assert!(matches!(token.claims(), Err(TokenError::Claims(_))));
    }

    #[test]
    fn non_canonical_base64url_is_refused() {
        let padded = format!("{}=.e30.{}", header(), signature());
        let trailing_bits = format!("{}.e31.{}", header(), signature());
        let standard = format!("{}.+/+/.{}", header(), signature());
        for token in [padded, trailing_bits, standard] {
            assert_eq!(PlanToken::split(&token), Err(TokenError::Encoding));
        }
    }

    #[test]
    fn a_header_with_anything_more_less_or_else_is_refused() {
        let kid = "k".repeat(43);
        let rows = [
            format!("{{\"alg\":\"none\",\"typ\":\"{TYP}\",\"kid\":\"{kid}\"}}"),
            format!("{{\"alg\":\"HS256\",\"typ\":\"{TYP}\",\"kid\":\"{kid}\"}}"),
            format!("{{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"{kid}\"}}"),
            format!("{{\"alg\":\"ES256\",\"typ\":\"{TYP}\"}}"),
            format!("{{\"alg\":\"ES256\",\"typ\":\"{TYP}\",\"kid\":\"https://evil.example/k\"}}"),
            format!("{{\"alg\":\"ES256\",\"typ\":\"{TYP}\",\"kid\":\"{kid}\",\"crit\":[\"x\"]}}"),
            format!(
                "{{\"alg\":\"ES256\",\"typ\":\"{TYP}\",\"kid\":\"{kid}\",\"jku\":\"https://evil.example\"}}"
            ),
            format!("{{\"alg\":\"none\",\"alg\":\"ES256\",\"typ\":\"{TYP}\",\"kid\":\"{kid}\"}}"),
        ];
        for row in rows {
            let token = format!("{}.e30.{}", URL_SAFE_NO_PAD.encode(&row), signature());
            assert!(PlanToken::split(&token).is_err(), "{row}");
        }
    }

    #[test]
    fn an_oversized_token_is_refused_before_it_is_read() {
        assert_eq!(PlanToken::split(&"a".repeat(BYTES_MAX + 1)), Err(TokenError::TooLarge(BYTES_MAX + 1)));
    }
}
