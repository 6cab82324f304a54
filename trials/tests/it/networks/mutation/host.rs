//! All that is tried on a table of the host. The router is out of the way: it forwards everything as it comes.

use super::super::ipv6::ipv6_of;
use super::super::volley::{End, Ends, Shot};
use super::super::wire::{FRAGMENTATION_NEEDED, Load, Packet, UNREACHABLE};
use super::super::world::{HOST, INTERNET_INTERFACE, Spot, World, route};
use super::super::{CONTROL, DATABASE, STRANGER, opened, set};
use super::bench::{Bench, Fault, LATE, LOOK, Tried, Usual};
use super::odd::{data_plane, tcp, tenant};
use host::network::probe::{Listener, Protocol};
use network::addresses::{CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, UPLINK_HOST, UPLINK_ROUTER};
use network::ruleset::{self, Ruleset};
use network::{ControlPlane, Desired, Namespace as Place};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Networks of the host's own, between which it forwards.
const CONTAINERS: Spot = Spot::Behind("docker0");
const OTHERS: Spot = Spot::Behind("docker1");
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 51, 0, 10);

/// The port at which the host publishes its control plane.
const PUBLISHED: u16 = 8443;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ROUTER: Spot = Spot::Of(Place::Router);
const ITSELF: Spot = Spot::Of(Place::Host);
const CONTROL_SPOT: Spot = Spot::Of(Place::ControlPlane);

/// One host, and what its right table does.
pub(super) struct Host {
    bench: Bench,
    right: Ruleset,
    main: Usual,
    /// Who takes a connection. The kernel forgets one at once that was only ever refused.
    _listeners: Vec<Listener>,
}

impl Host {
    /// Builds it, and sees that the right table does all that it should.
    pub(super) async fn new(trial: &str, desired: Desired) -> Option<Self> {
        let mut world = World::build(trial, desired).await?;
        world.add_behind("docker0", Place::Host, 50).await;
        world.add_behind("docker1", Place::Host, 51).await;
        let host = world.namespace(Place::Host).await;
        for name in ["docker0", "docker1"] {
            set(&host, &format!("net/ipv4/conf/{name}/forwarding"), "1");
        }
        route(&world.internet, "10.50.0.0/16", HOST, INTERNET_INTERFACE);
        world.give_ipv6().await;
        world.lead_strangers_in();
        world.decoys([STRANGER, DATABASE, CONTROL]);
        let right = ruleset::write_host(&world.desired);
        let mut router = opened(ruleset::write(&world.desired));
        router.chains.get_mut("leaving").unwrap().rules.clear();
        world.load(&router, &right).await;

        let places = published(&world.desired).map(|(at, ..)| at).into_iter().chain([Spot::Internet]);
        let mut listeners = Vec::new();
        for spot in places {
            let port = if spot == tenant(1) { DATA_PLANE_PORT } else { HTTPS_PORT };
            listeners.push(listen(&world, spot, port).await);
        }
        let shots = shots(&world.desired);
        let bench = Bench::new(world, Place::Host).await;
        let mut host = Self { bench, right, main: Usual::default(), _listeners: listeners };
        host.bench.warm_up(&shots).await;
        host.main = host.bench.learn(&host.right, &shots).await;
        host.main.is_right();
        assert_eq!(host.holds(&host.right.clone()).await, Ok(()));
        Some(host)
    }

    /// Whether errors about open flows pass both ways. Whoever took a connection says them.
    async fn errors_pass(&mut self) -> Result<(), Fault> {
        let out = tcp(UPLINK_ROUTER, STRANGER, 443);
        let flow = Shot::new("a flow out", ROUTER, out, End::Answered(Spot::Internet));
        let looked = self.looks(flow, Spot::Internet).await?;
        let mut errors = vec![error(Spot::Internet, STRANGER, HOST, looked, End::At(ROUTER))];
        if let Some((at, inside, outside, port)) = published(&self.bench.world.desired) {
            let flow = Shot::new("a flow in", Spot::Internet, tcp(outside, HOST, port), End::Answered(at));
            let looked = self.looks(flow, at).await?;
            errors.push(error(at, inside, outside, looked, End::At(Spot::Internet)));
        }
        self.come(&errors).await.map(|_| ())
    }

    /// How the first packet of a flow looks when it arrives there.
    async fn looks(&mut self, flow: Shot, spot: Spot) -> Result<Vec<u8>, Fault> {
        let number = self.come(&[flow]).await?;
        Ok(self.bench.range.arrival(number, spot).unwrap().to_vec())
    }

    /// Throws what is to get through, and gives the number of the first.
    async fn come(&mut self, shots: &[Shot]) -> Result<u32, Fault> {
        let wanted = Ends::wanted(shots);
        let first = self.bench.range.throw(shots);
        let start = Instant::now();
        loop {
            let ends = self.bench.range.ends(first, shots.len());
            match ends.loss(&wanted, shots) {
                None => return Ok(first),
                Some(loss) if start.elapsed() > LATE => return Err(Fault::Other(loss)),
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl Tried for Host {
    fn right(&self) -> &Ruleset {
        &self.right
    }

    fn bench(&mut self) -> (&mut Bench, &Usual) {
        (&mut self.bench, &self.main)
    }

    async fn holds(&mut self, table: &Ruleset) -> Result<(), Fault> {
        self.bench.load(table).await;
        self.bench.is_usual(&self.main).await?;
        self.errors_pass().await
    }
}

/// Who is reached from outside: where, at which address of his own, from whom, and at which port of the host.
fn published(desired: &Desired) -> Option<(Spot, Ipv4Addr, Ipv4Addr, u16)> {
    match desired.control_plane() {
        ControlPlane::Here { published, .. } => {
            let to_all = published.is_some_and(|at| !at.ip().is_loopback());
            to_all.then_some((CONTROL_SPOT, CONTROL_PLANE, STRANGER, PUBLISHED))
        }
        ControlPlane::Elsewhere { .. } => Some((tenant(1), data_plane(1), CONTROL, 20_001)),
    }
}

async fn listen(world: &World, spot: Spot, port: u16) -> Listener {
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    Listener::open(&world.spot(spot).await, Protocol::Tcp, address).await.unwrap()
}

fn error(from: Spot, source: Ipv4Addr, destination: Ipv4Addr, about: Vec<u8>, end: End) -> Shot {
    let load = Load::Error { kind: UNREACHABLE, code: FRAGMENTATION_NEEDED, about };
    let packet = Packet { source: source.into(), destination: destination.into(), load };
    Shot::new("an error about an open flow", from, packet, end)
}

fn shots(desired: &Desired) -> Vec<Shot> {
    let mut all = from_router();
    all.extend(of_the_host());
    match desired.control_plane() {
        ControlPlane::Here { published, .. } => all.extend(at_home(*published.unwrap().ip())),
        ControlPlane::Elsewhere { .. } => all.extend(away()),
    }
    all
}

/// From the router, whose address every flow of a tenant has by then.
fn from_router() -> Vec<Shot> {
    let from = |source, to, port, end| {
        let what = format!("the router as {source} to {to}:{port}");
        Shot::new(what, ROUTER, tcp(source, to, port), end).by(UPLINK_HOST)
    };
    let to = |to, port, end| from(UPLINK_ROUTER, to, port, end);
    let udp = Packet { load: Load::Udp { port: 443 }, ..tcp(UPLINK_ROUTER, STRANGER, 443) };
    let ipv6 = Packet {
        source: ipv6_of(ROUTER).into(),
        destination: ipv6_of(Spot::Internet).into(),
        ..tcp(UPLINK_ROUTER, STRANGER, 443)
    };
    vec![
        to(STRANGER, 443, End::Answered(Spot::Internet)),
        to(STRANGER, 80, End::Nowhere),
        to(DATABASE, 5433, End::Nowhere),
        Shot::new("the router by UDP", ROUTER, udp, End::Nowhere),
        Shot::new("the router by IPv6", ROUTER, ipv6, End::Nowhere),
        from(data_plane(1), STRANGER, 443, End::Nowhere),
        from(CONTROL_PLANE, DATABASE, 5432, End::Nowhere),
        from(CONTROL, HOST, 20_001, End::Nowhere),
        to(data_plane(3), 443, End::Nowhere),
        to(HOST, 443, End::Nowhere),
        to(HOST, PUBLISHED, End::Nowhere),
        to(UPLINK_HOST, 22, End::Nowhere),
        to(LOCALHOST, 5432, End::Nowhere),
    ]
}

/// The host's other business, of which none is ours.
fn of_the_host() -> Vec<Shot> {
    let shot = |from, packet: Packet, end| Shot::new(format!("{from:?}: {packet:?}"), from, packet, end);
    let beside = |port| shot(OTHERS, tcp(OTHER, CONTAINER, port), End::Answered(CONTAINERS));
    vec![
        shot(ITSELF, tcp(UPLINK_HOST, data_plane(1), 5678), End::Answered(tenant(1))),
        shot(ITSELF, tcp(LOCALHOST, LOCALHOST, 5432), End::Answered(ITSELF)),
        shot(ITSELF, tcp(HOST, STRANGER, 443), End::Answered(Spot::Internet)),
        shot(ITSELF, tcp(HOST, STRANGER, PUBLISHED), End::Answered(Spot::Internet)),
        shot(Spot::Internet, tcp(STRANGER, HOST, 22), End::Answered(ITSELF)),
        shot(Spot::Internet, tcp(STRANGER, UPLINK_ROUTER, 443), End::Nowhere),
        shot(Spot::Internet, tcp(STRANGER, data_plane(1), 5678), End::Nowhere),
        shot(Spot::Internet, tcp(STRANGER, CONTAINER, 80), End::Nowhere),
        beside(80),
        beside(PUBLISHED),
        beside(20_001),
    ]
}

/// The control plane is published at this address, which is the host's, its loopback, or all of its addresses.
fn at_home(published: Ipv4Addr) -> Vec<Shot> {
    let control = End::Answered(CONTROL_SPOT);
    let at = |address| {
        let is_published = published == address || published.is_unspecified();
        if is_published { control } else { End::Answered(ITSELF) }
    };
    // Who may reach it at all addresses gains nothing by that one.
    let by_loopback = if published.is_unspecified() { End::At(CONTROL_SPOT) } else { End::Nowhere };
    let local = tcp(LOCALHOST, LOCALHOST, PUBLISHED);
    let own = Shot::new("the host's own client, at `localhost`", ITSELF, local, at(LOCALHOST));
    let own = if own.end == control { own.seen_as(UPLINK_HOST) } else { own };
    let query = tcp(UPLINK_ROUTER, DATABASE, 5432);
    let outside = |what: &str, to, port, end| Shot::new(what, Spot::Internet, tcp(STRANGER, to, port), end);
    vec![
        own,
        Shot::new("the host's own client", ITSELF, tcp(HOST, HOST, PUBLISHED), at(HOST)),
        Shot::new("the control plane to its database", ROUTER, query, End::Answered(Spot::Internet)),
        outside("a client", HOST, PUBLISHED, at(HOST)),
        outside("a stranger who names the loopback", LOCALHOST, PUBLISHED, by_loopback).by(HOST),
        outside("a plan", HOST, 20_001, End::Answered(ITSELF)),
    ]
}

fn away() -> Vec<Shot> {
    let outside = |what: &str, from, port, end| Shot::new(what, Spot::Internet, tcp(from, HOST, port), end);
    let behind = tcp(CONTROL, CONTAINER, 20_001);
    vec![
        outside("a plan", CONTROL, 20_001, End::Answered(tenant(1))),
        outside("a plan", CONTROL, 20_002, End::Answered(tenant(2))),
        outside("a plan", CONTROL, 20_003, End::Answered(tenant(3))),
        outside("a stranger's plan", STRANGER, 20_001, End::Answered(ITSELF)),
        Shot::new("a plan to somebody behind", OTHERS, behind, End::At(CONTAINERS)),
        outside("a client", STRANGER, PUBLISHED, End::Answered(ITSELF)),
    ]
}
