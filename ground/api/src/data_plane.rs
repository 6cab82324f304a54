//! Data planes as operators see them, and the data plane's own small API on port 5678.

use serde::{Deserialize, Serialize};
use terms::{ExecutionId, Name, TenantId, Timestamp};

/// Where a data plane takes plans.
pub const PLANS_PATH: &str = "/v1/plans";

/// A data plane as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DataPlaneView {
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant's name.
    pub tenant_name: Name,
    /// Where it listens.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Its sidecar's process.
    pub sidecar_pid: u32,
    /// When the node last reported it.
    pub last_seen_at: Timestamp,
    /// Whether each zone has its own user id there.
    pub zones_enforced: bool,
    /// Whether tenant networks are enforced there.
    pub networks_enforced: bool,
}

/// The data plane's answer to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanAccepted {
    /// The execution that the plan started, or that was there.
    pub execution_id: ExecutionId,
    /// Whether it was there.
    pub replayed: bool,
}

/// What a data plane knows of an execution, when it is asked for it or told to cancel it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExecutionKnown {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Whether a plan for it was admitted.
    pub known: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// When the journal began that says so: a younger one may have forgotten.
    pub journal_since: Timestamp,
}
