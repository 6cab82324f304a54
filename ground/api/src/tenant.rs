//! Tenants.

use serde::{Deserialize, Serialize};
use terms::{Name, TenantId, Timestamp};

/// Creates a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its name, unique on the platform.
    pub name: Name,
}

/// Suspends a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendTenant {
    /// Why, for the audit log: one of a closed list.
    pub reason: SuspendReason,
}

/// Why a tenant is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspendReason {
    /// An operator decided so.
    Operator,
    /// An incident is being contained.
    Incident,
    /// Bills are open.
    Billing,
    /// The customer asked for it.
    CustomerRequest,
}

impl SuspendReason {
    /// The reason's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Incident => "incident",
            Self::Billing => "billing",
            Self::CustomerRequest => "customer_request",
        }
    }
}

/// A tenant as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TenantView {
    /// The id.
    pub id: TenantId,
    /// The name.
    pub name: Name,
    /// Whether it may run.
    pub state: TenantState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// Whether a tenant may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// It may.
    Active,
    /// It may not start anything new.
    Suspended,
    /// It is being deleted.
    Deleting,
}

impl TenantState {
    /// The state's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }
}
