//! Enrolment: one-time tokens, certificates.

use serde::{Deserialize, Serialize};
use terms::{NodeId, SidecarId, TenantId, Timestamp};

/// The longest PEM signing request.
pub const CSR_MAX: usize = 8 * 1024;

/// Issues a one-time enrolment token.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueEnrolment {
    /// For what.
    pub kind: EnrolmentKind,
    /// For which tenant; needed for data planes and sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// What a token enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrolmentKind {
    /// A tenant's data plane.
    DataPlane,
    /// A tenant's metering sidecar.
    Sidecar,
    /// A host's agent.
    Node,
}

impl EnrolmentKind {
    /// The kind's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataPlane => "data_plane",
            Self::Sidecar => "sidecar",
            Self::Node => "node",
        }
    }
}

/// A one-time token. It is shown this once.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IssuedEnrolment {
    /// The token.
    pub token: String,
    /// It works until then, once.
    pub expires_at: Timestamp,
}

impl core::fmt::Debug for IssuedEnrolment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("IssuedEnrolment").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Enrols a workload. The token travels as the bearer token.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// A PEM PKCS #10 request (RFC 2986); only its public key is used.
    pub csr: String,
    /// A sidecar's Ed25519 public key, 32 bytes in standard base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// What an enrolled workload gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Enrolled {
    /// Its certificate and what it needs to know.
    pub certificate: IssuedCertificate,
    /// The tenant, for data planes and sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// A sidecar's new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarId>,
    /// A node's new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The trust domain of all SPIFFE ids.
    pub trust_domain: String,
    /// The control plane's public URL: `iss` of plan tokens.
    pub issuer: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IssuedCertificate {
    /// The PEM chain, leaf first.
    pub chain: String,
    /// The PEM roots that workloads trust.
    pub roots: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

/// Renews the caller's certificate.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewCertificate {
    /// A PEM PKCS #10 request for a new key.
    pub csr: String,
}
