//! Networks as a node starts them, what it is told to make of them, and what tenants reach then.

use super::STRANGER;
use super::house::{House, name};
use host::clock::Clock;
use host::network::Namespace;
use host::network::keeper::{self, Keeper};
use host::network::probe::{self, Attempt};
use network::NetworkNumber;
use network::ruleset::{self, Ruleset, Verdict};
use node::config::Place;
use node::networks::{Networks, Settings};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use terms::{NodeId, TenantId, Timestamp};
use wire::networks::{HostNetworks, Quota, TenantNetwork};

/// How long an answer may take: a link that was just switched on is dead for a second or two.
pub(super) const ANSWERED: Duration = Duration::from_secs(60);

/// How long silence is listened to. The same wires answered before, so an answer would come in time.
pub(super) const SILENT: Duration = Duration::from_millis(700);

/// Networks that this process has.
pub(super) async fn start(house: &House, kept: Option<&HostNetworks>) -> Networks {
    Networks::start(settings(house.folder(), true), Clock::system(), kept).await.unwrap()
}

/// A host with its control plane.
pub(super) fn settings(folder: PathBuf, repair: bool) -> Settings {
    Settings {
        folder,
        program: trials::program("palisade-node"),
        place: Place::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach: Vec::new() },
        interfaces: None,
        repair,
    }
}

/// What the control plane says of these tenants, all live.
pub(super) fn document(version: u64, tenants: &[u8]) -> HostNetworks {
    with_suspended(version, tenants, &[])
}

/// What the control plane says of these tenants, some of them suspended.
pub(super) fn with_suspended(version: u64, tenants: &[u8], suspended: &[u8]) -> HostNetworks {
    let tenant = |number: &u8| TenantNetwork {
        tenant: TenantId::from_bytes([*number; 16]),
        number: *number,
        live: !suspended.contains(number),
        quota: Quota::default(),
    };
    HostNetworks {
        node: NodeId::from_bytes([1; 16]),
        issuer: "https://localhost:8443".into(),
        version,
        issued_at: Timestamp::from_unix_ms(0),
        control_addresses: Vec::new(),
        data_planes_elsewhere: Vec::new(),
        tenants: tenants.iter().map(tenant).collect(),
    }
}

/// How a tenant's connection to the stranger ends.
pub(super) async fn connect(tenant: u32, port: u16, patience: Duration) -> probe::Verdict {
    let to = SocketAddr::new(IpAddr::V4(STRANGER), port);
    let attempt = Attempt { protocol: probe::Protocol::Tcp, to, from: None };
    probe::run(&namespace(tenant), &[attempt], patience).await.unwrap()[0].verdict
}

/// The namespace of a tenant.
pub(super) fn namespace(tenant: u32) -> Namespace {
    Namespace::open(&name(&format!("palisade-t{tenant}"))).unwrap()
}

/// The router's. It lives as long as it is held: let it go soon.
pub(super) async fn router(house: &House) -> Namespace {
    keeper(house).await.namespace().await.unwrap()
}

/// The keeper that the node has started.
pub(super) async fn keeper(house: &House) -> Keeper {
    Keeper::attach(house.folder().join("keeper.sock")).await.unwrap().unwrap()
}

/// A number.
pub(super) fn number(n: u32) -> NetworkNumber {
    NetworkNumber::try_from(n).unwrap()
}

/// Opens every filter, as only the keeper can.
pub(super) async fn open_all(house: &House, networks: &Networks, document: &HostNetworks) {
    let desired = desired(networks, document);
    let keeper = keeper(house).await;
    keeper.load(keeper::Place::Router, opened(ruleset::write(&desired)).to_nft()).await.unwrap();
    keeper.load(keeper::Place::Host, opened(ruleset::write_host(&desired)).to_nft()).await.unwrap();
}

/// What is desired, as the node makes it of a document.
fn desired(networks: &Networks, document: &HostNetworks) -> network::Desired {
    let facts = networks.host_facts();
    let tenant = |tenant: &wire::networks::TenantNetwork| network::TenantNetwork {
        tenant: tenant.tenant,
        number: u32::from(tenant.number).try_into().unwrap(),
        live: tenant.live,
        connections_max: tenant.quota.connections,
    };
    let published = Some("0.0.0.0:8443".parse().unwrap());
    network::Desired::new(
        1,
        network::ControlPlane::Here { published, reach: Vec::new() },
        network::Uplink { interfaces: facts.interfaces, host_addresses: facts.addresses },
        document.tenants.iter().map(tenant).collect(),
        &[],
    )
    .unwrap()
}

/// The rules with every filter open. What they do to addresses stays, so that answers find back.
fn opened(mut rules: Ruleset) -> Ruleset {
    for chain in rules.chains.values_mut().chain(rules.floor.values_mut()) {
        if chain.hook.as_ref().is_none_or(|hook| hook.kind != "nat") {
            chain.rules.clear();
        }
        if let Some(hook) = chain.hook.as_mut().filter(|hook| hook.kind != "nat") {
            hook.policy = Verdict::Accept;
        }
    }
    rules
}
