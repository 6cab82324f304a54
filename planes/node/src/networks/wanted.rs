//! What the control plane wants of this host, as the engine takes it.

use super::HostFacts;
use crate::config::Place;
use network::{
    ControlPlane, Desired, DesiredError, HostRoute, NetworkNumber, NumberError, TenantNetwork, Uplink,
};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use terms::TenantId;
use wire::networks::HostNetworks;

/// The networks that the host is to have, whatever the host is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(super) version: u64,
    control_plane: ControlPlane,
    tenants: Vec<TenantNetwork>,
}

impl Wanted {
    /// What a host has before its first document: the way to the control plane, if that is here.
    pub(super) fn before_any(place: &Place) -> Option<Self> {
        match place {
            Place::Here { published, reach } => {
                let control_plane = ControlPlane::Here { published: *published, reach: sorted(reach, &[]) };
                Some(Self { version: 0, control_plane, tenants: Vec::new() })
            }
            Place::Elsewhere { address: _ } => None,
        }
    }

    /// What a document says. Whoever calls this has checked that it is the control plane's and this host's.
    pub(crate) fn of(place: &Place, document: &HostNetworks) -> Result<Self, NumberError> {
        let control_plane = match place {
            Place::Here { published, reach } => ControlPlane::Here {
                published: *published,
                reach: sorted(reach, &document.data_planes_elsewhere),
            },
            Place::Elsewhere { address: _ } => {
                ControlPlane::Elsewhere { addresses: document.control_addresses.clone() }
            }
        };
        let tenants = document.tenants.iter().map(|tenant| {
            Ok(TenantNetwork {
                tenant: tenant.tenant,
                number: NetworkNumber::try_from(u32::from(tenant.number))?,
                live: tenant.live,
                connections_max: tenant.quota.connections,
            })
        });
        let tenants = tenants.collect::<Result<_, NumberError>>()?;
        Ok(Self { version: document.version, control_plane, tenants })
    }

    /// The whole of it on this host.
    pub(super) fn on(&self, facts: &HostFacts) -> Result<Desired, DesiredError> {
        let uplink = Uplink { interfaces: facts.interfaces.clone(), host_addresses: facts.addresses.clone() };
        self.with(uplink, &facts.routes)
    }

    /// Checks that a host can have it, one with nothing of its own in the way.
    pub(crate) fn check(&self) -> Result<(), DesiredError> {
        self.with(Uplink::default(), &[]).map(drop)
    }

    fn with(&self, uplink: Uplink, routes: &[HostRoute]) -> Result<Desired, DesiredError> {
        let (control_plane, tenants) = (self.control_plane.clone(), self.tenants.clone());
        Desired::new(self.version, control_plane, uplink, tenants, routes)
    }

    /// Where the control plane is, and what it may reach.
    pub(crate) const fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The tenants' networks, by number.
    pub(crate) fn tenants(&self) -> &[TenantNetwork] {
        &self.tenants
    }

    /// Each tenant's number.
    pub(super) fn numbers(&self) -> Vec<(TenantId, NetworkNumber)> {
        self.tenants.iter().map(|tenant| (tenant.tenant, tenant.number)).collect()
    }
}

fn sorted(one: &[SocketAddrV4], two: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    let all: BTreeSet<SocketAddrV4> = one.iter().chain(two).copied().collect();
    all.into_iter().collect()
}
