//! What somebody changes by hand on a machine with networks: seen, told, repaired.

use super::home::{Apart, SOON, on_stack};
use host::network::{LinkName, Namespace, Nft, sysctl};
use serde_json::Value;
use trials::wait_until;

/// What somebody does by hand, what undoes it by the look of it, and under which code it is told.
struct ByHand {
    what: &'static str,
    place: fn(&Apart) -> Namespace,
    deed: fn(&Namespace),
    is_repaired: fn(&Namespace) -> bool,
    code: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_is_seen_alarmed_and_repaired() {
    let Some(apart) = Apart::up("networks: drift").await else { return };
    for change in by_hand() {
        let found = found(&apart);
        let repairs = || repairs_told(&apart, change.code);
        let before = repairs();
        let namespace = (change.place)(&apart);
        (change.deed)(&namespace);
        let is_repaired = async || (change.is_repaired)(&namespace);
        assert!(wait_until(SOON, is_repaired).await, "{} is not repaired", change.what);
        drop(namespace);
        let is_told = async || repairs() > before;
        let said = || apart.site.run(&["events"]).unwrap_or_default();
        let ByHand { what, code, .. } = change;
        assert!(wait_until(SOON, is_told).await, "{what} is not told as `drift.{code}`:\n{}", said());
        let is_reported = async || self::found(&apart) > found;
        assert!(wait_until(SOON, is_reported).await, "{} is not reported", change.what);
    }
    let alarms = apart.json(&["alarms"]);
    let of_drift = alarms.as_array().unwrap().iter().filter(|alarm| alarm["kind"] == "network_drift");
    let severities: Vec<&Value> = of_drift.map(|alarm| &alarm["severity"]).collect();
    assert!(severities.len() >= by_hand().len() && severities.iter().all(|how| *how == "high"), "{alarms}");
    let is_closed = async || apart.site.run(&["network", "drift"]).is_ok();
    assert!(wait_until(SOON, is_closed).await);
    let probed = apart.site.run(&["network", "probe"]).unwrap();
    assert!(probed.contains("all hold: "), "{probed}");
    apart.end().await;
}

/// How many events say that drift of this kind was seen and repaired.
fn repairs_told(apart: &Apart, code: &str) -> usize {
    let events = apart.json(&["events", "--limit", "200"]);
    let reason = format!("drift.{code}");
    let is_repair = |event: &Value| {
        event["kind"] == "network.drift" && event["reason"] == *reason && event["outcome"] == "success"
    };
    events.as_array().unwrap().iter().filter(|event| is_repair(event)).count()
}

/// Differences that the host found since its node started.
fn found(apart: &Apart) -> u64 {
    // Open drift is another exit code.
    let output = apart.site.palisade(&["network", "drift", "-o", "json"]).output().unwrap();
    let hosts: Value = serde_json::from_slice(&output.stdout).unwrap();
    hosts[0]["drift"]["found"].as_u64().unwrap()
}

fn by_hand() -> [ByHand; 5] {
    [
        ByHand {
            what: "an address in a tenant's network",
            place: |apart| apart.namespace("demo"),
            deed: |namespace| {
                on_stack(namespace, |stack| {
                    stack.add_address(&link("eth0"), "10.101.0.99/16".parse().unwrap())
                });
            },
            is_repaired: |namespace| {
                let snapshot = on_stack(namespace, |stack| stack.snapshot());
                !snapshot.addresses.iter().any(|found| found.address.to_string().starts_with("10.101.0.99"))
            },
            code: "address",
        },
        ByHand {
            what: "a link of the router that is switched off",
            place: Apart::router,
            deed: |namespace| on_stack(namespace, |stack| stack.set_down(&link("pt1"))),
            is_repaired: |namespace| on_stack(namespace, |stack| stack.link(&link("pt1"))).up,
            code: "link",
        },
        ByHand {
            what: "a switch of the router",
            place: Apart::router,
            deed: |namespace| set(namespace, LOOSE, "1"),
            is_repaired: |namespace| read(namespace, LOOSE) == "0",
            code: "sysctl",
        },
        ByHand {
            what: "a switch of the host",
            place: host,
            deed: |namespace| set(namespace, REVERSE_PATH, "0"),
            is_repaired: |namespace| read(namespace, REVERSE_PATH) == "1",
            code: "sysctl",
        },
        ByHand {
            what: "somebody else's table in the router",
            place: Apart::router,
            deed: |namespace| nft(namespace, "add table ip hole"),
            is_repaired: |namespace| !tables(namespace).contains(&"hole".to_owned()),
            code: "table_foreign",
        },
    ]
}

const LOOSE: &str = "net/netfilter/nf_conntrack_tcp_loose";
const REVERSE_PATH: &str = "net/ipv4/conf/palisade/rp_filter";

fn host(apart: &Apart) -> Namespace {
    apart.site.machine().unwrap().namespace().clone()
}

fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

fn set(namespace: &Namespace, path: &str, value: &str) {
    namespace.enter_blocking(|inside| sysctl::write(inside, &path.parse().unwrap(), value).unwrap()).unwrap();
}

fn read(namespace: &Namespace, path: &str) -> String {
    namespace.enter_blocking(|inside| sysctl::read(inside, &path.parse().unwrap()).unwrap()).unwrap()
}

fn nft(namespace: &Namespace, text: &str) {
    namespace.enter_blocking(|inside| Nft::open(inside).unwrap().run(text).unwrap()).unwrap();
}

fn tables(namespace: &Namespace) -> Vec<String> {
    let tables = namespace
        .enter_blocking(|inside| host::network::nftables::Nftables::open(inside).unwrap().tables().unwrap());
    tables.unwrap().into_iter().map(|table| table.name).collect()
}
