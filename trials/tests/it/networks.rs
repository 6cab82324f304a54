//! Tenant networks through the real kernel: the engine's rules and links, and a real keeper that holds them.

mod by_hand;
mod closing;
mod counters;
mod drift;
mod flows;
mod guard;
mod ipv6;
mod matrix;
mod mutation;
mod probing;
mod reading;
mod volley;
mod wire;
mod world;

use host::network::{Namespace, sysctl};
use network::ruleset::{Chain, Ruleset, Verdict as Fate};
use network::{
    Beyond, ControlPlane, Desired, NetworkNumber, Probe, TenantNetwork, Uplink, matrix as every_probe,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use terms::TenantId;
use world::{HOST, HOST_INTERFACE, World, inside};

/// Somebody on the internet.
const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// A database that the control plane may reach.
const DATABASE: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 40);
/// A control plane on another host.
const CONTROL: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);

/// How long a state may take to come.
const SOON: Duration = Duration::from_secs(60);

/// A host with its control plane and three tenants, of which these are live.
fn here(live: &[u32]) -> Desired {
    reaching(&[DATABASE], live)
}

/// The same, with other databases that the control plane may reach.
fn reaching(databases: &[Ipv4Addr], live: &[u32]) -> Desired {
    let reach = databases.iter().map(|address| SocketAddrV4::new(*address, 5432)).collect();
    desired(ControlPlane::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach }, live)
}

fn desired(control_plane: ControlPlane, live: &[u32]) -> Desired {
    let tenant = |n: u32| TenantNetwork {
        tenant: TenantId::from_bytes([u8::try_from(n).unwrap(); 16]),
        number: number(n),
        live: live.contains(&n),
        connections_max: 64,
    };
    let uplink = Uplink { interfaces: vec![HOST_INTERFACE.to_owned()], host_addresses: vec![HOST] };
    Desired::new(1, control_plane, uplink, (1..=3).map(tenant).collect(), &[]).unwrap()
}

fn number(n: u32) -> NetworkNumber {
    NetworkNumber::try_from(n).unwrap()
}

fn probes(world: &World) -> Vec<Probe> {
    let beyond = Beyond {
        public: vec![STRANGER],
        ipv6: vec!["2606:4700::1111".parse().unwrap()],
        strangers: vec![STRANGER],
    };
    every_probe(&world.desired, &beyond)
}

/// The rules with every filter open. What they do to addresses stays, so that answers find back.
fn opened(mut rules: Ruleset) -> Ruleset {
    let is_translation = |chain: &Chain| chain.hook.as_ref().is_some_and(|hook| hook.kind == "nat");
    let chains = rules.chains.values_mut().chain(rules.floor.values_mut());
    for chain in chains.filter(|chain| !is_translation(chain)) {
        chain.rules.clear();
        if let Some(hook) = &mut chain.hook {
            hook.policy = Fate::Accept;
        }
    }
    rules
}

/// Reads a switch of a namespace.
fn get(namespace: &Namespace, path: &str) -> String {
    inside(namespace, |inside| sysctl::read(inside, &path.parse().unwrap()).unwrap())
}

/// Writes a switch of a namespace.
fn set(namespace: &Namespace, path: &str, value: &str) {
    inside(namespace, |inside| sysctl::write(inside, &path.parse().unwrap(), value).unwrap());
}
