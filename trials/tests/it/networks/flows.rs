//! Single connections of tenants, and the changes that they are to survive or not.

use super::world::World;
use super::{STRANGER, number};
use host::network::keeper;
use host::network::probe::{self, Attempt, Listener, Verdict};
use network::{Addresses, Change, Desired, DropReason, Namespace as Place, Table, ruleset};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

pub(super) async fn drops(world: &World, reason: DropReason) -> u64 {
    let listing = world.keeper.list(keeper::Place::Router).await.unwrap().json;
    let drops = Table::read(&[listing]).unwrap().drops();
    drops.get(&reason).map_or(0, |count| count.packets)
}

/// Changes the router's rules as a node does: elements only, so that counts and caps stay.
pub(super) async fn change(world: &World, before: &Desired, after: &Desired) {
    let change = ruleset::write(after).change_from(&ruleset::write(before));
    let Change::Elements(text) = change else { panic!("{change:?}") };
    world.keeper.load(keeper::Place::Router, text).await.unwrap();
}

pub(super) async fn listen_at(world: &World, address: Ipv4Addr) -> Listener {
    let address = SocketAddr::new(IpAddr::V4(address), 443);
    Listener::open(&world.internet, probe::Protocol::Tcp, address).await.unwrap()
}

/// How a tenant's connection to the stranger ends.
pub(super) async fn connect(world: &World, tenant: u32, patience: Duration) -> Verdict {
    let to = SocketAddr::new(IpAddr::V4(STRANGER), 443);
    let from = Some(IpAddr::V4(Addresses::of(number(tenant)).data_plane));
    let attempt = Attempt { protocol: probe::Protocol::Tcp, to, from };
    let namespace = world.namespace(Place::Tenant(number(tenant))).await;
    probe::run(&namespace, &[attempt], patience).await.unwrap()[0].verdict
}

/// An open flow of a tenant to the stranger.
pub(super) async fn flow(world: &World, tenant: u32) -> TcpStream {
    let namespace = world.namespace(Place::Tenant(number(tenant))).await;
    trials::flow(&namespace, (STRANGER, 443)).await.unwrap()
}
