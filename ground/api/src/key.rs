//! Plan-signing keys.

use serde::{Deserialize, Serialize};
use terms::{KeyId, Timestamp};

/// A signing key as it is shown. The private half never leaves the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyView {
    /// The RFC 7638 thumbprint.
    pub kid: KeyId,
    /// `staged`, `published`, `active`, `retiring` or `archived`.
    pub state: String,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// When it was minted.
    pub created_at: Timestamp,
}

/// Every key, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<KeyView>,
}
