//! The whole matrix through the real kernel, with somebody listening wherever it leads.

use super::world::{HOST, Spot, World};
use host::network::probe::{self, Attempt, Listener, Verdict};
use network::{ControlPlane, Expected, Namespace as Place, Origin, Probe, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long an answer may take: a link that was just switched on is dead for a second or two.
pub(super) const ANSWERED: Duration = Duration::from_secs(60);

/// How long silence is listened to. The same wires answered before, so an answer would come in time; and whatever
/// arrives is counted where it arrives.
pub(super) const SILENT: Duration = Duration::from_millis(700);

/// Where an address lives, the internet being none of ours.
pub(super) struct Owners(BTreeMap<IpAddr, Place>);

impl Owners {
    pub(super) fn of(world: &World) -> Self {
        let states = world.topology.namespaces.iter();
        let addresses =
            states.flat_map(|(place, state)| state.addresses.iter().map(|a| (a.address.addr(), *place)));
        Self(addresses.chain([(IpAddr::V4(HOST), Place::Host)]).collect())
    }

    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        self.0.get(&address).copied()
    }

    /// The addresses that the matrix tries and that none of ours has.
    pub(super) fn beyond(&self, probes: &[Probe]) -> BTreeSet<Ipv4Addr> {
        let tried = probes.iter().filter(|probe| self.place(probe.to).is_none() && can_pass(probe));
        tried
            .filter_map(|probe| match probe.to {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect()
    }
}

/// Whether it would arrive if there were no rules. Not to 0.0.0.0/8, which no Linux forwards; nor by IPv6, of which
/// no link of ours has any.
pub(super) fn can_pass(probe: &Probe) -> bool {
    match probe.to {
        IpAddr::V4(address) => address.octets()[0] != 0,
        IpAddr::V6(_) => false,
    }
}

/// Listens wherever a probe leads, at every place but `except`.
pub(super) async fn listen(world: &World, probes: &[Probe], except: Option<Place>) -> Vec<Listener> {
    let owners = Owners::of(world);
    let mut wanted = BTreeSet::new();
    for probe in probes.iter().filter(|probe| can_pass(probe)) {
        let place = owners.place(probe.to);
        match probe.protocol {
            Protocol::Tcp => {
                wanted.insert((place, probe::Protocol::Tcp, Ipv4Addr::UNSPECIFIED.into(), probe.port))
            }
            // An answer has to come from the address that was asked.
            Protocol::Udp => wanted.insert((place, probe::Protocol::Udp, probe.to, probe.port)),
            Protocol::Icmp => false,
        };
    }
    let mut listeners = Vec::new();
    for (place, protocol, address, port) in wanted {
        if place.is_some() && place == except {
            continue;
        }
        let namespace = world.spot(place.map_or(Spot::Internet, Spot::Of)).await;
        let address = SocketAddr::new(address, port);
        listeners.push(Listener::open(&namespace, protocol, address).await.unwrap());
    }
    listeners
}

/// How much arrived.
pub(super) fn arrivals(listeners: &[Listener]) -> u64 {
    listeners.iter().map(Listener::arrivals).sum()
}

/// Tries every probe, and gives those that got through; a refusal came through too.
pub(super) async fn passed(world: &World, probes: &[Probe], patience: Duration) -> BTreeSet<Probe> {
    let mut passed = BTreeSet::new();
    for (spot, probes) in by_spot(probes) {
        let attempts: Vec<Attempt> = probes.iter().map(|probe| attempt(world, probe)).collect();
        let outcomes = probe::run(&world.spot(spot).await, &attempts, patience).await.unwrap();
        let through = |verdict| matches!(verdict, Verdict::Connected | Verdict::Refused);
        let both = probes.into_iter().zip(outcomes);
        passed.extend(both.filter(|(_, outcome)| through(outcome.verdict)).map(|(probe, _)| probe));
    }
    passed
}

fn by_spot(probes: &[Probe]) -> BTreeMap<Spot, Vec<Probe>> {
    let mut spots: BTreeMap<_, Vec<Probe>> = BTreeMap::new();
    for probe in probes {
        spots.entry(spot(probe.from)).or_default().push(probe.clone());
    }
    spots
}

/// Where a probe begins.
pub(super) fn spot(origin: Origin) -> Spot {
    match origin {
        Origin::ControlPlane => Spot::Of(Place::ControlPlane),
        Origin::DataPlane(number) | Origin::Sidecar(number) => Spot::Of(Place::Tenant(number)),
        Origin::Host => Spot::Of(Place::Host),
        Origin::Outside(_) => Spot::Internet,
    }
}

/// How a probe is tried.
pub(super) fn attempt(world: &World, probe: &Probe) -> Attempt {
    node::networks::attempt(probe, target(world, probe))
}

/// What the router publishes, whoever is outside reaches by the host's own address; the host's rules refuse those
/// who name the router.
fn target(world: &World, probe: &Probe) -> SocketAddr {
    let published = match world.desired.control_plane() {
        ControlPlane::Here { published, .. } => published.map_or(probe.port, |at| at.port()),
        ControlPlane::Elsewhere { .. } => probe.port,
    };
    match (probe.from, probe.expected) {
        (Origin::Outside(_), Expected::Allowed) => SocketAddr::new(IpAddr::V4(HOST), published),
        _ => SocketAddr::new(probe.to, probe.port),
    }
}
