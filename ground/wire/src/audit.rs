//! Audit entries: who did what, and what came of it.

use serde::{Deserialize, Serialize};
use terms::{Digest, TenantId, Timestamp};

/// One audit entry, before it is sealed. Its leaf in the log is over the sealed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// When.
    pub time: Timestamp,
    /// Who: an actor's text.
    pub actor: String,
    /// What: an action's stable text.
    pub action: String,
    /// On which resource: `kind/id`.
    pub resource: String,
    /// For which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What came of it.
    pub outcome: crate::event::EventOutcome,
    /// A stable reason code, `ok` for a success.
    pub reason: String,
    /// SHA-256 of the request that asked for it, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<Digest>,
}
