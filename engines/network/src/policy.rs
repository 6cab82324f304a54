//! The policy, said once more without the rules: the oracle that rules and probes are held against.
//!
//! It is written from NET-1 to NET-5, and shares with the rules the address plan and nothing else: which addresses
//! are public, it decides by itself.

use crate::addresses::{Addresses, CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, UPLINK_ROUTER};
use crate::desired::{ControlPlane, Desired, TenantNetwork};
use crate::number::NetworkNumber;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Where a probe starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The control plane's namespace.
    ControlPlane,
    /// A tenant's namespace, from the data plane's address.
    DataPlane(NetworkNumber),
    /// A tenant's namespace, from the sidecar's address.
    Sidecar(NetworkNumber),
    /// The host's namespace.
    Host,
    /// Beyond the host, from this address.
    Outside(Ipv4Addr),
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A TCP connection.
    Tcp,
    /// A UDP datagram and its answer.
    Udp,
    /// An ICMP echo request; it has no port.
    Icmp,
}

/// Whether it is to get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// It arrives, and so does the answer.
    Allowed,
    /// Nothing arrives.
    Denied,
}

/// The control that a decision proves, as the catalogue of controls names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Tenants are kept apart.
    Net1,
    /// What gets into a data plane.
    Net2,
    /// What gets out of a data plane.
    Net3,
    /// Nothing comes in from the internet.
    Net4,
    /// Plans travel one way.
    Net5,
}

/// What the policy says, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What is to come of it.
    pub expected: Expected,
    /// What it proves.
    pub control: Control,
    /// Why, in a sentence.
    pub why: &'static str,
}

/// Says what the policy says of a new connection.
#[must_use]
pub fn decide(desired: &Desired, from: Origin, to: IpAddr, protocol: Protocol, port: u16) -> Decision {
    // What no origin may do, each by the control that the origin is about.
    let nobody = |why| denied(of_origin(desired, from, to), why);
    let IpAddr::V4(to) = to else { return nobody("IPv6 has no rules yet: nothing of it passes") };
    match protocol {
        Protocol::Udp => return nobody("no UDP, neither names nor HTTP/3"),
        Protocol::Icmp => return nobody("no ICMP but errors about open flows"),
        Protocol::Tcp => (),
    }
    match from {
        Origin::DataPlane(number) | Origin::Sidecar(number) => tenant_to(desired, number, to, port),
        Origin::ControlPlane => control_to(desired, to, port),
        Origin::Host => host_to(desired, to, port),
        Origin::Outside(address) => outside_to(desired, address, to, port),
    }
}

fn of_origin(desired: &Desired, from: Origin, to: IpAddr) -> Control {
    let is_tenants = |but: Option<NetworkNumber>| {
        let others = desired.tenants().iter().filter(|tenant| Some(tenant.number) != but);
        let mut networks = others.map(|tenant| IpNet::V4(Addresses::of(tenant.number).network));
        networks.any(|network| network.contains(&to))
    };
    match from {
        Origin::DataPlane(number) | Origin::Sidecar(number) if is_tenants(Some(number)) => Control::Net1,
        Origin::DataPlane(_) | Origin::Sidecar(_) => Control::Net3,
        Origin::ControlPlane if is_tenants(None) => Control::Net2,
        Origin::ControlPlane => Control::Net5,
        Origin::Host | Origin::Outside(_) => Control::Net4,
    }
}

const fn denied(control: Control, why: &'static str) -> Decision {
    Decision { expected: Expected::Denied, control, why }
}

const fn allowed_if(holds: bool, control: Control, why: &'static str) -> Decision {
    let expected = if holds { Expected::Allowed } else { Expected::Denied };
    Decision { expected, control, why }
}

fn tenant_to(desired: &Desired, from: NetworkNumber, to: Ipv4Addr, port: u16) -> Decision {
    let is_live = live(desired, from);
    let allowed = |why| {
        let why = if is_live { why } else { "the tenant is not live" };
        allowed_if(is_live, Control::Net3, why)
    };
    let is_control = match desired.control_plane() {
        ControlPlane::Here { .. } => to == CONTROL_PLANE,
        ControlPlane::Elsewhere { addresses } => addresses.contains(&to),
    };
    if is_control && port == HTTPS_PORT {
        return allowed("a data plane reaches the control plane's public API");
    }
    if is_control {
        return denied(Control::Net5, "of the control plane, only its public API");
    }
    if desired.uplink().host_addresses.contains(&to) {
        return denied(Control::Net5, "no address of the host");
    }
    if desired
        .tenants()
        .iter()
        .any(|other| other.number != from && Addresses::of(other.number).network.contains(&to))
    {
        return denied(Control::Net1, "no other tenant");
    }
    if !is_public(to) {
        return denied(Control::Net5, "no gateway, private, link-local, metadata or reserved address");
    }
    if port != HTTPS_PORT {
        return denied(Control::Net3, "only tcp/443");
    }
    allowed("a data plane reaches the internet by tcp/443")
}

fn control_to(desired: &Desired, to: Ipv4Addr, port: u16) -> Decision {
    let data_plane = |tenant: &&TenantNetwork| Addresses::of(tenant.number).data_plane == to;
    if let Some(tenant) = desired.tenants().iter().find(data_plane)
        && port == DATA_PLANE_PORT
    {
        return allowed_if(tenant.live, Control::Net2, "the control plane reaches a live tenant's tcp/5678");
    }
    let reachable = match desired.control_plane() {
        ControlPlane::Here { reach, .. } => reach.iter().any(|at| *at.ip() == to && at.port() == port),
        ControlPlane::Elsewhere { .. } => false,
    };
    if reachable {
        return allowed_if(true, Control::Net5, "the control plane may reach this endpoint");
    }
    let control = of_origin(desired, Origin::ControlPlane, IpAddr::V4(to));
    denied(control, "the control plane reaches data planes and what it is allowed to, nothing else")
}

fn host_to(desired: &Desired, to: Ipv4Addr, port: u16) -> Decision {
    let is_here = matches!(desired.control_plane(), ControlPlane::Here { .. });
    if is_here && to == UPLINK_ROUTER && port == HTTPS_PORT {
        return allowed_if(
            true,
            Control::Net4,
            "the host's own clients reach the control plane's public API",
        );
    }
    nothing_comes_in()
}

fn outside_to(desired: &Desired, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Decision {
    if to != UPLINK_ROUTER {
        return nothing_comes_in();
    }
    match desired.control_plane() {
        ControlPlane::Here { published: Some(at), .. } if port == HTTPS_PORT && !at.ip().is_loopback() => {
            allowed_if(true, Control::Net4, "the control plane's public API is published")
        }
        ControlPlane::Here { .. } => nothing_comes_in(),
        ControlPlane::Elsewhere { addresses } => {
            let tenant = desired.tenants().iter().find(|tenant| tenant.number.forwarded_port() == port);
            match tenant {
                Some(tenant) if tenant.live && addresses.contains(&from) => {
                    allowed_if(true, Control::Net2, "the control plane reaches a live tenant's tcp/5678")
                }
                Some(_) | None => nothing_comes_in(),
            }
        }
    }
}

const fn nothing_comes_in() -> Decision {
    denied(Control::Net4, "nothing comes in")
}

fn live(desired: &Desired, number: NetworkNumber) -> bool {
    desired.tenants().iter().any(|tenant| tenant.number == number && tenant.live)
}

/// Whether `address` is on the public internet, by what the standard library and the RFCs call it.
fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let carrier_grade = a == 100 && (64..128).contains(&b);
    let benchmarking = a == 198 && (b == 18 || b == 19);
    let assigned =
        matches!([a, b, c], [192, 0, 0] | [192, 31, 196] | [192, 52, 193] | [192, 88, 99] | [192, 175, 48]);
    let host_agent = [a, b, c, d] == [168, 63, 129, 16];
    let reserved = a == 0 || a >= 240;
    let special = carrier_grade || benchmarking || assigned || host_agent || reserved;
    let private = address.is_private() || address.is_loopback() || address.is_link_local();
    !(special || private || address.is_documentation() || address.is_multicast())
}

impl core::fmt::Display for Control {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Net1 => "NET-1",
            Self::Net2 => "NET-2",
            Self::Net3 => "NET-3",
            Self::Net4 => "NET-4",
            Self::Net5 => "NET-5",
        })
    }
}
