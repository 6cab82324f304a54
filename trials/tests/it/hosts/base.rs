//! The way from nothing to a host with tenants.

use super::STRANGER;
use super::house::{HOST, HOST_INTERFACE, LAN_GATEWAY, in_a_house};
use super::tenants::{ANSWERED, SILENT, connect, document, number, start, with_suspended};
use host::network::probe::Verdict;
use std::time::Instant;

#[test]
fn a_host_gets_what_the_control_plane_wants() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut networks = start(&house, None).await;
        let facts = networks.host_facts();
        assert_eq!(facts.interfaces, [HOST_INTERFACE]);
        assert_eq!(facts.addresses, [HOST, LAN_GATEWAY]);
        assert_eq!(facts.address, Some(HOST));

        networks.apply(&document(1, &[1, 3])).await.unwrap();
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(3, 80, SILENT).await, Verdict::TimedOut);
        assert!(networks.namespace(number(2)).is_err());

        let report = networks.report().await.unwrap();
        assert_eq!((report.applied, report.drift.found), (1, 0), "{report:?}");
        assert!(report.gone.contains(&2) && !report.gone.contains(&1) && !report.gone.contains(&3));
        assert_eq!(report.traffic.len(), 2);
        assert!(report.traffic[0].sent_packets > 0 && report.traffic[0].received_packets > 0);
        networks.end().await;
    });
}

#[test]
fn a_full_host_is_built_kept_and_probed() {
    if !trials::is_full("hosts: 155 tenants") {
        return;
    }
    in_a_house(async |house| {
        let all: Vec<u8> = (1..=155).collect();
        let begun = Instant::now();
        let mut networks = start(&house, Some(&document(1, &all))).await;
        eprintln!("a full host is built within {:?}", begun.elapsed());
        let begun = Instant::now();
        networks.apply(&with_suspended(2, &all, &[77])).await.unwrap();
        eprintln!("a change of one tenant is applied within {:?}", begun.elapsed());
        let begun = Instant::now();
        let probed = networks.probe().await.unwrap();
        let tried: u32 = probed.rows.iter().map(|row| row.tried).sum();
        eprintln!("{tried} probes within {:?}", begun.elapsed());
        let refused = |row: &&api::network::ProbeRow| row.held < row.tried;
        // Nobody listens on this host, and whoever says so was reached.
        assert_eq!(probed.rows.iter().find(refused), None);
        let report = networks.report().await.unwrap();
        assert_eq!((report.drift.found, report.traffic.len()), (0, 155), "{:?}", report.drift);
    });
}
