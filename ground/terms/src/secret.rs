//! Secrets as types: wiped when dropped, never printed.

use crate::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A 256-bit symmetric key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyBytes([u8; 32]);

impl KeyBytes {
    /// Wraps 32 bytes of key material.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the cipher that uses them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyBytes(redacted)")
    }
}

/// A 256-bit bearer token, written as `palisade_<kind>_<43 characters of base64url>`.
///
/// The prefix lets secret scanners find a leaked one. Only its digest is ever stored.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

/// Says that a text is not a token; never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a palisade token")]
pub struct TokenError;

impl Token {
    /// Mints a token of `kind` (`operator`, `enrol`) from 32 bytes of entropy.
    #[must_use]
    pub fn mint(kind: &str, entropy: &[u8; 32]) -> Self {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(entropy));
        Self(format!("palisade_{kind}_{}", secret.as_str()))
    }

    /// The text, for the one place that sends it or writes its 0600 file.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in its place. 256 bits of entropy need no slow hash.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256(self.0.as_bytes())
    }
}

impl core::str::FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix("palisade_").ok_or(TokenError)?;
        let (kind, secret) = rest.split_once('_').ok_or(TokenError)?;
        let known = !kind.is_empty() && kind.len() <= 16 && kind.bytes().all(|b| b.is_ascii_lowercase());
        let whole =
            secret.len() == 43 && secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if known && whole { Ok(Self(text.to_owned())) } else { Err(TokenError) }
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_in_debug() {
        let token = Token::mint("operator", &[9; 32]);
        assert_eq!(format!("{token:?} {:?}", KeyBytes::new([9; 32])), "Token(redacted) KeyBytes(redacted)");
    }

    #[test]
    fn a_token_reads_back_and_nothing_else_does() {
        let token = Token::mint("enrol", &[255; 32]);
        assert_eq!(token.expose().parse::<Token>().unwrap().digest(), token.digest());
        for bad in
            ["", "palisade_", "palisade_enrol_short", "Bearer x", &token.expose().replace("palisade", "x")]
        {
            assert!(bad.parse::<Token>().is_err());
        }
    }
}
