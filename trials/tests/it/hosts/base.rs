//! The way from nothing to a host with tenants.

use super::STRANGER;
use super::house::{HOST, HOST_INTERFACE, House, in_a_house};
use host::clock::Clock;
use host::network::probe::{self, Attempt, Verdict};
use network::NetworkNumber;
use node::networks::{Base, Networks, Settings};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use terms::{NodeId, TenantId, Timestamp};
use wire::networks::{HostNetworks, Quota, TenantNetwork};

/// How long an answer may take: a link that was just switched on is dead for a second or two.
const ANSWERED: Duration = Duration::from_secs(60);

/// How long silence is listened to. The same wires answered before, so an answer would come in time.
const SILENT: Duration = Duration::from_millis(700);

#[test]
fn a_host_gets_what_the_control_plane_wants() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut networks = start(&house, None).await;
        let facts = networks.host_facts();
        assert_eq!((facts.interfaces, facts.addresses), (vec![HOST_INTERFACE.to_owned()], vec![HOST]));
        assert_eq!(facts.address, Some(HOST));

        networks.apply(&document(1, &[1, 3])).await.unwrap();
        assert_eq!(connect(&networks, 1, 443, ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(&networks, 3, 80, SILENT).await, Verdict::TimedOut);
        assert!(networks.namespace(number(2)).is_err());

        let report = networks.report().await.unwrap();
        assert_eq!((report.applied, report.drift.found), (1, 0), "{report:?}");
        assert!(report.gone.contains(&2) && !report.gone.contains(&1) && !report.gone.contains(&3));
        assert_eq!(report.traffic.len(), 2);
        assert!(report.traffic[0].sent_packets > 0 && report.traffic[0].received_packets > 0);
        networks.end().await;
    });
}

async fn start(house: &House, kept: Option<&HostNetworks>) -> Networks {
    let settings = Settings {
        folder: house.folder(),
        program: trials::program("palisade-node"),
        base: Base::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach: Vec::new() },
        interfaces: None,
        address: None,
        repair: true,
    };
    Networks::start(settings, Clock::system(), kept).await.unwrap()
}

fn document(version: u64, tenants: &[u8]) -> HostNetworks {
    let tenant = |number: &u8| TenantNetwork {
        tenant: TenantId::from_bytes([*number; 16]),
        number: *number,
        live: true,
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
async fn connect(networks: &Networks, tenant: u32, port: u16, patience: Duration) -> Verdict {
    let to = SocketAddr::new(IpAddr::V4(STRANGER), port);
    let attempt = Attempt { protocol: probe::Protocol::Tcp, to, from: None };
    let namespace = networks.namespace(number(tenant)).unwrap();
    probe::run(&namespace, &[attempt], patience).await.unwrap()[0].verdict
}

fn number(n: u32) -> NetworkNumber {
    NetworkNumber::try_from(n).unwrap()
}
