//! As much of a host's kernel as the steps meet: links in pairs, routes that come and go with links, tables that
//! somebody owns. It refuses what the kernel refuses, and panics at what must never be done.

use crate::table::vector;
use network::addresses::HOST_LINK;
use network::converge::{End, Found, Named, Step};
use network::{
    Address, Change, ControlPlane, Desired, Firewall, Link, MTU, Namespace, NetworkNumber, Pair, Policy,
    Route, Ruleset, Seen, State, TABLE_MAIN, ruleset,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// A host.
pub(crate) struct Kernel {
    desired: Desired,
    rooms: BTreeMap<Namespace, Room>,
    hollow: BTreeSet<Namespace>,
    tables: BTreeMap<Namespace, Tables>,
    next: u32,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Room {
    tag: Option<String>,
    state: State,
    ends: BTreeMap<String, WireEnd>,
}

/// An end of a wire: the two of one wire have the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WireEnd {
    wire: u32,
    index: u32,
    tag: Option<String>,
}

/// The tables of a namespace.
#[derive(Debug, Clone, Default)]
struct Tables {
    /// Whose table it is, by the state that it is of.
    first: Option<Desired>,
    owned: bool,
    floor: Option<Desired>,
    foreign: BTreeSet<String>,
}

impl Kernel {
    /// A host with a keeper and nothing else of ours.
    pub(crate) fn new(desired: &Desired) -> Self {
        let mut kernel = Self {
            desired: desired.clone(),
            rooms: BTreeMap::new(),
            hollow: BTreeSet::new(),
            tables: [Namespace::Router, Namespace::Host].map(|at| (at, Tables::default())).into(),
            next: 100,
        };
        kernel.rooms.insert(Namespace::Router, room(Some("palisade restricted=true")));
        kernel.rooms.insert(Namespace::Host, room(None));
        let eth0 = Link { name: "eth0".to_owned(), kind: "loopback".to_owned(), up: true, mtu: MTU };
        kernel.room(Namespace::Host).state.links.insert(eth0);
        kernel
    }

    /// Says which state the steps to come lead to.
    pub(crate) fn wants(&mut self, desired: &Desired) {
        self.desired = desired.clone();
    }

    /// What a reading finds.
    pub(crate) fn found(&self) -> Found {
        let mut found = Found::default();
        for (at, room) in &self.rooms {
            let is_named = at.name().is_some();
            match &room.tag {
                None if is_named => {
                    found.names.insert(*at, Named::Foreign);
                    continue;
                }
                Some(tag) if is_named => drop(found.names.insert(*at, Named::Ours(tag.clone()))),
                Some(_) | None => {}
            }
            let firewall = self.tables.get(at).map(|tables| tables.listing(*at));
            let seen = Seen { state: room.state.clone(), firewall };
            found.actual.namespaces.insert(*at, seen);
            for (name, end) in &room.ends {
                let peer = self.peer(*at, name).map(|(place, peer)| self.rooms[&place].ends[&peer].index);
                let end = End { index: end.index, peer, tag: end.tag.clone() };
                found.ends.insert((*at, name.clone()), end);
            }
        }
        found.names.extend(self.hollow.iter().map(|at| (*at, Named::Hollow)));
        found
    }

    /// What is not ours: it must stay as it is.
    pub(crate) fn foreign(&self) -> String {
        let rooms = self.rooms.iter().filter(|(at, room)| at.name().is_some() && room.tag.is_none());
        let host = &self.rooms[&Namespace::Host];
        let is_ours = |link: &str| host.ends.get(link).is_some_and(|end| end.tag.is_some());
        let links: Vec<&Link> = host.state.links.iter().filter(|link| !is_ours(&link.name)).collect();
        format!("{:?} {links:?} {:?}", rooms.collect::<Vec<_>>(), self.tables[&Namespace::Host].foreign)
    }

    /// Carries out a step, as the kernel would.
    pub(crate) fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Load { at, text, recounts } => self.load(*at, text, *recounts),
            Step::Untable { table } => {
                assert!(self.tables.get_mut(&Namespace::Router).unwrap().foreign.remove(table), "{table}");
            }
            Step::Unlink { at, link } => {
                let is_ours = self.rooms[at].ends.get(link).is_none_or(|end| end.tag.is_some());
                assert!(is_ours || *at != Namespace::Host, "{link} is not ours");
                self.must_be_ours(*at);
                self.unlink(*at, link);
            }
            Step::Remove { namespace } => {
                if !self.hollow.remove(namespace) {
                    self.must_be_ours(*namespace);
                    self.unname(*namespace);
                }
            }
            Step::Create { namespace, tag } => {
                assert!(!self.rooms.contains_key(namespace), "{namespace} is there");
                self.hollow.remove(namespace);
                self.rooms.insert(*namespace, room(Some(tag)));
            }
            Step::Set { at, path, value } => {
                let of_link = path.split('/').any(|part| part == HOST_LINK);
                assert!(!of_link || self.rooms[at].ends.contains_key(HOST_LINK), "there is no {path}");
                self.room(*at).state.sysctls.insert(path.clone(), value.clone());
            }
            Step::Wire { pair, tag } => self.wire(pair, tag),
            Step::Up { at, link } => {
                let is_protected = self.is_sound(Namespace::Router) && self.is_sound(Namespace::Host);
                assert!(is_protected || link == "lo", "{link} in {at} is switched on without rules");
                assert!(!self.is_up(*at, link));
                self.switch(*at, link);
            }
            Step::Down { at, link } => {
                assert!(self.is_up(*at, link));
                self.switch(*at, link);
            }
            Step::Take { .. } | Step::Give { .. } | Step::Size { .. } => self.dress(step),
            Step::Unroute { .. } | Step::Route { .. } | Step::Unpolicy { .. } | Step::Policy { .. } => {
                self.lead(step);
            }
        }
    }

    fn dress(&mut self, step: &Step) {
        match step {
            Step::Take { at, address } => {
                assert!(self.has(*at, &address.link));
                self.edit(*at, |state| {
                    state.addresses.remove(address);
                    let net = address.address.trunc();
                    let still =
                        state.addresses.iter().any(|a| a.link == address.link && a.address.trunc() == net);
                    state.routes.retain(|r| {
                        still || r.link != address.link || r.destination != net || r.via.is_some()
                    });
                });
            }
            Step::Give { at, address } => {
                assert!(self.has(*at, &address.link), "{} in {at} gets an address", address.link);
                self.give(*at, address);
            }
            Step::Size { at, link, mtu } => {
                self.edit_links(*at, |links| {
                    let sized =
                        |seen: Link| if seen.name == *link { Link { mtu: *mtu, ..seen } } else { seen };
                    *links = std::mem::take(links).into_iter().map(sized).collect();
                });
            }
            _ => unreachable!(),
        }
    }

    fn lead(&mut self, step: &Step) {
        match step {
            Step::Unroute { at, route } => self.edit(*at, |state| state.routes.retain(|seen| seen != route)),
            Step::Route { at, route } => {
                assert!(self.is_up(*at, &route.link), "a route through {} in {at}, which is off", route.link);
                let state = &self.rooms[at].state;
                let near = |hop: IpAddr| {
                    let mut near = state.routes.iter().filter(|r| r.via.is_none() && r.table == TABLE_MAIN);
                    near.any(|r| r.link == route.link && r.destination.contains(&hop))
                };
                assert!(route.via.is_none_or(near), "the next hop of {route:?} in {at} is nowhere");
                self.add_route(*at, route.clone());
            }
            Step::Unpolicy { at, policy } => self.edit(*at, |state| {
                // The kernel takes the first that fits, whatever packets it is about.
                let fits = |other: &&Policy| (other.priority, other.table) == (policy.priority, policy.table);
                let first = state.policies.iter().rev().find(fits).copied();
                first.map(|first| state.policies.remove(&first));
            }),
            Step::Policy { at, policy } => self.edit(*at, |state| state.policies.extend([*policy])),
            _ => unreachable!(),
        }
    }

    fn load(&mut self, at: Namespace, text: &str, recounts: bool) {
        let desired = self.desired.clone();
        let (whole, tables) = (rules(&desired, at), self.tables.get_mut(&at).unwrap());
        assert_eq!(text == whole.to_nft(), recounts);
        if recounts {
            tables.first = Some(desired.clone());
            (tables.owned, tables.floor) = (true, Some(desired));
        } else if text == whole.floor_to_nft() {
            tables.floor = Some(desired);
        } else {
            assert!(tables.owned, "somebody else may change the table too");
            let before = Ruleset { floor: whole.floor.clone(), ..rules(tables.first.as_ref().unwrap(), at) };
            assert_eq!(whole.change_from(&before), Change::Elements(text.to_owned()));
            tables.first = Some(desired);
        }
    }

    fn wire(&mut self, pair: &Pair, tag: &str) {
        let ends = [(Namespace::Router, pair.router.clone()), pair.outer.clone()];
        let wire = self.number();
        for (at, name) in ends {
            assert!(!self.has(at, &name), "{name} is taken in {at}");
            let index = self.number();
            let link = Link { name: name.clone(), kind: "veth".to_owned(), up: false, mtu: MTU };
            let room = self.room(at);
            room.state.links.insert(link);
            room.ends.insert(name, WireEnd { wire, index, tag: Some(tag.to_owned()) });
        }
    }

    fn is_sound(&self, at: Namespace) -> bool {
        let Tables { first, owned, floor, .. } = &self.tables[&at];
        let wanted = rules(&self.desired, at);
        let by_itself = |rules: Ruleset| Ruleset { floor: BTreeMap::new(), ..rules };
        let is_first = first.as_ref().is_some_and(|of| by_itself(rules(of, at)) == by_itself(wanted.clone()));
        *owned && is_first && floor.as_ref().is_some_and(|of| rules(of, at).floor == wanted.floor)
    }

    fn must_be_ours(&self, at: Namespace) {
        let is_ours = self.rooms.get(&at).is_none_or(|room| room.tag.is_some());
        assert!(is_ours || at == Namespace::Host, "{at} is not ours");
    }

    /// The other end of a wire.
    pub(crate) fn peer(&self, at: Namespace, name: &str) -> Option<(Namespace, String)> {
        let wire = self.rooms.get(&at)?.ends.get(name)?.wire;
        let all =
            self.rooms.iter().flat_map(|(at, room)| room.ends.iter().map(move |(name, end)| (at, name, end)));
        let mut others = all.filter(|(place, other, _)| (**place, other.as_str()) != (at, name));
        others.find(|(_, _, end)| end.wire == wire).map(|(place, name, _)| (*place, name.clone()))
    }

    fn has(&self, at: Namespace, link: &str) -> bool {
        self.rooms[&at].state.links.iter().any(|seen| seen.name == link)
    }

    fn is_up(&self, at: Namespace, link: &str) -> bool {
        self.rooms[&at].state.links.iter().any(|seen| seen.name == link && seen.up)
    }

    fn room(&mut self, at: Namespace) -> &mut Room {
        self.rooms.get_mut(&at).unwrap()
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

// === what somebody does by hand; nothing if there is no such place or link ===

impl Kernel {
    pub(crate) fn edit(&mut self, at: Namespace, edit: impl FnOnce(&mut State)) {
        if let Some(room) = self.rooms.get_mut(&at) {
            edit(&mut room.state);
        }
    }

    pub(crate) fn edit_links(&mut self, at: Namespace, edit: impl FnOnce(&mut BTreeSet<Link>)) {
        self.edit(at, |state| edit(&mut state.links));
    }

    /// Both ends go.
    pub(crate) fn unlink(&mut self, at: Namespace, link: &str) {
        let peer = self.peer(at, link);
        for (at, name) in std::iter::once((at, link.to_owned())).chain(peer) {
            let Some(room) = self.rooms.get_mut(&at) else { continue };
            room.ends.remove(&name);
            room.state.links.retain(|seen| seen.name != name);
            room.state.addresses.retain(|seen| seen.link != name);
            room.state.routes.retain(|seen| seen.link != name);
        }
    }

    /// On if it is off, and the reverse: routes come and go with it.
    pub(crate) fn switch(&mut self, at: Namespace, link: &str) {
        let Some(room) = self.rooms.get_mut(&at) else { return };
        let mut now_up = false;
        room.state.links = std::mem::take(&mut room.state.links)
            .into_iter()
            .map(|seen| {
                if seen.name == link {
                    now_up = !seen.up;
                    Link { up: now_up, ..seen }
                } else {
                    seen
                }
            })
            .collect();
        if !now_up {
            return room.state.routes.retain(|route| route.link != link);
        }
        if link == "lo" && !room.state.addresses.iter().any(|address| address.link == "lo") {
            let address = "127.0.0.1/8".parse().unwrap();
            room.state.addresses.insert(Address { link: "lo".to_owned(), address });
        }
        let addresses = room.state.addresses.iter().filter(|address| address.link == link);
        room.state.routes.extend(addresses.filter_map(network_of));
    }

    pub(crate) fn give(&mut self, at: Namespace, address: &Address) {
        if self.rooms.contains_key(&at) && self.has(at, &address.link) {
            let is_up = self.is_up(at, &address.link);
            self.edit(at, |state| {
                state.addresses.insert(address.clone());
                state.routes.extend(network_of(address).filter(|_| is_up));
            });
        }
    }

    pub(crate) fn add_route(&mut self, at: Namespace, route: Route) {
        if self.rooms.contains_key(&at) && self.is_up(at, &route.link) {
            self.edit(at, |state| state.routes.extend([route]));
        }
    }

    /// Crosses the wires of two tenants.
    pub(crate) fn rewire(&mut self, one: NetworkNumber, two: NetworkNumber) {
        let wire = |kernel: &Self, number| {
            kernel
                .rooms
                .get(&Namespace::Tenant(number))
                .and_then(|room| room.ends.get("eth0").map(|end| end.wire))
        };
        let (Some(first), Some(second)) = (wire(self, one), wire(self, two)) else { return };
        for (number, wire) in [(one, second), (two, first)] {
            self.room(Namespace::Tenant(number)).ends.get_mut("eth0").unwrap().wire = wire;
        }
    }

    /// Somebody's own link, in a namespace of ours.
    pub(crate) fn add_strange_link(&mut self, at: Namespace) {
        let (wire, index) = (self.number(), self.number());
        if let Some(room) = self.rooms.get_mut(&at).filter(|room| room.tag.is_some()) {
            let link = Link { name: "strange0".to_owned(), kind: "dummy".to_owned(), up: true, mtu: MTU };
            room.state.links.insert(link);
            room.ends.insert("strange0".to_owned(), WireEnd { wire, index, tag: None });
        }
    }

    pub(crate) fn unname(&mut self, at: Namespace) {
        if at.name().is_some()
            && let Some(room) = self.rooms.get(&at).cloned()
        {
            room.ends.keys().for_each(|link| self.unlink(at, link));
            self.rooms.remove(&at);
        }
    }

    pub(crate) fn hollow(&mut self, at: Namespace) {
        self.unname(at);
        if at.name().is_some() {
            self.hollow.insert(at);
        }
    }

    pub(crate) fn retag(&mut self, at: Namespace, tag: &str) {
        if let Some(room) = self.rooms.get_mut(&at).filter(|room| at.name().is_some() && room.tag.is_some()) {
            room.tag = Some(tag.to_owned());
        }
    }

    pub(crate) fn put_foreign_namespace(&mut self, at: Namespace) {
        if at.name().is_some() {
            self.unname(at);
            self.hollow.remove(&at);
            self.rooms.insert(at, room(None));
        }
    }

    pub(crate) fn put_foreign_host_link(&mut self) {
        self.unlink(Namespace::Host, HOST_LINK);
        let (wire, index) = (self.number(), self.number());
        let link = Link { name: HOST_LINK.to_owned(), kind: "dummy".to_owned(), up: true, mtu: MTU };
        let room = self.room(Namespace::Host);
        room.state.links.insert(link);
        room.ends.insert(HOST_LINK.to_owned(), WireEnd { wire, index, tag: None });
    }

    /// What is owned stays.
    pub(crate) fn flush(&mut self) {
        for tables in self.tables.values_mut() {
            tables.first = tables.first.take().filter(|_| tables.owned);
            tables.floor = None;
            tables.foreign.clear();
        }
    }

    /// Somebody's table beside ours in the router's namespace, and on the host where it is nobody's business.
    pub(crate) fn add_table(&mut self, table: &str) {
        self.tables.values_mut().for_each(|tables| tables.foreign.extend([table.to_owned()]));
    }

    /// What was owned goes with its owner.
    pub(crate) fn lose_the_tables(&mut self) {
        for tables in self.tables.values_mut() {
            (tables.first, tables.owned) = (None, false);
        }
    }

    /// Whoever has rights may change them.
    pub(crate) fn disown_the_tables(&mut self) {
        self.tables.values_mut().for_each(|tables| tables.owned = false);
    }
}

impl Tables {
    fn listing(&self, at: Namespace) -> Firewall {
        let mut tables = String::new();
        let mut listings = Vec::new();
        let kept = [("inet palisade", &self.first), ("inet palisade_floor", &self.floor)];
        for (table, desired) in kept {
            let Some(desired) = desired else { continue };
            tables.push_str(&format!("table {table}\n"));
            let is_of = |listing: &Vec<u8>| {
                let listing = String::from_utf8_lossy(listing);
                listing.contains("palisade_floor\"") == (table == "inet palisade_floor")
            };
            // The first listings are of both tables, as far as they are there.
            let (both, own): (Vec<_>, Vec<_>) =
                vector(name(desired, at)).into_iter().enumerate().partition(|(n, _)| *n < 4);
            listings.extend(both.into_iter().map(|(_, listing)| only(&listing, table)));
            listings.extend(own.into_iter().map(|(_, listing)| listing).filter(is_of));
        }
        self.foreign.iter().for_each(|table| tables.push_str(&format!("table {table}\n")));
        Firewall { tables, owned_by_keeper: self.owned, listings }
    }
}

/// A listing without what belongs to other tables.
fn only(listing: &[u8], table: &str) -> Vec<u8> {
    let mut document: serde_json::Value = serde_json::from_slice(listing).unwrap();
    let name = table.strip_prefix("inet ").unwrap();
    let entries = document["nftables"].as_array_mut().unwrap();
    entries.retain(|entry| {
        let table = entry.as_object().unwrap().values().next().unwrap().get("table");
        table.is_none_or(|table| table == name)
    });
    document.to_string().into_bytes()
}

fn name(desired: &Desired, at: Namespace) -> &'static str {
    match (desired.control_plane(), at) {
        (ControlPlane::Here { .. }, Namespace::Router) => "router-here",
        (ControlPlane::Here { .. }, _) => "host-here",
        (ControlPlane::Elsewhere { .. }, Namespace::Router) => "router-elsewhere",
        (ControlPlane::Elsewhere { .. }, _) => "host-elsewhere",
    }
}

fn rules(desired: &Desired, at: Namespace) -> Ruleset {
    if at == Namespace::Router { ruleset::write(desired) } else { ruleset::write_host(desired) }
}

fn room(tag: Option<&str>) -> Room {
    let policy = |(priority, table)| Policy { priority, table, always: true };
    let state = State {
        links: [Link { name: "lo".to_owned(), kind: "loopback".to_owned(), up: false, mtu: 65_536 }].into(),
        policies: [(0, 255), (32_766, TABLE_MAIN), (32_767, 253)].map(policy).into(),
        ..State::default()
    };
    Room { tag: tag.map(str::to_owned), state, ends: BTreeMap::new() }
}

/// The route that comes with an address; loopback's own is in the kernel's own table.
fn network_of(address: &Address) -> Option<Route> {
    let destination = address.address.trunc();
    let route = Route { table: TABLE_MAIN, destination, via: None, link: address.link.clone() };
    (destination.addr() != IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0))).then_some(route)
}
