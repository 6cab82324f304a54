//! All that is tried on a table of the router: the matrix, odd packets, changed routes, an open flow, too many flows.
//!
//! The host's rules, and at first the floor, are out of the way: they would hide what a table lets through by mistake.

use super::super::probing::{Owners, SILENT};
use super::super::volley::{End, Ends, Shot};
use super::super::world::{Spot, World, link, on_stack};
use super::super::{SOON, opened, probes};
use super::bench::{Bench, Fault, Tried, Usual};
use super::flows::FRIEND;
use super::odd::{self, BESIDE, Detours, NOBODY, STRANGE_LINK, STRANGE_NUMBER};
use super::{caps, flows};
use host::network::probe::{Listener, Protocol};
use host::network::{NewRoute, Stack};
use network::addresses::INNER_LINK;
use network::ruleset::{self, Ruleset};
use network::{Desired, Namespace as Place};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// One host's router, and what its right table does.
pub(super) struct Router {
    bench: Bench,
    right: Ruleset,
    main: Usual,
    detours: Vec<(Vec<NewRoute>, Usual)>,
    _friend: Listener,
}

impl Router {
    /// Builds it, and sees that the right table does all that it should.
    pub(super) async fn new(trial: &str, desired: Desired) -> Option<Self> {
        let mut world = World::build(trial, desired).await?;
        world.add_behind(STRANGE_LINK, Place::Router, STRANGE_NUMBER).await;
        let strange = world.spot(Spot::Behind(STRANGE_LINK)).await;
        let claim = |stack: &mut Stack<'_>, address: Ipv4Addr| {
            stack.add_address(&link(INNER_LINK), IpAddr::V4(address).into()).unwrap();
        };
        on_stack(&strange, |stack| odd::claimed().into_iter().for_each(|address| claim(stack, address)));
        world.give_ipv6().await;
        world.lead_strangers_in();
        let mut probes = probes(&world);
        probes.retain(|probe| probe.to != IpAddr::V4(NOBODY));
        world.decoys(Owners::of(&world).beyond(&probes).into_iter().chain(BESIDE).chain([FRIEND, NOBODY]));
        world.mute(NOBODY);
        let at = SocketAddr::new(IpAddr::V4(FRIEND), 443);
        let friend = Listener::open(&world.internet, Protocol::Tcp, at).await.unwrap();
        let right = ruleset::write(&world.desired);
        world.load(&right, &opened(ruleset::write_host(&world.desired))).await;

        let bench = Bench::new(world, Place::Router).await;
        let mut shots = bench.matrix(&probes);
        shots.extend(odd::shots(&bench.world));
        let mut router = Self { bench, right, main: Usual::default(), detours: vec![], _friend: friend };
        router.bench.load(&floorless(&router.right)).await;
        router.bench.warm_up(&shots).await;
        let start = Instant::now();
        loop {
            router.learn(&shots).await;
            // Whom nobody could reach while links were dead, the router answers seconds later.
            let Err(fault) = router.holds(&router.right.clone()).await else { return Some(router) };
            assert!(start.elapsed() < SOON, "what is right is never right twice: {fault}");
        }
    }

    /// Learns what the right table does.
    async fn learn(&mut self, shots: &[Shot]) {
        self.bench.load(&floorless(&self.right)).await;
        self.main = self.bench.usual(shots.to_vec()).await;
        self.main.is_right();
        self.detours.clear();
        for Detours { addresses, shots } in odd::detours(&self.bench.world) {
            let route = |address: Ipv4Addr| NewRoute {
                destination: IpAddr::V4(address).into(),
                via: None,
                link: link(STRANGE_LINK),
            };
            let routes: Vec<NewRoute> = addresses.into_iter().map(route).collect();
            self.lead(&routes).await;
            let usual = self.bench.usual(shots).await;
            self.lead_back(&routes).await;
            usual.is_right();
            self.detours.push((routes, usual));
        }
    }

    async fn detours_are_refused(&mut self) -> Result<(), Fault> {
        for place in 0..self.detours.len() {
            let (routes, usual) = self.detours[place].clone();
            self.lead(&routes).await;
            let done = self.bench.is_usual(&usual).await;
            self.lead_back(&routes).await;
            done?;
        }
        Ok(())
    }

    async fn lead(&self, routes: &[NewRoute]) {
        let router = self.bench.world.namespace(Place::Router).await;
        on_stack(&router, |stack| routes.iter().for_each(|route| stack.add_route(route).unwrap()));
    }

    async fn lead_back(&self, routes: &[NewRoute]) {
        let router = self.bench.world.namespace(Place::Router).await;
        on_stack(&router, |stack| routes.iter().for_each(|route| stack.remove_route(route).unwrap()));
    }

    /// Whether the floor stops all that may pass, once the table above it lets everything through and marks nothing.
    async fn floor_stops_all(&mut self, table: &Ruleset) -> Result<(), Fault> {
        self.bench.load(&Ruleset { floor: table.floor.clone(), ..opened(self.right.clone()) }).await;
        let passing = self.main.shots.iter().filter(|shot| shot.end != End::Nowhere);
        let passing: Vec<Shot> = passing.cloned().collect();
        let first = self.bench.range.throw(&passing);
        tokio::time::sleep(SILENT).await;
        let leak = self.bench.range.ends(first, passing.len()).leak(&Ends::default(), &passing);
        leak.map_or(Ok(()), |leak| Err(Fault::Leak(format!("by the floor alone, {leak}"))))
    }
}

impl Tried for Router {
    fn right(&self) -> &Ruleset {
        &self.right
    }

    fn bench(&mut self) -> (&mut Bench, &Usual) {
        (&mut self.bench, &self.main)
    }

    async fn holds(&mut self, table: &Ruleset) -> Result<(), Fault> {
        self.bench.load(&floorless(table)).await;
        self.bench.is_usual(&self.main).await?;
        self.detours_are_refused().await?;
        flows::are_cut(&mut self.bench).await?;
        caps::hold(&mut self.bench, table, &self.right).await?;
        self.bench.load(table).await;
        self.bench.is_usual(&self.main).await?;
        if table.floor == self.right.floor { Ok(()) } else { self.floor_stops_all(table).await }
    }
}

/// The first table by itself.
fn floorless(table: &Ruleset) -> Ruleset {
    Ruleset { floor: Default::default(), ..table.clone() }
}
