//! Usage, as the sidecars metered it.

use serde::{Deserialize, Serialize};
use terms::{TenantId, Timestamp};
use wire::heartbeat::Totals;

/// Which usage to show.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// From this hour; the beginning if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Up to, without, this hour; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// A tenant's usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UsageView {
    /// The tenant.
    pub tenant: TenantId,
    /// Over all time, from the last accepted heartbeat of each sidecar.
    pub totals: Totals,
    /// When the last heartbeat was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// Accepted heartbeats.
    pub heartbeats: u64,
    /// By hour of receipt.
    pub hours: Vec<UsageHour>,
}

/// Usage that was accepted within one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UsageHour {
    /// The hour's begin.
    pub hour: Timestamp,
    /// What was added.
    pub added: Totals,
}
