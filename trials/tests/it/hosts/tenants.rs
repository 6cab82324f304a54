//! Networks as a node starts them, what it is told to make of them, and what tenants reach then.

use super::STRANGER;
use super::house::{House, name};
use host::clock::Clock;
use host::network::Namespace;
use host::network::keeper::Keeper;
use host::network::probe::{self, Attempt, Verdict};
use network::NetworkNumber;
use node::networks::{Base, Networks, Settings};
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
        base: Base::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach: Vec::new() },
        interfaces: None,
        address: None,
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
pub(super) async fn connect(tenant: u32, port: u16, patience: Duration) -> Verdict {
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
