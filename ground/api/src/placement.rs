//! Placements: which data planes a node has to run, and what it runs.

use serde::{Deserialize, Serialize};
use terms::{Name, TenantId, Timestamp};

/// Most placements on one host (155 networks fit, architecture section 4).
pub const PLACEMENTS_MAX: usize = 155;

/// Most places that a search of a host names, of each kind.
pub const PLACES_MAX: usize = 100;

/// Most bytes of a place's name: the longest path (PATH_MAX of Linux), and what says what it is.
pub const PLACE_BYTES_MAX: usize = 4_200;

/// What a node has to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placements {
    /// One for each tenant.
    pub placements: Vec<Placement>,
    /// When the node was asked to search its host for secrets in logs; absent if it is not. One answer is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_asked_at: Option<Timestamp>,
    /// The version of the signed networks that the node should have; absent for a host without networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks_version: Option<u64>,
    /// When the node was asked to probe its networks; absent if it is not. One answer is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_asked_at: Option<Timestamp>,
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

/// What a node found when it searched its host for secrets in logs: places, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSearch {
    /// The `search_asked_at` that this answers.
    pub asked_at: Timestamp,
    /// The tenants whose data planes and sidecars were searched, the node itself aside.
    pub tenants: Vec<TenantId>,
    /// How many secrets and shapes of secrets were looked for.
    pub secrets_sought: u64,
    /// Bytes that were searched.
    pub bytes_searched: u64,
    /// What is there and could not be searched whole.
    pub unread: Vec<String>,
    /// Where a secret stands.
    pub found_in: Vec<String>,
}
