//! The audit log.

use serde::{Deserialize, Serialize};
use terms::Digest;
use wire::audit::AuditEntry;

/// Most leaves of one range.
pub const LEAVES_MAX: u64 = 1_000;

/// One entry with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EntryView {
    /// Its leaf index, from 0.
    pub index: u64,
    /// The entry; absent once its key was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<AuditEntry>,
    /// The RFC 6962 leaf hash, over the sealed bytes.
    pub leaf: Digest,
}

/// Which leaves to show.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeafQuery {
    /// The first index.
    pub start: u64,
    /// The index after the last; at most 1 000 more.
    pub end: u64,
}

/// Sealed leaves, for offline verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Leaves {
    /// The first index.
    pub start: u64,
    /// Each leaf's sealed bytes, standard base64.
    pub leaves: Vec<String>,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CheckpointView {
    /// The C2SP signed note.
    pub note: String,
    /// The C2SP verifier key; pin it the first time, compare it later.
    pub verifier_key: String,
}

/// Which inclusion to prove.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    /// The leaf.
    pub index: u64,
    /// In the log of this size.
    pub size: u64,
}

/// Which consistency to prove.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    /// The older size.
    pub old: u64,
    /// The newer size.
    pub new: u64,
}

/// A proof (RFC 6962 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Proof {
    /// The hashes, in RFC order.
    pub hashes: Vec<Digest>,
}
