//! What a host's networks should be: the one input of the rules, the links, the probes and the exports.

use crate::addresses::{Addresses, Namespace, SHARED_NETWORK};
use crate::number::NetworkNumber;
use crate::routes::{self, HostRoute};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use terms::TenantId;

/// Connections that a tenant may have open unless its quota says otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 1_024;

/// The most that a quota may say: a quarter of the smallest connection table (65 536) that a host of ours has.
pub const CONNECTIONS_MAX: u32 = 16_384;

/// Connections that clients may have open to the control plane, and it to others.
pub const CONTROL_CONNECTIONS_MAX: u32 = 16_384;

/// The most addresses of a control plane that is elsewhere.
pub const CONTROL_ADDRESSES_MAX: usize = 16;

/// The most endpoints outside of the host that the control plane may reach: a forwarded port per tenant for a
/// few hosts, and its database, identity provider and resolver.
pub const REACH_MAX: usize = 4_096;

/// The most addresses that a host may have.
pub const HOST_ADDRESSES_MAX: usize = 256;

/// The most interfaces that forward for us.
pub const INTERFACES_MAX: usize = 16;

/// The longest name of a Linux interface (IFNAMSIZ, less its end).
const INTERFACE_NAME_MAX: usize = 15;

/// Where the control plane is, as seen from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlPlane {
    /// In its own namespace on this host.
    Here {
        /// The host's address and port that lead to it, if any: 0.0.0.0 stands for all of the host's addresses, and
        /// one of its loopback for its own clients alone.
        published: Option<SocketAddrV4>,
        /// What it may reach by TCP outside of this host, sorted: other hosts' forwarded ports, a database, a
        /// resolver. Nothing else.
        reach: Vec<SocketAddrV4>,
    },
    /// On another host, at these addresses, sorted. It pushes plans through forwarded ports.
    Elsewhere {
        /// Its addresses; at least one.
        addresses: Vec<Ipv4Addr>,
    },
}

/// The host's side of the way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uplink {
    /// The interfaces through which the host reaches the internet, sorted: they forward from now on, but only for
    /// us. A host that forwards already names none, and goes on as it does.
    pub interfaces: Vec<String>,
    /// The host's own addresses, sorted: no data plane connects to one, public or not.
    pub host_addresses: Vec<Ipv4Addr>,
}

/// The network of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantNetwork {
    /// Whose.
    pub tenant: TenantId,
    /// Its number on this host.
    pub number: NetworkNumber,
    /// Whether its flows pass. Those of a tenant that is not live are cut, open ones too.
    pub live: bool,
    /// How many connections it may have open.
    pub connections_max: u32,
}

/// What a host's networks should be; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    version: u64,
    control_plane: ControlPlane,
    uplink: Uplink,
    tenants: Vec<TenantNetwork>,
}

/// Says why a state is not one that a host may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// Two networks with one number.
    #[error("network number `{0}` is given twice")]
    NumberTwice(NetworkNumber),
    /// Two networks of one tenant.
    #[error("tenant `{tenant}` is given networks `{first}` and `{second}`")]
    TenantTwice {
        /// Who.
        tenant: TenantId,
        /// Its first number.
        first: NetworkNumber,
        /// Its second number.
        second: NetworkNumber,
    },
    /// A list out of order. Order is part of the form, so that one state has one text.
    #[error("{list} are not sorted, or one stands there twice: `{at}`")]
    NotSorted {
        /// Which list.
        list: &'static str,
        /// The first that stands wrong.
        at: String,
    },
    /// A list with too many entries.
    #[error("{list}: `{count}` are more than {max}")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A cap that is none.
    #[error("network `{number}`: `{connections_max}` connections are not within 1 to {CONNECTIONS_MAX}")]
    ConnectionsOutOfRange {
        /// Which network.
        number: NetworkNumber,
        /// The cap.
        connections_max: u32,
    },
    /// A route of the host lies across a network.
    #[error("network `{network}` overlaps the host's route `{}` through `{}`", .route.destination, .route.link)]
    Overlaps {
        /// The network.
        network: Ipv4Net,
        /// The route.
        route: HostRoute,
    },
    /// The control plane is elsewhere, but nowhere.
    #[error("a control plane on another host needs an address")]
    NoControlAddress,
    /// An address that nobody outside of the host can have.
    #[error("`{address}` cannot be {role}")]
    UnusableAddress {
        /// The address.
        address: Ipv4Addr,
        /// What it was to be.
        role: &'static str,
    },
    /// An interface with a name that Linux would not give.
    #[error("`{0}` is not the name of an interface")]
    BadInterface(String),
}

impl Desired {
    /// Checks a state against itself and against the routes of the host that is to have it.
    ///
    /// # Errors
    /// If a number, tenant or address stands there twice or out of order, a list or a cap is out of bounds, an
    /// address cannot be what it is to be, or a route of the host lies across one of the networks.
    pub fn new(
        version: u64,
        control_plane: ControlPlane,
        uplink: Uplink,
        tenants: Vec<TenantNetwork>,
        host_routes: &[HostRoute],
    ) -> Result<Self, DesiredError> {
        check_tenants(&tenants)?;
        check_uplink(&uplink)?;
        let networks: Vec<Ipv4Net> = std::iter::once(SHARED_NETWORK)
            .chain(tenants.iter().map(|tenant| Addresses::of(tenant.number).network))
            .collect();
        check_control_plane(&control_plane, &networks)?;
        for network in networks {
            if let Some(route) = routes::claim(host_routes, network) {
                return Err(DesiredError::Overlaps { network, route: route.clone() });
            }
        }
        // INVARIANT: no number or tenant twice, all lists sorted and bounded, no address of ours but where we put it.
        Ok(Self { version, control_plane, uplink, tenants })
    }

    /// The version; a later state has a higher one.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Where the control plane is.
    #[must_use]
    pub const fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The host's side of the way out.
    #[must_use]
    pub const fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    /// The tenant networks, lowest number first.
    #[must_use]
    pub fn tenants(&self) -> &[TenantNetwork] {
        &self.tenants
    }

    /// Every namespace that the host has for this state.
    pub fn namespaces(&self) -> impl Iterator<Item = Namespace> + '_ {
        let control = matches!(self.control_plane, ControlPlane::Here { .. });
        let tenants = self.tenants.iter().map(|tenant| Namespace::Tenant(tenant.number));
        [Namespace::Host, Namespace::Router]
            .into_iter()
            .chain(control.then_some(Namespace::ControlPlane))
            .chain(tenants)
    }
}

fn check_tenants(tenants: &[TenantNetwork]) -> Result<(), DesiredError> {
    let mut numbers = BTreeMap::new();
    for TenantNetwork { tenant, number, live: _, connections_max } in tenants.iter().copied() {
        if let Some(first) = numbers.insert(tenant, number) {
            return Err(DesiredError::TenantTwice { tenant, first, second: number });
        }
        if !(1..=CONNECTIONS_MAX).contains(&connections_max) {
            return Err(DesiredError::ConnectionsOutOfRange { number, connections_max });
        }
    }
    for (before, after) in tenants.iter().zip(tenants.iter().skip(1)) {
        if before.number == after.number {
            return Err(DesiredError::NumberTwice(after.number));
        }
    }
    sorted("tenant networks", tenants.iter().map(|tenant| tenant.number))
}

fn check_control_plane(control_plane: &ControlPlane, networks: &[Ipv4Net]) -> Result<(), DesiredError> {
    let outside = |address: &Ipv4Addr| is_outside(*address, networks);
    match control_plane {
        ControlPlane::Here { published, reach } => {
            let published = published.map(|published| *published.ip());
            let published = published.filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
            let unusable = published.filter(|address| !outside(address));
            refuse_unusable(unusable, "the address at which the host publishes the control plane")?;
            bounded("endpoints that the control plane may reach", reach.len(), REACH_MAX)?;
            sorted("endpoints that the control plane may reach", reach.iter())?;
            let unusable = reach.iter().map(|endpoint| *endpoint.ip()).find(|address| !outside(address));
            refuse_unusable(unusable, "an endpoint that the control plane may reach")
        }
        ControlPlane::Elsewhere { addresses } => {
            if addresses.is_empty() {
                return Err(DesiredError::NoControlAddress);
            }
            bounded("addresses of the control plane", addresses.len(), CONTROL_ADDRESSES_MAX)?;
            sorted("addresses of the control plane", addresses.iter())?;
            let unusable = addresses.iter().copied().find(|address| !outside(address));
            refuse_unusable(unusable, "an address of a control plane on another host")
        }
    }
}

fn check_uplink(uplink: &Uplink) -> Result<(), DesiredError> {
    bounded("interfaces of the host", uplink.interfaces.len(), INTERFACES_MAX)?;
    sorted("interfaces of the host", uplink.interfaces.iter())?;
    if let Some(bad) = uplink.interfaces.iter().find(|name| !is_interface_name(name)) {
        return Err(DesiredError::BadInterface(bad.chars().take(INTERFACE_NAME_MAX + 1).collect()));
    }
    bounded("addresses of the host", uplink.host_addresses.len(), HOST_ADDRESSES_MAX)?;
    sorted("addresses of the host", uplink.host_addresses.iter())?;
    let unusable = uplink.host_addresses.iter().copied().find(|address| !is_unicast(*address));
    refuse_unusable(unusable, "an address of the host")
}

/// Whether a peer that is reached over a network, but not over one of ours, can have `address`.
fn is_outside(address: Ipv4Addr, networks: &[Ipv4Net]) -> bool {
    let ours = networks.iter().any(|network| network.contains(&address));
    is_unicast(address) && !address.is_loopback() && !address.is_link_local() && !ours
}

fn is_unicast(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224
}

/// What ends up in paths and rules is no more than this: a name of Linux's own choosing, never a path's part.
fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@');
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    starts_well && name.len() <= INTERFACE_NAME_MAX && name.bytes().all(plain)
}

fn refuse_unusable(address: Option<Ipv4Addr>, role: &'static str) -> Result<(), DesiredError> {
    address.map_or(Ok(()), |address| Err(DesiredError::UnusableAddress { address, role }))
}

fn bounded(list: &'static str, count: usize, max: usize) -> Result<(), DesiredError> {
    if count > max { Err(DesiredError::TooMany { list, count, max }) } else { Ok(()) }
}

fn sorted<T: Ord + ToString>(
    list: &'static str,
    items: impl Iterator<Item = T> + Clone,
) -> Result<(), DesiredError> {
    let wrong = items.clone().zip(items.skip(1)).find(|(before, after)| before >= after);
    wrong.map_or(Ok(()), |(_, after)| Err(DesiredError::NotSorted { list, at: after.to_string() }))
}
