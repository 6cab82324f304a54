//! SPIFFE ids: what a workload's certificate says it is.
//!
//! Source: SPIFFE-ID specification; one URI SAN per certificate (X509-SVID, section 2).

use crate::{Name, NodeId, SidecarId, TenantId};

/// The trust domain: a DNS name in lowercase, such as `palisade.internal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

/// What a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Workload {
    /// The control plane.
    ControlPlane,
    /// A tenant's data plane.
    DataPlane(TenantId),
    /// A tenant's metering sidecar.
    Sidecar(TenantId, SidecarId),
    /// A host's agent.
    Node(NodeId),
}

/// A workload in a trust domain: `spiffe://<domain>/<path>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    domain: TrustDomain,
    workload: Workload,
}

/// Says why a text is not one of our SPIFFE ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known SPIFFE id or trust domain")]
pub struct SpiffeError(String);

fn refused(text: &str) -> SpiffeError {
    SpiffeError(text.chars().take(200).collect())
}

impl TrustDomain {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let labels = text.split('.').all(|label| label.parse::<Name>().is_ok());
        if labels && text.len() <= 255 { Ok(Self(text.to_owned())) } else { Err(refused(text)) }
    }
}

impl core::fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffeId {
    /// Builds the id of `workload` in `domain`.
    #[must_use]
    pub const fn new(domain: TrustDomain, workload: Workload) -> Self {
        Self { domain, workload }
    }

    /// The trust domain.
    #[must_use]
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The workload.
    #[must_use]
    pub const fn workload(&self) -> Workload {
        self.workload
    }
}

impl core::fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "spiffe://{}/", self.domain)?;
        match self.workload {
            Workload::ControlPlane => f.write_str("control-plane"),
            Workload::DataPlane(tenant) => write!(f, "tenant/{tenant}/data-plane"),
            Workload::Sidecar(tenant, id) => write!(f, "tenant/{tenant}/sidecar/{id}"),
            Workload::Node(id) => write!(f, "node/{id}"),
        }
    }
}

impl core::str::FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| refused(text))?;
        let (domain, path) = rest.split_once('/').ok_or_else(|| refused(text))?;
        let parts: Vec<&str> = path.split('/').collect();
        let tenant = |id: &str| id.parse::<TenantId>().map_err(|_| refused(text));
        let workload = match parts.as_slice() {
            ["control-plane"] => Workload::ControlPlane,
            ["tenant", id, "data-plane"] => Workload::DataPlane(tenant(id)?),
            ["tenant", id, "sidecar", own] => {
                Workload::Sidecar(tenant(id)?, own.parse().map_err(|_| refused(text))?)
            }
            ["node", id] => Workload::Node(id.parse().map_err(|_| refused(text))?),
            _ => return Err(refused(text)),
        };
        Ok(Self { domain: domain.parse()?, workload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_reads_back_from_its_id() {
        let (tenant, sidecar, node) =
            (TenantId::from_bytes([1; 16]), SidecarId::from_bytes([2; 16]), NodeId::from_bytes([3; 16]));
        let all = [
            Workload::ControlPlane,
            Workload::DataPlane(tenant),
            Workload::Sidecar(tenant, sidecar),
            Workload::Node(node),
        ];
        for workload in all {
            let id = SpiffeId::new("palisade.internal".parse().unwrap(), workload);
            assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        }
    }

    #[test]
    fn paths_with_anything_more_or_less_are_refused() {
        for bad in [
            "spiffe://d/",
            "spiffe://d/control-plane/",
            "spiffe://d/tenant/x/data-plane",
            "https://d/control-plane",
            "spiffe:///control-plane",
            "spiffe://D/control-plane",
            "spiffe://d/control-plane?x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
