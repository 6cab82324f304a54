//! JSON Web Key Sets (RFC 7517) with P-256 signing keys.

use crate::json::{self, Bounds, JsonError};
use serde::{Deserialize, Serialize};
use terms::KeyId;

/// Where the control plane serves its plan keys.
pub const PATH: &str = "/.well-known/jwks.json";

/// Most keys in a set: active, next, and the ones that retire.
pub const KEYS_MAX: usize = 4;

/// Bounds of a fetched set.
pub const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, depth: 4, nodes: 128 };

/// A set of public keys. Unknown members are allowed, as RFC 7517 asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// A P-256 public key (RFC 7518 section 6.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Jwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// Coordinate, 32 bytes in base64url.
    pub x: String,
    /// Coordinate, 32 bytes in base64url.
    pub y: String,
    /// The RFC 7638 thumbprint.
    pub kid: KeyId,
    /// `sig`.
    #[serde(rename = "use")]
    pub use_: String,
    /// `ES256`.
    pub alg: String,
}

impl Jwks {
    /// Reads a fetched set. What the keys are worth is the notary's decision.
    ///
    /// # Errors
    /// [`JsonError`] for anything but a strict, bounded set of at most [`KEYS_MAX`] keys.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let set: Self = json::read(bytes, &BOUNDS)?;
        if set.keys.len() > KEYS_MAX {
            return Err(JsonError::Malformed(format!("{} keys, more than {KEYS_MAX}", set.keys.len())));
        }
        Ok(set)
    }
}
