//! The links, addresses, routes and settings of each namespace: what the host builds, and what drift compares.

use crate::addresses::{
    Addresses, CONTROL_GATEWAY, CONTROL_LINK, CONTROL_NETWORK, CONTROL_PLANE, HOST_LINK, HTTPS_PORT,
    INNER_LINK, Namespace, UPLINK, UPLINK_HOST, UPLINK_NETWORK, UPLINK_ROUTER,
};
use crate::desired::{ControlPlane, Desired};
use crate::number::NetworkNumber;
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The size of packets on every link of ours.
pub const MTU: u32 = 1_500;

/// Linux's main routing table.
pub const TABLE_MAIN: u32 = 254;

/// For how long an open flow may be silent: the least that RFC 5382 (REQ-5) allows a NAT, 2 h 4 min. Linux's own
/// five days would outlive a number's quarantine, and a flow of its last tenant with it.
pub const ESTABLISHED_TIMEOUT_S: u32 = 7_440;

/// What all namespaces are to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Each namespace's state. The host's holds only what is ours.
    pub namespaces: BTreeMap<Namespace, State>,
    /// The pairs of links, router's or host's end second.
    pub pairs: Vec<Pair>,
}

/// Two links that are one wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The end in a tenant's, the control plane's or the host's namespace.
    pub outer: (Namespace, String),
    /// The end in the router's namespace.
    pub router: String,
}

/// One namespace: what is, or what should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its links.
    pub links: BTreeSet<Link>,
    /// The addresses on them.
    pub addresses: BTreeSet<Address>,
    /// Its routes in every table but `local`, which the kernel fills from the addresses.
    pub routes: BTreeSet<Route>,
    /// Which table is asked when.
    pub policies: BTreeSet<Policy>,
    /// Settings below `/proc/sys`, by path.
    pub sysctls: BTreeMap<String, String>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is: `loopback`, `veth`, or another of Linux's words.
    pub kind: String,
    /// Whether it is up.
    pub up: bool,
    /// The size of its packets.
    pub mtu: u32,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Which link.
    pub link: String,
    /// The address, and the length of its network.
    pub address: IpNet,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its table.
    pub table: u32,
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop, if there is one.
    pub via: Option<IpAddr>,
    /// Through which link.
    pub link: String,
}

/// A routing policy rule: which table is asked, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// Lower is asked earlier.
    pub priority: u32,
    /// Which table.
    pub table: u32,
    /// Whether it holds for every packet, and does nothing but ask that table.
    pub always: bool,
}

/// The routing policy that every namespace begins with: local, main, default.
const POLICIES: [Policy; 3] = [
    Policy { priority: 0, table: 255, always: true },
    Policy { priority: 32_766, table: TABLE_MAIN, always: true },
    Policy { priority: 32_767, table: 253, always: true },
];

/// Settings of every namespace of ours. Where Linux joins a link's own setting with `all`, or copies `default` to
/// new links, both are here: apply them before the first link comes.
const EVERYWHERE: [(&str, &str); 8] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/default/accept_source_route", "0"),
];

/// Settings of the router.
const ROUTER: [(&str, &str); 13] = [
    ("net/ipv4/ip_forward", "1"),
    // Strict reverse path, beside the rule that asks the same.
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
    // Answer for an address only on the link that has it, and for no one else.
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/proxy_arp", "0"),
    // The middle of a flow is no flow.
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "0"),
    // Ended and unanswered flows leave room soon: the cap counts open ones only.
    ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent", "30"),
    ("net/netfilter/nf_conntrack_tcp_timeout_fin_wait", "30"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60"),
    ("net/netfilter/nf_conntrack_tcp_timeout_last_ack", "10"),
    ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "10"),
    ("net/netfilter/nf_conntrack_tcp_timeout_unacknowledged", "120"),
];

/// Draws the networks that `desired` asks for.
#[must_use]
pub fn topology(desired: &Desired) -> Topology {
    let mut namespaces =
        BTreeMap::from([(Namespace::Host, host(desired)), (Namespace::Router, router(desired))]);
    let mut pairs = vec![Pair { outer: (Namespace::Host, HOST_LINK.to_owned()), router: UPLINK.to_owned() }];
    if let ControlPlane::Here { .. } = desired.control_plane() {
        namespaces.insert(Namespace::ControlPlane, control_plane());
        pairs.push(inner_pair(Namespace::ControlPlane, CONTROL_LINK.to_owned()));
    }
    for number in desired.tenants().iter().map(|tenant| tenant.number) {
        namespaces.insert(Namespace::Tenant(number), tenant(number));
        pairs.push(inner_pair(Namespace::Tenant(number), number.link()));
    }
    Topology { namespaces, pairs }
}

/// A namespace as the kernel makes it.
pub(crate) fn fresh() -> State {
    State { policies: POLICIES.into(), links: [loopback(false)].into(), ..State::default() }
}

fn inner_pair(namespace: Namespace, router: String) -> Pair {
    Pair { outer: (namespace, INNER_LINK.to_owned()), router }
}

fn router(desired: &Desired) -> State {
    let mut state =
        State { policies: POLICIES.into(), sysctls: sysctls(&[&EVERYWHERE, &ROUTER]), ..State::default() };
    let timeout = ESTABLISHED_TIMEOUT_S.to_string();
    state.sysctls.insert("net/netfilter/nf_conntrack_tcp_timeout_established".to_owned(), timeout);
    // Down: nothing in the router speaks to itself.
    state.links.insert(loopback(false));
    state.attach(UPLINK, UPLINK_ROUTER, UPLINK_NETWORK);
    state.route_out(UPLINK, UPLINK_HOST);
    if let ControlPlane::Here { .. } = desired.control_plane() {
        state.attach(CONTROL_LINK, CONTROL_GATEWAY, CONTROL_NETWORK);
    }
    for number in desired.tenants().iter().map(|tenant| tenant.number) {
        let Addresses { network, gateway, .. } = Addresses::of(number);
        state.attach(&number.link(), gateway, network);
    }
    state
}

fn tenant(number: NetworkNumber) -> State {
    let Addresses { network, gateway, data_plane, sidecar } = Addresses::of(number);
    let mut state = inner();
    state.attach(INNER_LINK, data_plane, network);
    state.attach(INNER_LINK, sidecar, network);
    state.route_out(INNER_LINK, gateway);
    state
}

fn control_plane() -> State {
    let mut state = inner();
    // It listens there without any privilege.
    let from = HTTPS_PORT.to_string();
    state.sysctls.insert("net/ipv4/ip_unprivileged_port_start".to_owned(), from);
    state.attach(INNER_LINK, CONTROL_PLANE, CONTROL_NETWORK);
    state.route_out(INNER_LINK, CONTROL_GATEWAY);
    state
}

/// What tenants and the control plane have alike.
fn inner() -> State {
    let mut state = State { policies: POLICIES.into(), sysctls: sysctls(&[&EVERYWHERE]), ..State::default() };
    state.sysctls.insert("net/ipv4/ip_forward".to_owned(), "0".to_owned());
    state.links.insert(loopback(true));
    let address = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8));
    state.addresses.insert(Address { link: "lo".to_owned(), address });
    state
}

fn host(desired: &Desired) -> State {
    let mut state = State::default();
    state.attach(HOST_LINK, UPLINK_HOST, UPLINK_NETWORK);
    // Links forward one by one, and the host's table lets those forward to our link only.
    let interfaces = desired.uplink().interfaces.iter().map(String::as_str);
    for link in interfaces.chain([HOST_LINK]) {
        state.sysctls.insert(format!("net/ipv4/conf/{link}/forwarding"), "1".to_owned());
    }
    state.sysctls.insert(format!("net/ipv4/conf/{HOST_LINK}/rp_filter"), "1".to_owned());
    // The host's own clients reach the control plane by `localhost`. What comes from the router to any address of
    // the host, loopback included, the host's table drops.
    state.sysctls.insert(format!("net/ipv4/conf/{HOST_LINK}/route_localnet"), "1".to_owned());
    state.sysctls.insert(format!("net/ipv6/conf/{HOST_LINK}/disable_ipv6"), "1".to_owned());
    state
}

fn loopback(up: bool) -> Link {
    Link { name: "lo".to_owned(), kind: "loopback".to_owned(), up, mtu: 65_536 }
}

fn sysctls(lists: &[&[(&str, &str)]]) -> BTreeMap<String, String> {
    let all = lists.iter().flat_map(|list| list.iter());
    all.map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect()
}

// === impl Pair ===

impl Pair {
    /// The name of the end that is in `namespace`, if one is.
    pub(crate) fn end_in(&self, namespace: Namespace) -> Option<&str> {
        match namespace {
            Namespace::Router => Some(&self.router),
            other => (self.outer.0 == other).then_some(self.outer.1.as_str()),
        }
    }
}

// === impl State ===

impl State {
    /// Adds a link, up, with an address in `network` and the route that the kernel adds for it.
    fn attach(&mut self, link: &str, address: Ipv4Addr, network: Ipv4Net) {
        let link = link.to_owned();
        self.links.insert(Link { name: link.clone(), kind: "veth".to_owned(), up: true, mtu: MTU });
        let on_link = IpNet::V4(Ipv4Net::new_assert(address, network.prefix_len()));
        self.addresses.insert(Address { link: link.clone(), address: on_link });
        let destination = IpNet::V4(network);
        self.routes.insert(Route { table: TABLE_MAIN, destination, via: None, link });
    }

    /// Adds the default route.
    fn route_out(&mut self, link: &str, via: Ipv4Addr) {
        let destination = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
        let via = Some(IpAddr::V4(via));
        self.routes.insert(Route { table: TABLE_MAIN, destination, via, link: link.to_owned() });
    }
}
