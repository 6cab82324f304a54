//! The policy, said once more without the rules: the oracle that rules and probes are held against.
//!
//! It is written from NET-1 to NET-5, and shares with the rules the address plan and nothing else: which addresses
//! are public, it decides by itself.

use crate::addresses::{Addresses, CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, UPLINK_HOST, UPLINK_ROUTER};
use crate::desired::{ControlPlane, Desired, TenantNetwork};
use crate::number::NetworkNumber;
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

/// Says what the policy says of a new connection.
#[must_use]
pub fn decide(
    desired: &Desired,
    from: Origin,
    to: IpAddr,
    protocol: Protocol,
    port: u16,
) -> (Expected, &'static str) {
    let denied = |why| (Expected::Denied, why);
    let IpAddr::V4(to) = to else { return denied("IPv6 has no rules yet: nothing of it passes") };
    match protocol {
        Protocol::Udp => return denied("NET-3: no UDP, neither names nor HTTP/3"),
        Protocol::Icmp => return denied("no ICMP but errors about open flows"),
        Protocol::Tcp => (),
    }
    match from {
        Origin::DataPlane(number) | Origin::Sidecar(number) => tenant_to(desired, number, to, port),
        Origin::ControlPlane => control_to(desired, to, port),
        Origin::Host => outside_to(desired, UPLINK_HOST, to, port),
        Origin::Outside(address) => outside_to(desired, address, to, port),
    }
}

fn tenant_to(desired: &Desired, from: NetworkNumber, to: Ipv4Addr, port: u16) -> (Expected, &'static str) {
    let is_live = live(desired, from);
    let allowed =
        |why| if is_live { (Expected::Allowed, why) } else { (Expected::Denied, "the tenant is not live") };
    let is_control = match desired.control_plane() {
        ControlPlane::Here { .. } => to == CONTROL_PLANE,
        ControlPlane::Elsewhere { addresses } => addresses.contains(&to),
    };
    if is_control && port == HTTPS_PORT {
        return allowed("NET-3: a data plane reaches the control plane's public API");
    }
    if is_control {
        return (Expected::Denied, "NET-5: of the control plane, only its public API");
    }
    if desired.uplink().host_addresses.contains(&to) {
        return (Expected::Denied, "NET-5: no address of the host");
    }
    if desired
        .tenants()
        .iter()
        .any(|other| other.number != from && Addresses::of(other.number).network.contains(&to))
    {
        return (Expected::Denied, "NET-1: no other tenant");
    }
    if !is_public(to) {
        return (Expected::Denied, "NET-5: no gateway, private, link-local, metadata or reserved address");
    }
    if port != HTTPS_PORT {
        return (Expected::Denied, "NET-3: only tcp/443");
    }
    allowed("NET-3: a data plane reaches the internet by tcp/443")
}

fn control_to(desired: &Desired, to: Ipv4Addr, port: u16) -> (Expected, &'static str) {
    let data_plane = |tenant: &&TenantNetwork| Addresses::of(tenant.number).data_plane == to;
    if let Some(tenant) = desired.tenants().iter().find(data_plane)
        && port == DATA_PLANE_PORT
    {
        let expected = if tenant.live { Expected::Allowed } else { Expected::Denied };
        return (expected, "NET-2: the control plane reaches a live tenant's tcp/5678");
    }
    let reachable = match desired.control_plane() {
        ControlPlane::Here { reach, .. } => reach.iter().any(|at| *at.ip() == to && at.port() == port),
        ControlPlane::Elsewhere { .. } => false,
    };
    if reachable {
        return (Expected::Allowed, "the control plane may reach this endpoint");
    }
    (Expected::Denied, "the control plane reaches data planes and what it is allowed to, nothing else")
}

fn outside_to(desired: &Desired, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> (Expected, &'static str) {
    let nothing = (Expected::Denied, "NET-4: nothing comes in");
    if to != UPLINK_ROUTER {
        return nothing;
    }
    match desired.control_plane() {
        ControlPlane::Here { .. } if port == HTTPS_PORT => {
            (Expected::Allowed, "the control plane's public API is published")
        }
        ControlPlane::Here { .. } => nothing,
        ControlPlane::Elsewhere { addresses } => {
            let tenant = desired.tenants().iter().find(|tenant| tenant.number.forwarded_port() == port);
            match tenant {
                Some(tenant) if tenant.live && addresses.contains(&from) => {
                    (Expected::Allowed, "NET-2: the control plane reaches a live tenant's tcp/5678")
                }
                Some(_) | None => nothing,
            }
        }
    }
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
