//! Addresses, routes and routing rules, given and taken.

use super::name::LinkName;
use super::netlink::{Body, CREATE};
use super::snapshot::{Family, Route, RoutingRule};
use super::stack::{Stack, StackError, refused};
use ipnet::IpNet;
use std::io;
use std::net::IpAddr;

/// Message kinds and attributes of `linux/rtnetlink.h` and `linux/if_addr.h`.
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const LOCAL: u16 = 2;
const ADDRESS: u16 = 1;
const DESTINATION: u16 = 1;
const LINK: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const IN_LINK: u16 = 3;
const TABLE: u16 = 15;

/// The table that everything is looked up in (`RT_TABLE_MAIN`).
const MAIN_TABLE: u8 = 254;

/// Who made the route (`RTPROT_STATIC`): an administrator, not a daemon that another one would clean up after.
const STATIC: u8 = 4;

/// How far it reaches (`RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK`).
const EVERYWHERE: u8 = 0;
const ON_LINK: u8 = 253;

/// However far it reaches (`RT_SCOPE_NOWHERE`): only routes that are looked for have it.
const ANYWHERE: u8 = 255;

/// What it does (`RTN_UNICAST`).
const UNICAST: u8 = 1;

/// What a routing rule does (`FR_ACT_TO_TBL`): it names a table. None is meant where any may be.
const TO_TABLE: u8 = 1;
const ANY_ACTION: u8 = 0;

/// A route, as it is to be made: in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// Where to.
    pub destination: IpNet,
    /// The next hop; none when the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// Out of which link of ours.
    pub link: LinkName,
}

impl Stack<'_> {
    /// Gives a link of ours an address. One that it has already is no error.
    ///
    /// # Errors
    /// When the link is absent or not ours, or the kernel refuses.
    pub fn add_address(&mut self, link: &LinkName, address: IpNet) -> Result<(), StackError> {
        let body = self.address(link, address)?;
        let done = self.socket.change(NEW_ADDRESS, CREATE, &body);
        unless(done, libc::EEXIST).map_err(refused(format!("give the link `{link}` the address {address}")))
    }

    /// Takes an address from a link of ours. One that it has not is no error.
    ///
    /// # Errors
    /// When the link is absent or not ours, or the kernel refuses.
    pub fn remove_address(&mut self, link: &LinkName, address: IpNet) -> Result<(), StackError> {
        let body = self.address(link, address)?;
        let done = self.socket.change(DELETE_ADDRESS, 0, &body);
        unless(done, libc::EADDRNOTAVAIL)
            .map_err(refused(format!("take the address {address} from the link `{link}`")))
    }

    /// Makes a route out of a link of ours. One that is there already is no error.
    ///
    /// # Errors
    /// When the link is absent, down or not ours, or the kernel refuses.
    pub fn add_route(&mut self, route: &NewRoute) -> Result<(), StackError> {
        let body = self.route(route)?;
        let done = self.socket.change(NEW_ROUTE, CREATE, &body);
        unless(done, libc::EEXIST).map_err(refused(format!("make the route to {}", route.destination)))
    }

    /// Makes a route out of a link of ours, in a table of its own that [`Stack::ask_table`] leads to.
    ///
    /// # Errors
    /// When the link is absent, down or not ours, or the kernel refuses.
    pub fn add_route_in(&mut self, table: u32, route: &NewRoute) -> Result<(), StackError> {
        let body = self.route(route)?.number(TABLE, table);
        let done = self.socket.change(NEW_ROUTE, CREATE, &body);
        unless(done, libc::EEXIST).map_err(refused(format!("make the route to {}", route.destination)))
    }

    /// Has what comes in by a link of ours, and nothing else, led by a table of its own.
    ///
    /// # Errors
    /// When the link is absent or not ours, or the kernel refuses.
    pub fn ask_table(&mut self, link: &LinkName, priority: u32, table: u32) -> Result<(), StackError> {
        self.ours(link)?;
        let done = self.socket.change(NEW_RULE, CREATE, &of_link(link, priority, table));
        unless(done, libc::EEXIST).map_err(refused(format!("lead what comes by `{link}`")))
    }

    /// Undoes [`Stack::ask_table`], also once the link is gone. Nothing to undo is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ask_table_no_more(
        &mut self,
        link: &LinkName,
        priority: u32,
        table: u32,
    ) -> Result<(), StackError> {
        let done = self.socket.change(DELETE_RULE, 0, &of_link(link, priority, table));
        unless(done, libc::ENOENT).map_err(refused(format!("lead what comes by `{link}` as before")))
    }

    /// Removes a route out of a link of ours. One that is not there is no error.
    ///
    /// # Errors
    /// When the link is absent or not ours, or the kernel refuses.
    pub fn remove_route(&mut self, route: &NewRoute) -> Result<(), StackError> {
        let body = self.route(route)?;
        let done = self.socket.change(DELETE_ROUTE, 0, &body);
        unless(done, libc::ESRCH).map_err(refused(format!("remove the route to {}", route.destination)))
    }

    /// Removes a route out of a link of ours or in a namespace of ours, whoever made it, in whichever table it is. One
    /// that is not there is no error.
    ///
    /// # Errors
    /// When neither is ours, or the kernel refuses.
    pub fn evict_route(&mut self, route: &Route) -> Result<(), StackError> {
        let link = route.link.as_deref().and_then(|link| link.parse().ok());
        if link.is_none_or(|link| self.ours(&link).is_err()) {
            self.in_namespace_of_ours()?;
        }
        let destination = route.destination.trunc();
        let (family, prefix) = (family(destination.addr()), destination.prefix_len());
        // Nobody's origin and no kind: whatever these are, the route is meant.
        let fixed = [family, prefix, 0, 0, 0, 0, ANYWHERE, 0, 0, 0, 0, 0];
        let mut body =
            Body::new(&fixed).bytes(DESTINATION, &bytes_of(destination.addr())).number(TABLE, route.table);
        if let Some(link) = &route.link {
            match self.links()?.into_iter().find(|found| found.name == *link) {
                Some(found) => body = body.number(LINK, found.index),
                // A link takes its routes with it.
                None => return Ok(()),
            }
        }
        if let Some(via) = route.via {
            body = body.bytes(GATEWAY, &bytes_of(via));
        }
        let done = self.socket.change(DELETE_ROUTE, 0, &body);
        unless(done, libc::ESRCH).map_err(refused(format!("remove the route to {}", route.destination)))
    }

    /// Makes a routing rule of a namespace of ours, for every packet.
    ///
    /// # Errors
    /// When the namespace is not ours, or the kernel refuses.
    pub fn add_routing_rule(&mut self, rule: RoutingRule) -> Result<(), StackError> {
        let body = self.routing_rule(rule, TO_TABLE)?;
        let done = self.socket.change(NEW_RULE, CREATE, &body);
        unless(done, libc::EEXIST).map_err(refused(format!("make the routing rule {}", rule.priority)))
    }

    /// Removes a routing rule of this priority and table from a namespace of ours, whatever packets it is about: the first
    /// of several. One that is not there is no error.
    ///
    /// # Errors
    /// When the namespace is not ours, or the kernel refuses.
    pub fn evict_routing_rule(&mut self, rule: RoutingRule) -> Result<(), StackError> {
        let body = self.routing_rule(rule, ANY_ACTION)?;
        let done = self.socket.change(DELETE_RULE, 0, &body);
        unless(done, libc::ENOENT).map_err(refused(format!("remove the routing rule {}", rule.priority)))
    }

    /// `struct fib_rule_hdr` and its attributes.
    fn routing_rule(&mut self, rule: RoutingRule, action: u8) -> Result<Body, StackError> {
        self.in_namespace_of_ours()?;
        let family = match rule.family {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        };
        let fixed = [family, 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0];
        Ok(Body::new(&fixed).number(PRIORITY, rule.priority).number(TABLE, rule.table))
    }

    /// `struct ifaddrmsg` and its attributes.
    fn address(&mut self, link: &LinkName, address: IpNet) -> Result<Body, StackError> {
        let [i0, i1, i2, i3] = self.ours(link)?.index.to_ne_bytes();
        let fixed = [family(address.addr()), address.prefix_len(), 0, EVERYWHERE, i0, i1, i2, i3];
        let bytes = bytes_of(address.addr());
        Ok(Body::new(&fixed).bytes(LOCAL, &bytes).bytes(ADDRESS, &bytes))
    }

    /// `struct rtmsg` and its attributes.
    fn route(&mut self, route: &NewRoute) -> Result<Body, StackError> {
        let index = self.ours(&route.link)?.index;
        let destination = route.destination.trunc();
        let scope = if route.via.is_some() { EVERYWHERE } else { ON_LINK };
        let prefix = destination.prefix_len();
        let family = family(destination.addr());
        let fixed = [family, prefix, 0, 0, MAIN_TABLE, STATIC, scope, UNICAST, 0, 0, 0, 0];
        let body = Body::new(&fixed).bytes(DESTINATION, &bytes_of(destination.addr())).number(LINK, index);
        Ok(match route.via {
            Some(via) => body.bytes(GATEWAY, &bytes_of(via)),
            None => body,
        })
    }
}

/// `struct fib_rule_hdr` and its attributes, for what comes in by one link.
fn of_link(link: &LinkName, priority: u32, table: u32) -> Body {
    let fixed = [2, 0, 0, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0];
    Body::new(&fixed).number(PRIORITY, priority).number(TABLE, table).text(IN_LINK, link.as_ref())
}

/// Whether it was done, or stood so already.
fn unless(done: io::Result<()>, already: i32) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(already) => Ok(()),
        done => done,
    }
}

/// `AF_INET` or `AF_INET6`.
const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
