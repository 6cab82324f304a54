//! Nodes: the agents of hosts.

use serde::{Deserialize, Serialize};
use terms::{NodeId, Timestamp};

/// A node as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeView {
    /// The id.
    pub id: NodeId,
    /// Whether new tenants come to it.
    pub state: NodeState,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it last reported.
    pub last_seen_at: Timestamp,
    /// How many tenants it has.
    pub tenants: u32,
    /// What keeps them apart there; absent before its first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<crate::network::Driver>,
}

/// Whether tenants come to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// New ones do.
    Active,
    /// None does, and those that are there go to other nodes that have room.
    Draining,
}
