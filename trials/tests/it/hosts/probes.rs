//! Probes of a host at work: they see what rules do, nothing of them leaves, and nothing of them stays.

use super::house::{House, host, in_a_house, inside, name, nft, on_stack};
use super::tenants::{document, namespace, open_all, settings, start, with_suspended};
use api::network::ProbeRow;
use host::clock::Clock;
use host::network::probe::{Listener, Protocol};
use host::network::{Namespace, Nft};
use node::networks::Networks;
use serde_json::Value;
use std::net::SocketAddr;
use wire::networks::HostNetworks;

#[test]
fn every_probe_of_sound_networks_holds() {
    in_a_house(async |house| {
        let document = with_suspended(1, &[1, 2, 3], &[2]);
        let mut networks = start(&house, Some(&document)).await;
        let _work = at_work(&document).await;
        count_what_leaves(&house);
        let before = std::time::Instant::now();
        let probed = networks.probe().await.unwrap();
        eprintln!("probed within {:?}", before.elapsed());
        assert_eq!(probed.version, 1);
        assert_eq!(failing(&probed.rows), [""; 0]);
        let tried: u32 = probed.rows.iter().map(|row| row.tried).sum();
        assert!(tried > 1_500, "{tried}");
        for control in ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5"] {
            assert!(probed.rows.iter().any(|row| row.control == control), "{control}");
        }
        assert!(probed.rows.iter().any(|row| row.allowed && row.to == "the internet"));
        assert!(probed.rows.iter().any(|row| row.allowed && row.from == "the internet"));
        assert_eq!(left(&house), 0, "something left the host");
        nothing_stays();
        let report = networks.report().await.unwrap();
        assert_eq!(report.drift.found, 0, "{report:?}");
        let idle = tokio::time::timeout(std::time::Duration::from_millis(500), networks.watch()).await;
        assert!(idle.is_err(), "a probe is no drift: {idle:?}");
    });
}

#[test]
fn a_probe_sees_rules_that_let_everything_through_and_nothing_leaves_even_then() {
    in_a_house(async |house| {
        let document = document(1, &[1, 3]);
        let settings = settings(house.folder(), false);
        let networks = Networks::start(settings, Clock::system(), Some(&document)).await.unwrap();
        let _work = at_work(&document).await;
        count_what_leaves(&house);
        open_all(&house, &networks, &document).await;
        let rows = networks.probe().await.unwrap().rows;
        let failing = failing(&rows);
        for (from, to) in [
            ("tenant-1, data plane", "other tenants"),
            ("tenant-3, sidecar", "the control plane"),
            ("tenant-1, data plane", "the internet"),
            ("tenant-3, data plane", "addresses that are not public"),
            ("the control plane", "the internet"),
            ("the internet", "tenants"),
            ("every network", "everywhere"),
        ] {
            let line = format!("{from} to {to}: ");
            assert!(failing.iter().any(|failed| failed.starts_with(&line)), "{line}{failing:#?}");
        }
        assert_eq!(left(&house), 0, "something left the host");
        nothing_stays();
    });
}

#[test]
fn what_a_killed_probe_left_goes_with_the_next_start() {
    in_a_house(async |house| {
        let document = document(1, &[1]);
        let networks = start(&house, Some(&document)).await;
        let _work = at_work(&document).await;
        let probing = tokio::spawn(networks.probe());
        let begun = async || Namespace::open(&name("palisade-probe")).is_ok();
        assert!(trials::wait_until(super::SOON, begun).await);
        // As if its process were gone: nobody clears up after it.
        probing.abort();
        networks.end().await;
        let again = start(&house, Some(&document)).await;
        assert_eq!(failing(&again.probe().await.unwrap().rows), [""; 0]);
        nothing_stays();
    });
}

/// What runs on the host: data planes and the control plane.
async fn at_work(document: &HostNetworks) -> Vec<Listener> {
    let control = Namespace::open(&name("palisade-cp")).unwrap();
    let mut all = vec![listener(&control, "10.100.0.2:443").await];
    for tenant in &document.tenants {
        let number = u32::from(tenant.number);
        all.push(listener(&namespace(number), &format!("10.{}.0.10:5678", 100 + number)).await);
    }
    all
}

async fn listener(namespace: &Namespace, address: &str) -> Listener {
    let address: SocketAddr = address.parse().unwrap();
    Listener::open(namespace, Protocol::Tcp, address).await.unwrap()
}

fn failing(rows: &[ProbeRow]) -> Vec<String> {
    let failed = rows.iter().filter(|row| row.held < row.tried);
    failed.map(|row| format!("{} to {}: {}: {:?}", row.from, row.to, row.why, row.mismatches)).collect()
}

/// Begins to count every packet that comes to the internet.
fn count_what_leaves(house: &House) {
    nft(
        house.internet(),
        "table inet seen {\n counter arrived { }\n chain c {\n type filter hook prerouting priority -400; \
         meta nfproto ipv4 counter name arrived\n }\n}\n",
    );
}

fn left(house: &House) -> u64 {
    let listing = inside(house.internet(), |inside| Nft::open(inside).unwrap().list(&["seen"]).unwrap());
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let counters = listing["nftables"].as_array().unwrap().iter().filter_map(|entry| entry.get("counter"));
    counters.map(|counter| counter["packets"].as_u64().unwrap()).sum()
}

/// Nothing is left of the probes on the host.
fn nothing_stays() {
    assert!(Namespace::open(&name("palisade-probe")).is_err());
    let snapshot = on_stack(&host(), |stack| stack.snapshot().unwrap());
    assert!(snapshot.links.iter().all(|link| link.name != "palisade-probe"));
    assert!(snapshot.routes.iter().all(|route| ![24_701, 24_702].contains(&route.table)), "{snapshot:?}");
    assert!(snapshot.routing_rules.iter().all(|rule| rule.always), "{snapshot:?}");
}
