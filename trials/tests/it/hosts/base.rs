//! The way from nothing to a host with tenants.

use super::STRANGER;
use super::house::{HOST, HOST_INTERFACE, in_a_house};
use super::tenants::{ANSWERED, SILENT, connect, document, number, start};
use host::network::probe::Verdict;

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
