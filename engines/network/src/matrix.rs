//! Everything that is to be tried through the real kernel, and what is to come of it.

use crate::addresses::{
    Addresses, CONTROL_GATEWAY, CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, UPLINK_HOST, UPLINK_ROUTER,
};
use crate::desired::{ControlPlane, Desired, TenantNetwork};
use crate::number::NetworkNumber;
use crate::policy::{Control, Decision, Expected, Origin, Protocol, decide};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Ports that are tried where every port counts: ssh, mail, names, the web, and what platforms listen on.
pub const PORTS: [u16; 12] = [22, 25, 53, 80, 443, 2375, 5432, 5678, 6443, 8080, 8443, 9090];

/// The most tenants for which every ordered pair is tried on every port; beyond, each pair is tried on one.
const FULL_PAIRS_MAX: usize = 4;

/// One address out of each block that is not the public internet, and the last ones before it begins again. Not
/// loopback and multicast: no TCP connection to one leaves its namespace, whatever the rules.
pub const NOT_PUBLIC: [Ipv4Addr; 25] = [
    Ipv4Addr::new(0, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 99, 255, 254),
    Ipv4Addr::new(100, 64, 0, 1),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(100, 127, 255, 254),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(169, 254, 0, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(172, 16, 0, 1),
    Ipv4Addr::new(172, 31, 255, 254),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 31, 196, 1),
    Ipv4Addr::new(192, 52, 193, 1),
    Ipv4Addr::new(192, 88, 99, 1),
    Ipv4Addr::new(192, 168, 0, 1),
    Ipv4Addr::new(192, 168, 255, 254),
    Ipv4Addr::new(192, 175, 48, 1),
    Ipv4Addr::new(198, 18, 0, 1),
    Ipv4Addr::new(198, 19, 255, 254),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(203, 0, 113, 1),
    Ipv4Addr::new(240, 0, 0, 1),
];

/// One thing to try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// From where.
    pub from: Origin,
    /// To which address.
    pub to: IpAddr,
    /// How.
    pub protocol: Protocol,
    /// To which port; 0 if the protocol has none.
    pub port: u16,
    /// What is to come of it.
    pub expected: Expected,
    /// The control that it proves.
    pub control: Control,
    /// The sentence of the policy that says so.
    pub why: &'static str,
}

/// What there is beyond the host to be tried: a trial's decoys, or nothing on a host at work, from which no probe
/// is to bother a stranger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Public addresses where somebody listens.
    pub public: Vec<Ipv4Addr>,
    /// IPv6 addresses where somebody listens.
    pub ipv6: Vec<Ipv6Addr>,
    /// Addresses from which strangers try to get in.
    pub strangers: Vec<Ipv4Addr>,
}

/// Lists everything that is to be tried, by where it starts.
#[must_use]
pub fn matrix(desired: &Desired, beyond: &Beyond) -> Vec<Probe> {
    let mut list = List { desired, probes: Vec::new() };
    for tenant in desired.tenants() {
        for from in [Origin::DataPlane(tenant.number), Origin::Sidecar(tenant.number)] {
            list.tenant(from, tenant.number, beyond);
        }
    }
    let mut outside = beyond.strangers.clone();
    match desired.control_plane() {
        ControlPlane::Here { reach, .. } => list.control_plane(reach, beyond),
        ControlPlane::Elsewhere { addresses } => outside.extend(addresses),
    }
    for from in outside {
        list.outside(Origin::Outside(from));
    }
    // The host has no route to a tenant: what it sends there would leave by its own way out.
    list.every_port(Origin::Host, UPLINK_ROUTER);
    list.probes.sort();
    list.probes.dedup();
    list.probes
}

/// The probes so far.
struct List<'a> {
    desired: &'a Desired,
    probes: Vec<Probe>,
}

impl List<'_> {
    fn tenant(&mut self, from: Origin, number: NetworkNumber, beyond: &Beyond) {
        // The control plane, on every port and protocol.
        for address in self.control_addresses() {
            self.every_port(from, address);
        }
        // Other tenants: every pair, and the next few on every port.
        let others: Vec<TenantNetwork> =
            self.desired.tenants().iter().filter(|other| other.number != number).copied().collect();
        for (place, other) in others.iter().enumerate() {
            let Addresses { data_plane, sidecar, .. } = Addresses::of(other.number);
            if place < FULL_PAIRS_MAX {
                self.every_port(from, data_plane);
                self.every_port(from, sidecar);
            }
            self.tcp(from, data_plane, DATA_PLANE_PORT);
            self.udp(from, data_plane, DATA_PLANE_PORT);
        }
        // Gateways and the host.
        let gateway = Addresses::of(number).gateway;
        let host = self.desired.uplink().host_addresses.clone();
        let control =
            matches!(self.desired.control_plane(), ControlPlane::Here { .. }).then_some(CONTROL_GATEWAY);
        for address in [gateway, UPLINK_ROUTER, UPLINK_HOST].into_iter().chain(control).chain(host) {
            self.every_port(from, address);
        }
        // What is not the internet, and the internet.
        for address in NOT_PUBLIC {
            self.tcp(from, address, HTTPS_PORT);
            self.tcp(from, address, 80);
        }
        for address in &beyond.public {
            self.every_port(from, *address);
        }
        for address in &beyond.ipv6 {
            self.push(from, IpAddr::V6(*address), Protocol::Tcp, HTTPS_PORT);
            self.push(from, IpAddr::V6(*address), Protocol::Icmp, 0);
        }
    }

    fn control_plane(&mut self, reach: &[SocketAddrV4], beyond: &Beyond) {
        let from = Origin::ControlPlane;
        for number in self.numbers() {
            let Addresses { data_plane, sidecar, gateway, .. } = Addresses::of(number);
            self.every_port(from, data_plane);
            self.tcp(from, sidecar, DATA_PLANE_PORT);
            self.tcp(from, gateway, DATA_PLANE_PORT);
        }
        for address in [CONTROL_GATEWAY, UPLINK_ROUTER, UPLINK_HOST] {
            self.every_port(from, address);
        }
        for endpoint in reach {
            self.tcp(from, *endpoint.ip(), endpoint.port());
            self.udp(from, *endpoint.ip(), endpoint.port());
            // The port beside it.
            self.tcp(from, *endpoint.ip(), endpoint.port() ^ 1);
        }
        for address in beyond.public.iter().chain(&NOT_PUBLIC) {
            self.tcp(from, *address, HTTPS_PORT);
        }
    }

    fn outside(&mut self, from: Origin) {
        for number in self.numbers() {
            let Addresses { data_plane, sidecar, gateway, .. } = Addresses::of(number);
            for address in [data_plane, sidecar, gateway] {
                self.tcp(from, address, DATA_PLANE_PORT);
                self.tcp(from, address, HTTPS_PORT);
                self.tcp(from, address, 22);
            }
            self.udp(from, data_plane, DATA_PLANE_PORT);
            self.icmp(from, data_plane);
            self.tcp(from, UPLINK_ROUTER, number.forwarded_port());
            self.udp(from, UPLINK_ROUTER, number.forwarded_port());
        }
        self.every_port(from, UPLINK_ROUTER);
        if let ControlPlane::Here { .. } = self.desired.control_plane() {
            self.tcp(from, CONTROL_PLANE, HTTPS_PORT);
            self.tcp(from, CONTROL_PLANE, 22);
        }
    }

    fn every_port(&mut self, from: Origin, to: Ipv4Addr) {
        for port in PORTS {
            self.tcp(from, to, port);
        }
        for port in [53, HTTPS_PORT, DATA_PLANE_PORT] {
            self.udp(from, to, port);
        }
        self.icmp(from, to);
    }

    fn tcp(&mut self, from: Origin, to: Ipv4Addr, port: u16) {
        self.push(from, IpAddr::V4(to), Protocol::Tcp, port);
    }

    fn udp(&mut self, from: Origin, to: Ipv4Addr, port: u16) {
        self.push(from, IpAddr::V4(to), Protocol::Udp, port);
    }

    fn icmp(&mut self, from: Origin, to: Ipv4Addr) {
        self.push(from, IpAddr::V4(to), Protocol::Icmp, 0);
    }

    fn push(&mut self, from: Origin, to: IpAddr, protocol: Protocol, port: u16) {
        let Decision { expected, control, why } = decide(self.desired, from, to, protocol, port);
        self.probes.push(Probe { from, to, protocol, port, expected, control, why });
    }

    fn control_addresses(&self) -> Vec<Ipv4Addr> {
        match self.desired.control_plane() {
            ControlPlane::Here { .. } => vec![CONTROL_PLANE],
            ControlPlane::Elsewhere { addresses } => addresses.clone(),
        }
    }

    fn numbers(&self) -> Vec<NetworkNumber> {
        self.desired.tenants().iter().map(|tenant| tenant.number).collect()
    }
}
