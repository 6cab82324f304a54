//! A host and an internet, built out of namespaces from one desired state, as a node would build them.
//!
//! ```text
//! tenants, control plane --- router (a real keeper's) --- "host" --- "internet": decoys, hostile strangers
//! ```
//! The "host" is a namespace too, so that no packet and no rule meets the machine's own network.

use super::guard::{Guard, tag};
use host::network::keeper::{self, Keeper};
use host::network::{Inside, LinkName, Mac, Namespace, NewRoute, Nft, Stack, VethEnd, sysctl};
use host::process::{Network, Spawn};
use network::addresses::{HOST_LINK, INNER_LINK, UPLINK_ROUTER};
use network::{
    Addresses, Desired, Link, MTU, Namespace as Place, Ruleset, State, Topology, ruleset, topology,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use tempfile::TempDir;

/// The host's own address on the internet.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 99);

/// The next hop of the host.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 1);

/// The host's interface to the internet, and the other end.
pub(super) const HOST_INTERFACE: &str = "eth0";
pub(super) const INTERNET_INTERFACE: &str = "wan0";

/// Where a packet can begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// One of the namespaces that were asked for.
    Of(Place),
    /// Beyond the host.
    Internet,
    /// A namespace behind a link, of this name, that nobody asked for.
    Behind(&'static str),
}

/// All of it. Dropping it removes all of it.
pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) topology: Topology,
    pub(super) keeper: Keeper,
    pub(super) internet: Namespace,
    places: BTreeMap<Place, Namespace>,
    others: BTreeMap<&'static str, Namespace>,
    guard: Guard,
    _socket: TempDir,
}

impl World {
    /// Builds what `desired` asks for: rules first, then settings, links, addresses, routes. None, and a loud word
    /// about it, where that cannot be had.
    pub(super) async fn build(trial: &str, desired: Desired) -> Option<Self> {
        let mut guard = Guard::new(trial)?;
        let socket = tempfile::tempdir().unwrap();
        let topology = topology(&desired);
        let internet = guard.namespace();
        let places: BTreeMap<Place, Namespace> = topology
            .namespaces
            .keys()
            .filter(|place| **place != Place::Router)
            .map(|place| (*place, guard.namespace()))
            .collect();
        let keeper = start_keeper(&socket, places[&Place::Host].clone()).await;
        guard.ends(keeper.pid());
        let others = BTreeMap::new();
        let world = Self { desired, topology, keeper, internet, places, others, guard, _socket: socket };
        world.load(&ruleset::write(&world.desired), &ruleset::write_host(&world.desired)).await;
        world.wire().await;
        Some(world)
    }

    /// Adds a namespace at 10.N.0.10, behind a link of this name with the address 10.N.0.1 in a place that did not
    /// ask for it.
    pub(super) async fn add_behind(&mut self, name: &'static str, place: Place, number: u8) {
        let other = self.guard.namespace();
        let near = self.namespace(place).await;
        on_stack(&near, |stack| {
            stack.create_veth(&end(name, number, 1), &end(INNER_LINK, number, 2), &other).unwrap();
        });
        let (gateway, own) = (Ipv4Addr::new(10, number, 0, 1), Ipv4Addr::new(10, number, 0, 10));
        on_stack(&near, |stack| {
            stack.add_address(&link(name), format!("{gateway}/16").parse().unwrap()).unwrap();
            stack.set_up(&link(name)).unwrap();
        });
        bring_up(&other, INNER_LINK, own);
        route(&other, "0.0.0.0/0", gateway, INNER_LINK);
        self.others.insert(name, other);
    }

    /// Every place that there is.
    pub(super) fn spots(&self) -> Vec<Spot> {
        let places = self.topology.namespaces.keys().map(|place| Spot::Of(*place));
        places.chain([Spot::Internet]).chain(self.others.keys().map(|name| Spot::Behind(name))).collect()
    }

    /// The namespace of a spot; the router's as of a place.
    pub(super) async fn spot(&self, spot: Spot) -> Namespace {
        match spot {
            Spot::Of(place) => self.namespace(place).await,
            Spot::Internet => self.internet.clone(),
            Spot::Behind(name) => self.others[name].clone(),
        }
    }

    /// The namespace of a place. The router's lives for as long as it is held: let it go soon.
    pub(super) async fn namespace(&self, place: Place) -> Namespace {
        match self.places.get(&place) {
            Some(namespace) => namespace.clone(),
            None => self.keeper.namespace().await.unwrap(),
        }
    }

    /// Loads other rules of the router and of the host.
    pub(super) async fn load(&self, router: &Ruleset, host: &Ruleset) {
        self.keeper.load(keeper::Place::Router, router.to_nft()).await.unwrap();
        self.keeper.load(keeper::Place::Host, host.to_nft()).await.unwrap();
    }

    /// Gives the host routes that it should not have: what the internet sends to a tenant now reaches the router.
    pub(super) fn lead_strangers_in(&self) {
        let networks = self.desired.tenants().iter().map(|tenant| Addresses::of(tenant.number).network);
        let networks: Vec<_> = networks.chain([network::addresses::CONTROL_NETWORK]).collect();
        on_stack(&self.places[&Place::Host], |stack| {
            for network in networks {
                let via = Some(IpAddr::V4(UPLINK_ROUTER));
                stack
                    .add_route(&NewRoute { destination: network.into(), via, link: link(HOST_LINK) })
                    .unwrap();
            }
        });
    }

    /// Gives the internet these addresses.
    pub(super) fn decoys(&self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let addresses: Vec<Ipv4Addr> = addresses.into_iter().collect();
        on_stack(&self.internet, |stack| {
            for address in addresses {
                stack.add_address(&link(INTERNET_INTERFACE), IpAddr::V4(address).into()).unwrap();
            }
        });
    }

    /// Makes an address of the internet take everything and answer nothing.
    pub(super) fn mute(&self, address: Ipv4Addr) {
        let text = format!(
            "table ip mute {{ chain out {{ type filter hook output priority 0; ip saddr {address} drop; }}; }}"
        );
        inside(&self.internet, |inside| Nft::open(inside).unwrap().run(&text).unwrap());
    }

    async fn wire(&self) {
        let router = self.namespace(Place::Router).await;
        // Links copy what is set when they come.
        for (place, state) in self.topology.namespaces.iter().filter(|(place, _)| **place != Place::Host) {
            inside(&self.namespace(*place).await, |inside| set(inside, state));
        }
        for (number, pair) in (1..).zip(&self.topology.pairs) {
            let (place, name) = &pair.outer;
            let other = self.namespace(*place).await;
            let (near, far) = (end(&pair.router, number, 1), end(name, number, 2));
            on_stack(&router, |stack| stack.create_veth(&near, &far, &other).unwrap());
        }
        self.connect_the_host();
        for (place, state) in &self.topology.namespaces {
            on_stack(&self.namespace(*place).await, |stack| attach(stack, state));
        }
    }

    fn connect_the_host(&self) {
        let (host, internet) = (&self.places[&Place::Host], &self.internet);
        on_stack(host, |stack| {
            let (near, far) = (end(HOST_INTERFACE, 0, 1), end(INTERNET_INTERFACE, 0, 2));
            stack.create_veth(&near, &far, internet).unwrap();
        });
        let state = &self.topology.namespaces[&Place::Host];
        inside(host, |inside| set(inside, state));
        bring_up(host, HOST_INTERFACE, HOST);
        bring_up(internet, INTERNET_INTERFACE, PROVIDER);
        route(host, "0.0.0.0/0", PROVIDER, HOST_INTERFACE);
        // Strangers who know where tenants are.
        route(internet, "10.100.0.0/14", HOST, INTERNET_INTERFACE);
    }
}

async fn start_keeper(folder: &TempDir, host: Namespace) -> Keeper {
    let socket = folder.path().join("keeper.sock");
    let mut spawn = Spawn::new(trials::program("palisade-node"), "/".into());
    spawn.args = vec!["keeper".into(), "--socket".into(), socket.clone().into()];
    spawn.network = Network::Of(host);
    Keeper::start(spawn, socket).await.unwrap()
}

/// Runs `work` inside a namespace.
pub(super) fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce(&Inside) -> T + Send) -> T {
    namespace.enter_blocking(work).unwrap()
}

/// Runs `work` on the network stack of a namespace.
pub(super) fn on_stack<T: Send>(namespace: &Namespace, work: impl FnOnce(&mut Stack<'_>) -> T + Send) -> T {
    inside(namespace, |inside| work(&mut Stack::open(inside).unwrap()))
}

/// A name of a link.
pub(super) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

fn set(inside: &Inside, state: &State) {
    for (path, value) in &state.sysctls {
        sysctl::write(inside, &path.parse().unwrap(), value).unwrap();
    }
}

fn attach(stack: &mut Stack<'_>, state: &State) {
    // The kernel itself gives the loopback its address, and each network its route.
    for address in state.addresses.iter().filter(|address| address.link != "lo") {
        stack.add_address(&link(&address.link), address.address).unwrap();
    }
    for Link { name, .. } in state.links.iter().filter(|link| link.up) {
        stack.set_up(&link(name)).unwrap();
    }
    for route in state.routes.iter().filter(|route| route.via.is_some()) {
        let (destination, via) = (route.destination, route.via);
        stack.add_route(&NewRoute { destination, via, link: link(&route.link) }).unwrap();
    }
}

fn end(name: &str, pair: u8, side: u8) -> VethEnd {
    VethEnd { name: link(name), tag: tag(), mac: Mac([2, 0, 0, 0, pair, side]), mtu: MTU }
}

fn bring_up(namespace: &Namespace, name: &str, address: Ipv4Addr) {
    on_stack(namespace, |stack| {
        stack.set_up(&LinkName::loopback()).unwrap();
        stack.add_address(&link(name), format!("{address}/24").parse().unwrap()).unwrap();
        stack.set_up(&link(name)).unwrap();
    });
}

/// Makes a route by a next hop.
pub(super) fn route(namespace: &Namespace, destination: &str, via: Ipv4Addr, name: &str) {
    let destination = destination.parse().unwrap();
    let route = NewRoute { destination, via: Some(IpAddr::V4(via)), link: link(name) };
    on_stack(namespace, |stack| stack.add_route(&route).unwrap());
}
