//! Placements: which data planes a node has to run, and what it runs.

use serde::{Deserialize, Serialize};
use terms::{Name, TenantId};

/// Most placements on one host (155 networks fit, architecture section 4).
pub const PLACEMENTS_MAX: usize = 155;

/// What a node has to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placements {
    /// One for each tenant.
    pub placements: Vec<Placement>,
}

/// One tenant on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placement {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name, for people who read logs.
    pub name: Name,
    /// Whether it has to run.
    pub run: bool,
}

/// What a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportPlacements {
    /// One for each tenant that it runs.
    pub running: Vec<RunningPlacement>,
    /// Which walls stand between the zones on this host.
    pub walls: Walls,
}

/// One tenant's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunningPlacement {
    /// The tenant.
    pub tenant: TenantId,
    /// Where its data plane listens.
    pub url: String,
    /// The data plane's process.
    pub pid: u32,
    /// The sidecar's process.
    pub sidecar_pid: u32,
}

/// Which walls stand between the zones on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Walls {
    /// Each zone has its own user id.
    pub own_uids: bool,
    /// Each tenant has its own network.
    pub own_networks: bool,
}
