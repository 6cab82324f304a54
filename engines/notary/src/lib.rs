//! Signs and verifies: ES256 plan tokens and hosts' networks, Ed25519 envelopes and notes, JWKS rotation.
//!
//! The only room that may call `Verified::attest`: a value is attested after its signature was checked
//! over its exact bytes, and never before.

mod ed25519;
mod envelope;
mod host_networks;
mod key_cache;
mod key_ring;
mod note;
mod plan_key;
mod plan_token;

pub use envelope::{EnvelopeKey, EnvelopeRefusal, SidecarKey, verify_envelope};
pub use host_networks::{NetworksRefusal, verify_networks};
pub use key_cache::{CachePolicy, KeyCache, Lookup};
pub use key_ring::{
    KeyRecord, KeyRing, KeyState, PolicyError, RestoreError, RingPolicy, RingStep, RingTimes, RotateError,
    StepError,
};
pub use note::{NoteError, NoteKey, NoteRefusal, NoteSigner, verify_note};
pub use plan_key::{KeySet, PlanKey, PlanSigner};
pub use plan_token::{Expected, PlanRefusal, SignedPlan, verify_plan};

/// A private key in PKCS#8 form (RFC 5958), wiped when dropped. Whoever keeps it seals it first.
pub type Pkcs8 = zeroize::Zeroizing<Vec<u8>>;

/// Says why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// `kty` is not `EC`.
    #[error("the key type is not EC")]
    Type,
    /// `crv` is not `P-256`.
    #[error("the curve is not P-256")]
    Curve,
    /// `alg` is not `ES256`.
    #[error("the algorithm is not ES256")]
    Algorithm,
    /// `use` is not `sig`.
    #[error("the key is not for signatures")]
    Use,
    /// A coordinate is not 32 bytes in canonical base64url.
    #[error("a coordinate is not 32 bytes in base64url")]
    Coordinate,
    /// `kid` is not the key's own RFC 7638 thumbprint.
    #[error("the key id is not the key's thumbprint")]
    Thumbprint,
    /// The bytes are no point that a key may be: not on the curve, not canonical, or of small order.
    #[error("the public key is not a usable point")]
    Point,
    /// Not a private key of this kind in PKCS#8 form.
    #[error("not a private key of this kind")]
    Pkcs8,
    /// The system gave no entropy for a new key.
    #[error("no key could be generated")]
    Generate,
}

/// Says why something was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The claims do not live for exactly the time that plan tokens live.
    #[error("the claims do not have a plan token's lifetime")]
    Lifetime,
    /// The value cannot be written as JSON.
    #[error("the value cannot be written")]
    Write,
    /// The crypto provider refused.
    #[error("the signature could not be made")]
    Sign,
}
