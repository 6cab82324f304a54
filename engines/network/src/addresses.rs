//! The address plan: every address, port and link name follows from a tenant's number.

use crate::NetworkNumber;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The control plane, in its own namespace.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);

/// The router's end of the control plane's link.
pub const CONTROL_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);

/// The network between the router and the control plane.
pub const CONTROL_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 100, 0, 0), 24);

/// The router's end of the link to the host.
pub const UPLINK_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 100, 255, 1);

/// The host's end of the link to the router.
pub const UPLINK_HOST: Ipv4Addr = Ipv4Addr::new(10, 100, 255, 2);

/// The network between the router and the host.
pub const UPLINK_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 100, 255, 0), 30);

/// What the control plane's link and the uplink lie in; tenant networks begin right behind it.
pub const SHARED_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 100, 0, 0), 16);

/// Where a data plane takes plans.
pub const DATA_PLANE_PORT: u16 = 5678;

/// Where the control plane and the public internet are reached.
pub const HTTPS_PORT: u16 = 443;

/// A host without a control plane forwards this port plus N to the data plane of tenant N. It lies below the
/// ports that Linux gives to outgoing connections (32768 and above).
pub const FORWARDED_PORTS_FROM: u16 = 20_000;

/// The router's link to the control plane.
pub const CONTROL_LINK: &str = "pcp";

/// The router's link to the host.
pub const UPLINK: &str = "pup";

/// The host's end of that link.
pub const HOST_LINK: &str = "palisade";

/// The one link of a tenant's and of the control plane's namespace.
pub const INNER_LINK: &str = "eth0";

/// The conntrack mark of flows that belong to no tenant but to the control plane. Tenants have their number.
pub const CONTROL_MARK: u32 = 256;

/// The addresses of one tenant network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The tenant's own network, 10.(100+N).0.0/16.
    pub network: Ipv4Net,
    /// The router's end of the tenant's link.
    pub gateway: Ipv4Addr,
    /// The data plane.
    pub data_plane: Ipv4Addr,
    /// The metering sidecar.
    pub sidecar: Ipv4Addr,
}

impl Addresses {
    /// The addresses of network `number`.
    #[must_use]
    pub const fn of(number: NetworkNumber) -> Self {
        let second = 100 + number.value();
        Self {
            network: Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16),
            gateway: Ipv4Addr::new(10, second, 0, 1),
            data_plane: Ipv4Addr::new(10, second, 0, 10),
            sidecar: Ipv4Addr::new(10, second, 0, 11),
        }
    }
}

impl NetworkNumber {
    /// The router's link to this network.
    #[must_use]
    pub fn link(self) -> String {
        format!("pt{self}")
    }

    /// The conntrack mark of the tenant's flows.
    #[must_use]
    pub const fn mark(self) -> u32 {
        // Lossless; `From` is not const.
        self.value() as u32
    }

    /// The port that a host without a control plane forwards to this tenant's data plane.
    #[must_use]
    pub const fn forwarded_port(self) -> u16 {
        FORWARDED_PORTS_FROM + self.value() as u16
    }
}

/// One of the network namespaces that a host's networks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespace {
    /// The host's own; only our link in it is ours.
    Host,
    /// The keeper's, with the rules; it has no name.
    Router,
    /// The control plane's.
    ControlPlane,
    /// A tenant's.
    Tenant(NetworkNumber),
}

impl Namespace {
    /// The name it is found by under `/run/netns`, if it has one.
    #[must_use]
    pub fn name(self) -> Option<String> {
        match self {
            Self::Host | Self::Router => None,
            Self::ControlPlane => Some("palisade-cp".to_owned()),
            Self::Tenant(number) => Some(format!("palisade-t{number}")),
        }
    }
}

impl core::fmt::Display for Namespace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Router => f.write_str("router"),
            Self::ControlPlane => f.write_str("control-plane"),
            Self::Tenant(number) => write!(f, "tenant-{number}"),
        }
    }
}
