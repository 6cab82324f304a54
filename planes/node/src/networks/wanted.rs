//! What the control plane wants of this host, as the engine takes it.

use super::HostFacts;
use network::{ControlPlane, Desired, DesiredError, NetworkNumber, NumberError, TenantNetwork, Uplink};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use wire::networks::HostNetworks;

/// Where the control plane is, and what the host knows of it before it is told anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// In a namespace on this host.
    Here {
        /// The host's address and port that lead to it, if any; address 0.0.0.0 stands for all of the host's.
        published: Option<SocketAddrV4>,
        /// TCP endpoints that it needs from the start: its database, resolvers.
        reach: Vec<SocketAddrV4>,
    },
    /// On another host, which its first document names.
    Elsewhere,
}

/// The networks that the host is to have, whatever the host is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) version: u64,
    control_plane: ControlPlane,
    tenants: Vec<TenantNetwork>,
}

impl Wanted {
    /// What a host has before its first document: the way to the control plane, if that is here.
    pub(super) fn before_any(base: &Base) -> Option<Self> {
        match base {
            Base::Here { published, reach } => {
                let control_plane = ControlPlane::Here { published: *published, reach: sorted(reach, &[]) };
                Some(Self { version: 0, control_plane, tenants: Vec::new() })
            }
            Base::Elsewhere => None,
        }
    }

    /// What a document says. Whoever calls this has checked that it is the control plane's and this host's.
    pub(super) fn of(base: &Base, document: &HostNetworks) -> Result<Self, NumberError> {
        let control_plane = match base {
            Base::Here { published, reach } => ControlPlane::Here {
                published: *published,
                reach: sorted(reach, &document.data_planes_elsewhere),
            },
            Base::Elsewhere => ControlPlane::Elsewhere { addresses: document.control_addresses.clone() },
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
        let (control_plane, tenants) = (self.control_plane.clone(), self.tenants.clone());
        Desired::new(self.version, control_plane, uplink, tenants, &facts.routes)
    }
}

fn sorted(one: &[SocketAddrV4], two: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    let all: BTreeSet<SocketAddrV4> = one.iter().chain(two).copied().collect();
    all.into_iter().collect()
}
