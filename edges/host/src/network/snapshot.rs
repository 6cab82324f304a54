//! What a namespace has, as plain data that two readings can be compared by.

use super::link::{Link, Mac};
use super::netlink::{Attributes, Body, Message, number_at};
use super::stack::{Stack, StackError, read_all, refused};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Message kinds and attributes of `linux/rtnetlink.h`, `linux/if_addr.h`, `linux/neighbour.h`.
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const GET_NEIGHBOUR: u16 = 30;
const GET_RULE: u16 = 34;
const LOCAL: u16 = 2;
const ADDRESS: u16 = 1;
const DESTINATION: u16 = 1;
const OUT_LINK: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const TABLE: u16 = 15;
const HARDWARE_ADDRESS: u16 = 2;

/// Attributes and values of `linux/fib_rules.h`. Every rule has the suppression, which is -1 when it is none.
const SUPPRESS_PREFIX: u16 = 14;
const PROTOCOL: u16 = 21;
const NO_SUPPRESSION: u32 = u32::MAX;
const ASK_TABLE: u8 = 1;

/// A rule that the kernel made and does not give up (`FIB_RULE_PERMANENT`).
const PERMANENT_RULE: u32 = 1;

/// A neighbour that an administrator wrote down (`NUD_PERMANENT`): the kernel never asks whether it is true.
const PERMANENT: u16 = 0x80;

/// Everything about a namespace but its rules: each list sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its links.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<Address>,
    /// The routes of every table, the kernel's own among them.
    pub routes: Vec<Route>,
    /// Who is known on the links: this changes by itself.
    pub neighbours: Vec<Neighbour>,
    /// The rules that choose between the routing tables. The kernel's own are three for IPv4 and two for IPv6.
    pub routing_rules: Vec<RoutingRule>,
}

/// A rule that says which routing table is asked, and of which packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingRule {
    /// Of which packets.
    pub family: Family,
    /// Its rank: the smallest is taken first.
    pub priority: u32,
    /// The table.
    pub table: u32,
    /// Whether it holds for every packet, and does nothing but ask that table.
    pub always: bool,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The link's name.
    pub link: String,
    /// The address, with the length of its network.
    pub address: IpNet,
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Takes it in.
    Local,
    /// Sends it to all of a link.
    Broadcast,
    /// Sends it to a group.
    Multicast,
    /// Drops or refuses it.
    Refusing,
    /// Another, by the kernel's number.
    Other(u8),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// In which table; 254 is the main one, 255 the kernel's own for its addresses.
    pub table: u32,
    /// The next hop, if there is one.
    pub via: Option<IpAddr>,
    /// Out of which link, if it is one link.
    pub link: Option<String>,
    /// Its rank among routes to the same place: the smallest is taken.
    pub priority: u32,
}

/// Somebody that is known on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link's name.
    pub link: String,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, once it answered.
    pub mac: Option<Mac>,
    /// Whether it was written down and is never checked.
    pub permanent: bool,
}

impl Stack<'_> {
    /// Reads everything.
    ///
    /// # Errors
    /// When the kernel refuses or answers what cannot be read.
    pub fn snapshot(&mut self) -> Result<Snapshot, StackError> {
        let links = self.links()?;
        let names = Names(links.iter().map(|link| (link.index, link.name.clone())).collect());
        let addresses = self.list(GET_ADDRESS, 8, "addresses", |message| address(message, &names))?;
        let routes = self.list(GET_ROUTE, 12, "routes", |message| route(message, &names))?;
        let neighbours = self.list(GET_NEIGHBOUR, 12, "neighbours", |message| neighbour(message, &names))?;
        let routing_rules = self.list(GET_RULE, 12, "routing rules", routing_rule)?;
        Ok(Snapshot { links, addresses, routes, neighbours, routing_rules })
    }

    /// Lists what `read` makes something of; its inner none passes a message over.
    fn list<T: Ord>(
        &mut self,
        kind: u16,
        fixed: usize,
        what: &'static str,
        read: impl Fn(&Message) -> Option<Option<T>>,
    ) -> Result<Vec<T>, StackError> {
        let messages = self.socket.list(kind, &Body::new(&vec![0; fixed]));
        let messages = messages.map_err(refused(format!("list the {what}")))?;
        let mut found: Vec<T> = read_all(&messages, what, read)?.into_iter().flatten().collect();
        found.sort();
        Ok(found)
    }
}

/// The names of links by their numbers.
struct Names(BTreeMap<u32, String>);

impl Names {
    /// A link that appeared after the links were read has only its number.
    fn of(&self, index: u32) -> String {
        self.0.get(&index).cloned().unwrap_or_else(|| format!("#{index}"))
    }
}

/// `struct ifaddrmsg`.
fn address(message: &Message, names: &Names) -> Option<Option<Address>> {
    let (fixed, attributes) = message.split::<8>()?;
    let [_, prefix, ..] = *fixed;
    // IPv4 tells its own address apart from the other end's; IPv6 has the one.
    let bytes = attributes.find(LOCAL).or_else(|| attributes.find(ADDRESS))?;
    let address = IpNet::new(ip(bytes)?, prefix).ok()?;
    Some(Some(Address { link: names.of(number_at(fixed, 4)?), address }))
}

/// `struct rtmsg`. Families other than IP (multicast routing) are passed over.
fn route(message: &Message, names: &Names) -> Option<Option<Route>> {
    let (fixed, attributes) = message.split::<12>()?;
    let [family, prefix, _, _, table, _, _, kind, ..] = *fixed;
    let Some(any) = unspecified(family) else { return Some(None) };
    let destination = attributes.find(DESTINATION).map_or(Some(any), ip)?;
    Some(Some(Route {
        destination: IpNet::new(destination, prefix).ok()?,
        kind: route_kind(kind),
        table: attributes.number(TABLE).unwrap_or_else(|| u32::from(table)),
        via: gateway(attributes),
        link: attributes.number(OUT_LINK).map(|index| names.of(index)),
        priority: attributes.number(PRIORITY).unwrap_or_default(),
    }))
}

/// `struct fib_rule_hdr`. Families other than IP (multicast routing) are passed over.
fn routing_rule(message: &Message) -> Option<Option<RoutingRule>> {
    let (fixed, attributes) = message.split::<12>()?;
    let [family, destination, source, service, table, _, _, action, ..] = *fixed;
    let turned = number_at(fixed, 8)? & !PERMANENT_RULE != 0;
    let plain = action == ASK_TABLE && [destination, source, service] == [0; 3] && !turned;
    let family = match unspecified(family) {
        Some(IpAddr::V4(_)) => Family::Ipv4,
        Some(IpAddr::V6(_)) => Family::Ipv6,
        None => return Some(None),
    };
    Some(Some(RoutingRule {
        family,
        priority: attributes.number(PRIORITY).unwrap_or_default(),
        table: attributes.number(TABLE).unwrap_or_else(|| u32::from(table)),
        always: plain && attributes.into_iter().all(is_no_condition),
    }))
}

/// Whether an attribute of a routing rule is about all packets; one that is not known is about some.
fn is_no_condition((kind, value): (u16, &[u8])) -> bool {
    match kind {
        PRIORITY | TABLE | PROTOCOL => true,
        SUPPRESS_PREFIX => number_at(value, 0) == Some(NO_SUPPRESSION),
        _ => false,
    }
}

fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    attributes.find(GATEWAY).and_then(ip)
}

/// `RTN_..`.
const fn route_kind(number: u8) -> RouteKind {
    match number {
        1 => RouteKind::Unicast,
        2 => RouteKind::Local,
        3 | 4 => RouteKind::Broadcast,
        5 => RouteKind::Multicast,
        6..=8 => RouteKind::Refusing,
        other => RouteKind::Other(other),
    }
}

/// `struct ndmsg`. Families other than IP (bridges) are passed over.
fn neighbour(message: &Message, names: &Names) -> Option<Option<Neighbour>> {
    let (fixed, attributes) = message.split::<12>()?;
    let [family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = *fixed;
    if unspecified(family).is_none() {
        return Some(None);
    }
    let mac = attributes.find(HARDWARE_ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac);
    Some(Some(Neighbour {
        link: names.of(u32::from_ne_bytes([i0, i1, i2, i3])),
        address: ip(attributes.find(DESTINATION)?)?,
        mac,
        permanent: u16::from_ne_bytes([s0, s1]) & PERMANENT != 0,
    }))
}

/// The address that stands for all of a family; none for what is not IP.
const fn unspecified(family: u8) -> Option<IpAddr> {
    match family {
        2 => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        10 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
