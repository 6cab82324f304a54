//! Security events and alarms.

use serde::{Deserialize, Serialize};
use terms::{AlarmId, TenantId, Timestamp};
use wire::event::SecurityEvent;

/// Delivers security events. A second delivery changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverEvents {
    /// At most 1 000.
    pub events: Vec<SecurityEvent>,
}

/// An alarm as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AlarmView {
    /// The id.
    pub id: AlarmId,
    /// What kind, a stable text.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// When.
    pub time: Timestamp,
    /// For which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// On which resource.
    pub resource: String,
    /// What was seen.
    pub evidence: serde_json::Value,
    /// Whether somebody still has to look.
    pub open: bool,
}

/// How bad an alarm is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Answer within 24 hours.
    Low,
    /// Within 4 hours.
    Medium,
    /// Within 1 hour.
    High,
    /// Within 15 minutes.
    Critical,
}

impl Severity {
    /// The severity's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}
