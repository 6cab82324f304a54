//! Drift: nothing for what was asked for, and something for anything else.

use crate::table::{expected, vector};
use crate::world::{elsewhere, here, number};
use network::{
    Actual, Address, Change, DRIFTS_MAX, Desired, Drift, DriftKind, Firewall, Link, Namespace, Policy, Route,
    Ruleset, Seen, State, TABLE_MAIN, drift, ruleset, topology,
};
use serde_json::Value;

#[test]
fn what_was_asked_for_is_no_drift() {
    for desired in [here(3), elsewhere(3)] {
        assert_eq!(drift(&desired, &sound(&desired)), []);
    }
}

#[test]
fn counts_handles_and_the_order_of_elements_are_no_drift() {
    let desired = here(3);
    let mut actual = sound(&desired);
    edit(&mut actual, Namespace::Router, |document| {
        each(document, &mut |value| {
            if let Some(object) = value.as_object_mut() {
                for (key, number) in [("handle", 4_711), ("packets", 12), ("bytes", 800)] {
                    object.entry(key).and_modify(|value| *value = number.into());
                }
                if let Some(Value::Array(elements)) = object.get_mut("elem") {
                    elements.reverse();
                }
            }
        });
    });
    assert_eq!(drift(&desired, &actual), []);
}

#[test]
fn whatever_is_taken_from_a_table_is_seen() {
    for name in ["router-here", "router-elsewhere", "host-here", "host-elsewhere"] {
        let (desired, _) = expected(name);
        let namespace = if name.starts_with("router") { Namespace::Router } else { Namespace::Host };
        let mut tried = 0;
        for (listing, document) in worth_changing(name) {
            let whole: Value = serde_json::from_slice(&document).unwrap();
            for path in parts(&whole) {
                let mut actual = sound(&desired);
                let firewall = actual.namespaces.get_mut(&namespace).unwrap().firewall.as_mut().unwrap();
                firewall.listings[listing] = without(&whole, &path).to_string().into_bytes();
                // Each chain is listed twice, and may be missing in one of the two.
                let chain_again = whole["nftables"][path[0]].get("chain").is_some() && path.len() == 1;
                let seen = !drift(&desired, &actual).is_empty();
                assert!(seen || chain_again, "{name}: without {path:?} of {whole}");
                tried += 1;
            }
        }
        assert!(tried >= 20, "{name}: {tried}");
    }
}

#[test]
fn whatever_is_changed_in_a_table_is_seen() {
    for name in ["router-here", "router-elsewhere", "host-here", "host-elsewhere"] {
        let (desired, _) = expected(name);
        let namespace = if name.starts_with("router") { Namespace::Router } else { Namespace::Host };
        let mut tried = 0;
        for (listing, document) in worth_changing(name) {
            let whole: Value = serde_json::from_slice(&document).unwrap();
            for place in 1..whole["nftables"].as_array().unwrap().len() {
                for leaf in 0.. {
                    let mut changed = whole.clone();
                    let mut left = leaf;
                    if !change_leaf(&mut changed["nftables"][place], &mut left) {
                        break;
                    }
                    let mut actual = sound(&desired);
                    let seen = actual.namespaces.get_mut(&namespace).unwrap();
                    firewall_of(seen).listings[listing] = changed.to_string().into_bytes();
                    assert!(!drift(&desired, &actual).is_empty(), "{name}: {}", changed["nftables"][place]);
                    tried += 1;
                }
            }
        }
        assert!(tried > 50, "{name}: {tried}");
    }
}

#[test]
fn what_is_added_to_a_table_is_seen() {
    let rows = [
        (
            r#"{"rule": {"chain": "forward", "expr": [{"accept": null}]}}"#,
            "rule_foreign in router: forward has `accept`, which nothing asked for",
        ),
        (
            r#"{"rule": {"chain": "forward", "expr": [{"jump": {"target": "x"}}]}}"#,
            r#"rule_foreign in router: forward has `{"jump":{"target":"x"}}`, which nothing asked for"#,
        ),
        (
            r#"{"rule": {"chain": "prerouting", "expr": [{"notrack": null}]}}"#,
            r#"rule_foreign in router: prerouting has `{"notrack":null}`, which nothing asked for"#,
        ),
        (
            r#"{"chain": {"name": "x", "type": "filter", "hook": "forward", "prio": -5, "policy": "accept"}}"#,
            "chain in router: inet palisade has `x`, which nothing asked for",
        ),
        (
            r#"{"set": {"name": "x", "type": "mark"}}"#,
            "set in router: inet palisade has `x`, which nothing asked for",
        ),
        (
            r#"{"flowtable": {"name": "f", "hook": "ingress", "prio": 0, "dev": "pt1"}}"#,
            "object_foreign in router: inet palisade has `flowtable f`, which nothing asked for",
        ),
        (
            r#"{"ct helper": {"name": "ftp"}}"#,
            "object_foreign in router: inet palisade has `ct helper ftp`, which nothing asked for",
        ),
        (
            r#"{"counter": {"name": "x", "packets": 0, "bytes": 0}}"#,
            "counter in router: inet palisade has `x`, which nothing asked for",
        ),
    ];
    for (object, told) in rows {
        let found = firewall_drift(&here(3), Namespace::Router, |document| {
            let mut object: Value = serde_json::from_str(object).unwrap();
            for inner in object.as_object_mut().unwrap().values_mut() {
                inner["family"] = "inet".into();
                inner["table"] = "palisade".into();
            }
            // Into the last listing only, so that it is there once.
            if document["nftables"].as_array().unwrap().iter().any(is_last) {
                document["nftables"].as_array_mut().unwrap().push(object);
            }
        });
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
    }
}

#[test]
fn what_is_changed_in_a_table_is_told_with_both_sides() {
    let desired = here(3);
    let replace = |from: &str, to: &str| {
        let mut actual = sound(&desired);
        let firewall = actual.namespaces.get_mut(&Namespace::Router).unwrap().firewall.as_mut().unwrap();
        let before = firewall.listings.clone();
        for listing in &mut firewall.listings {
            *listing = String::from_utf8(listing.clone()).unwrap().replace(from, to).into_bytes();
        }
        assert_ne!(firewall.listings, before, "{from}");
        drift(&desired, &actual).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        replace(r#"{"val": 3, "ct count": {"val": 64,"#, r#"{"val": 3, "ct count": {"val": 6400,"#),
        ["element_changed in router: caps should be `3 ct count over 64` and is `3 ct count over 6400`"]
    );
    assert_eq!(
        replace(
            r#""hook": "forward", "prio": 0, "policy": "drop""#,
            r#""hook": "forward", "prio": 0, "policy": "accept""#
        ),
        [
            "chain in router: forward should be `filter at forward, priority 0, policy drop` and is `filter at forward, priority 0, policy accept`"
        ]
    );
    assert_eq!(
        replace(r#"["pt3", 3]"#, r#"["pt3", 1]"#),
        [r#"element_changed in router: tenant_of should be `"pt3" : 3` and is `"pt3" : 1`"#]
    );
    assert_eq!(
        replace(
            r#""name": "live", "table": "palisade", "type": "mark""#,
            r#""name": "live", "table": "palisade", "type": "mark", "timeout": 60"#
        )
        .len(),
        1
    );
    let reordered = firewall_drift(&desired, Namespace::Router, |document| {
        let objects = document["nftables"].as_array_mut().unwrap();
        if objects.iter().any(|object| object["rule"]["chain"] == "from_tenant") {
            objects.reverse();
        }
    });
    assert_eq!(reordered.iter().map(|found| found.kind).collect::<Vec<_>>(), [DriftKind::RuleOrder]);
}

/// What happens to the router's firewall, and what is to be told of it.
type Fault = (fn(&mut Seen), &'static str);

#[test]
fn a_table_that_is_gone_foreign_unowned_or_unreadable_is_one_drift() {
    let rows: [Fault; 8] = [
        (|seen| seen.firewall = None, "firewall_missing in router: firewall lacks `inet palisade`"),
        (
            |seen| firewall_of(seen).tables = "table ip filter\n".to_owned(),
            "table_foreign in router: firewall has `ip filter`, which nothing asked for\n\
             table_missing in router: firewall lacks `inet palisade_floor`\n\
             table_missing in router: firewall lacks `inet palisade`",
        ),
        (
            |seen| firewall_of(seen).tables = "table inet palisade_floor\n".to_owned(),
            "table_missing in router: firewall lacks `inet palisade`",
        ),
        (
            |seen| firewall_of(seen).tables = "table inet palisade\n".to_owned(),
            "table_missing in router: firewall lacks `inet palisade_floor`",
        ),
        (
            |seen| firewall_of(seen).tables.push_str("table netdev x\n"),
            "table_foreign in router: firewall has `netdev x`, which nothing asked for",
        ),
        (
            |seen| firewall_of(seen).owned_by_keeper = false,
            "table_unowned in router: inet palisade should be `the keeper's` and is `open to others`",
        ),
        (
            |seen| {
                let asleep =
                    r#"{"nftables":[{"table":{"family":"inet","name":"palisade_floor","flags":"dormant"}}]}"#;
                firewall_of(seen).listings.push(asleep.as_bytes().to_vec());
            },
            "object_foreign in router: inet palisade has `flag dormant of the floor`, which nothing asked for",
        ),
        (
            |seen| firewall_of(seen).listings[0] = b"Segmentation fault".to_vec(),
            "firewall_unreadable in router: inet palisade should be `a listing` and is `the listing is not JSON: \
             expected value at line 1 column 1`",
        ),
    ];
    for (change, told) in rows {
        let mut actual = sound(&here(3));
        change(actual.namespaces.get_mut(&Namespace::Router).unwrap());
        let found: Vec<String> = drift(&here(3), &actual).iter().map(ToString::to_string).collect();
        assert_eq!(found.join("\n"), told);
    }
}

#[test]
fn other_tables_of_the_host_are_its_own_affair() {
    let mut actual = sound(&here(3));
    let host = actual.namespaces.get_mut(&Namespace::Host).unwrap();
    firewall_of(host).tables.push_str("table ip nat\ntable ip6 docker\n");
    host.state.links.insert(link("docker0"));
    host.state.routes.insert(route("172.17.0.0/16", "docker0", TABLE_MAIN));
    host.state.policies.insert(Policy { priority: 5_210, table: 52, always: true });
    assert_eq!(drift(&here(3), &actual), []);
}

#[test]
fn every_change_by_hand_to_links_and_addresses_is_seen() {
    let tenant = Namespace::Tenant(number(3));
    by_hand(&[
        (
            Namespace::Router,
            |s| s.links.retain(|link| link.name != "pt3"),
            &["link in router: links lacks `pt3 (veth, up, mtu 1500)`"],
        ),
        (
            Namespace::Router,
            |s| s.links.extend([link("wg0")]),
            &["link in router: links has `wg0 (veth, up, mtu 1500)`, which nothing asked for"],
        ),
        (
            tenant,
            |s| *s = down(s),
            &[
                "link in tenant-3: links lacks `eth0 (veth, up, mtu 1500)`",
                "link in tenant-3: links has `eth0 (veth, down, mtu 1500)`, which nothing asked for",
            ],
        ),
        (
            tenant,
            |s| s.addresses.extend([address("10.103.0.99/16", "eth0")]),
            &["address in tenant-3: addresses has `10.103.0.99/16 on eth0`, which nothing asked for"],
        ),
        (
            tenant,
            |s| s.addresses.extend([address("fd00::1/64", "eth0")]),
            &["address in tenant-3: addresses has `fd00::1/64 on eth0`, which nothing asked for"],
        ),
        (
            Namespace::Router,
            |s| s.addresses.retain(|address| address.link != "pup"),
            &["address in router: addresses lacks `10.100.255.1/30 on pup`"],
        ),
    ]);
    let mut actual = sound(&here(3));
    actual.namespaces.remove(&tenant);
    let found = drift(&here(3), &actual);
    assert_eq!(found[0].to_string(), "namespace_missing in tenant-3: namespace lacks `tenant-3`");
}

#[test]
fn every_change_by_hand_to_routes_and_settings_is_seen() {
    by_hand(&[
        (
            Namespace::Router,
            |s| s.routes.extend([route("8.8.8.8/32", "pt3", TABLE_MAIN)]),
            &["route in router: routes has `8.8.8.8/32 through pt3, table 254`, which nothing asked for"],
        ),
        (
            Namespace::Router,
            |s| s.routes.extend([route("0.0.0.0/0", "pt3", 99)]),
            &["route in router: routes has `0.0.0.0/0 through pt3, table 99`, which nothing asked for"],
        ),
        (
            Namespace::Tenant(number(3)),
            |s| s.routes.clear(),
            &[
                "route in tenant-3: routes lacks `0.0.0.0/0 through eth0 by 10.103.0.1, table 254`",
                "route in tenant-3: routes lacks `10.103.0.0/16 through eth0, table 254`",
            ],
        ),
        (
            Namespace::Host,
            |s| s.routes.extend([route("10.103.0.0/16", "palisade", TABLE_MAIN)]),
            &[
                "route in host: routes has `10.103.0.0/16 through palisade, table 254`, which nothing asked for",
            ],
        ),
        (
            Namespace::Router,
            |s| s.policies.extend([Policy { priority: 5, table: 99, always: true }]),
            &[
                "route_policy in router: routing policy has `priority 5 asks table 99`, which nothing asked for",
            ],
        ),
        (
            Namespace::Router,
            // The local table, for some packets only: the others pass by the router's own addresses.
            |s| {
                s.policies.retain(|policy| policy.table != 255);
                s.policies.extend([Policy { priority: 0, table: 255, always: false }]);
            },
            &[
                "route_policy in router: routing policy lacks `priority 0 asks table 255`",
                "route_policy in router: routing policy has `priority 0 asks table 255, with conditions of its own`, which nothing asked for",
            ],
        ),
        (
            Namespace::Router,
            |s| s.sysctls.extend([("net/netfilter/nf_conntrack_tcp_loose".to_owned(), "1".to_owned())]),
            &["sysctl in router: net/netfilter/nf_conntrack_tcp_loose should be `0` and is `1`"],
        ),
        (
            Namespace::ControlPlane,
            |s| s.sysctls.clear(),
            &[
                "sysctl in control-plane: net/ipv4/conf/all/accept_redirects lacks `0`",
                "sysctl in control-plane: net/ipv4/conf/all/accept_source_route lacks `0`",
                "sysctl in control-plane: net/ipv4/conf/all/send_redirects lacks `0`",
                "sysctl in control-plane: net/ipv4/conf/default/accept_redirects lacks `0`",
                "sysctl in control-plane: net/ipv4/conf/default/accept_source_route lacks `0`",
                "sysctl in control-plane: net/ipv4/conf/default/send_redirects lacks `0`",
                "sysctl in control-plane: net/ipv4/ip_forward lacks `0`",
                "sysctl in control-plane: net/ipv4/ip_unprivileged_port_start lacks `443`",
                "sysctl in control-plane: net/ipv6/conf/all/disable_ipv6 lacks `1`",
                "sysctl in control-plane: net/ipv6/conf/default/disable_ipv6 lacks `1`",
            ],
        ),
    ]);
}

/// Where somebody changes what, and what is to be told of it.
type ByHand = (Namespace, fn(&mut State), &'static [&'static str]);

fn by_hand(rows: &[ByHand]) {
    for (namespace, change, told) in rows {
        let mut actual = sound(&here(3));
        change(&mut actual.namespaces.get_mut(namespace).unwrap().state);
        let found: Vec<String> = drift(&here(3), &actual).iter().map(ToString::to_string).collect();
        assert_eq!(found, *told);
    }
}

#[test]
fn every_setting_is_watched() {
    for (namespace, state) in topology(&here(3)).namespaces {
        for path in state.sysctls.keys() {
            let mut actual = sound(&here(3));
            let sysctls = &mut actual.namespaces.get_mut(&namespace).unwrap().state.sysctls;
            sysctls.insert(path.clone(), "9".to_owned());
            assert_eq!(drift(&here(3), &actual).len(), 1, "{namespace}: {path}");
        }
    }
}

#[test]
fn a_network_in_ruins_is_told_within_bounds() {
    let mut actual = sound(&here(3));
    firewall_of(actual.namespaces.get_mut(&Namespace::Router).unwrap()).listings.clear();
    assert!((50..DRIFTS_MAX).contains(&drift(&here(3), &actual).len()));
    assert_eq!(drift(&here(155), &actual).len(), DRIFTS_MAX);
}

#[test]
fn a_change_of_tenants_is_a_change_of_elements() {
    let change = |before: Ruleset, after: Ruleset| after.change_from(&before);
    let (two, three) = (ruleset::write(&here(2)), ruleset::write(&here(3)));
    assert_eq!(change(three.clone(), three.clone()), Change::Nothing);
    let Change::Elements(added) = change(two.clone(), three.clone()) else { panic!() };
    assert_eq!(
        added,
        "add counter inet palisade t3_received\n\
         add counter inet palisade t3_sent\n\
         add element inet palisade caps { 3 ct count over 64 }\n\
         add element inet palisade data_planes { \"pt3\" . 10.103.0.10 . 5678 }\n\
         add element inet palisade live { 3 }\n\
         add element inet palisade received { \"pt3\" : \"t3_received\" }\n\
         add element inet palisade sent { \"pt3\" : \"t3_sent\" }\n\
         add element inet palisade sources { \"pt3\" . 10.103.0.10, \"pt3\" . 10.103.0.11 }\n\
         add element inet palisade tenant_at { 10.103.0.10 : 3 }\n\
         add element inet palisade tenant_of { \"pt3\" : 3 }\n"
    );
    let Change::Elements(removed) = change(three.clone(), two) else { panic!() };
    assert!(
        removed.find("delete element inet palisade sent { \"pt3\" }") < removed.find("delete counter"),
        "{removed}"
    );
    // A value that changes goes and comes in one transaction.
    let mut capped = three.clone();
    let caps = capped.sets.get_mut("caps").unwrap();
    *caps.elements.values_mut().next().unwrap() = ruleset::Datum::Cap(9);
    assert_eq!(
        change(three.clone(), capped),
        Change::Elements(
            "delete element inet palisade caps { 1 }\nadd element inet palisade caps { 1 ct count over 9 }\n"
                .to_owned()
        )
    );
    let mut other_rules = three.clone();
    other_rules.chains.get_mut("open").unwrap().rules.pop();
    assert_eq!(change(other_rules, three), Change::Whole);
}

// === what a sound host would say ===

fn sound(desired: &Desired) -> Actual {
    let place = match desired.control_plane() {
        network::ControlPlane::Here { .. } => "here",
        network::ControlPlane::Elsewhere { .. } => "elsewhere",
    };
    let firewall = |namespace| {
        let name = match namespace {
            Namespace::Router => format!("router-{place}"),
            Namespace::Host => format!("host-{place}"),
            Namespace::ControlPlane | Namespace::Tenant(_) => return None,
        };
        let tables = "table inet palisade\ntable inet palisade_floor\n".to_owned();
        Some(Firewall { tables, owned_by_keeper: true, listings: vector(&name) })
    };
    let namespaces = topology(desired).namespaces.into_iter();
    Actual { namespaces: namespaces.map(|(n, state)| (n, Seen { state, firewall: firewall(n) })).collect() }
}

fn firewall_of(seen: &mut Seen) -> &mut Firewall {
    seen.firewall.as_mut().unwrap()
}

/// The drift after each listing of a namespace's firewall was edited.
fn firewall_drift(desired: &Desired, namespace: Namespace, change: impl Fn(&mut Value)) -> Vec<Drift> {
    let mut actual = sound(desired);
    edit(&mut actual, namespace, change);
    drift(desired, &actual)
}

fn edit(actual: &mut Actual, namespace: Namespace, change: impl Fn(&mut Value)) {
    for listing in &mut firewall_of(actual.namespaces.get_mut(&namespace).unwrap()).listings {
        let mut document = serde_json::from_slice(listing).unwrap();
        change(&mut document);
        *listing = document.to_string().into_bytes();
    }
}

/// Whether an object is of the listing that comes last.
fn is_last(object: &Value) -> bool {
    object["rule"]["chain"] == "related"
}

fn each(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| each(item, change)),
        Value::Object(map) => map.values_mut().for_each(|item| each(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

/// Changes the leaf of this number to something else, if there is one that matters: a name, a number, a verdict.
fn change_leaf(value: &mut Value, left: &mut usize) -> bool {
    match value {
        Value::Object(map) => {
            for turned in [("drop", "accept"), ("accept", "drop"), ("masquerade", "accept")] {
                if map.contains_key(turned.0) && take(left) {
                    *map = serde_json::from_str(&format!(r#"{{"{}": null}}"#, turned.1)).unwrap();
                    return true;
                }
            }
            let matters =
                |key: &String| !matches!(key.as_str(), "family" | "table" | "handle" | "packets" | "bytes");
            map.iter_mut().filter(|(key, _)| matters(key)).any(|(_, item)| change_leaf(item, left))
        }
        Value::Array(list) => list.iter_mut().any(|item| change_leaf(item, left)),
        Value::String(text) if take(left) => {
            text.push('x');
            true
        }
        Value::Number(number) if take(left) => {
            *value = (number.as_i64().unwrap() + 1).into();
            true
        }
        Value::Bool(truth) if take(left) => {
            *truth = !*truth;
            true
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether it is this one's turn.
fn take(left: &mut usize) -> bool {
    let turn = *left == 0;
    *left = left.saturating_sub(1);
    turn
}

/// The listings of a vector, each with its place.
fn worth_changing(name: &str) -> Vec<(usize, Vec<u8>)> {
    vector(name).into_iter().enumerate().collect()
}

/// Every part of a listing that matters: each object, each element of a set and each statement of a rule.
fn parts(document: &Value) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for (place, object) in document["nftables"].as_array().unwrap().iter().enumerate() {
        if object.get("metainfo").is_some() {
            continue;
        }
        all.push(vec![place]);
        let inner = object.as_object().unwrap().values().next().unwrap();
        for list in ["elem", "expr"] {
            let length = inner.get(list).and_then(Value::as_array).map_or(0, Vec::len);
            all.extend((0..length).map(|item| vec![place, item]));
        }
    }
    all
}

fn without(document: &Value, path: &[usize]) -> Value {
    let mut document = document.clone();
    let objects = document["nftables"].as_array_mut().unwrap();
    match path {
        [place] => {
            objects.remove(*place);
        }
        [place, item] => {
            let inner = objects[*place].as_object_mut().unwrap().values_mut().next().unwrap();
            let list = if inner.get("elem").is_some() { "elem" } else { "expr" };
            inner[list].as_array_mut().unwrap().remove(*item);
        }
        _ => panic!(),
    }
    document
}

fn link(name: &str) -> Link {
    Link { name: name.to_owned(), kind: "veth".to_owned(), up: true, mtu: 1_500 }
}

fn down(state: &State) -> State {
    let links =
        state.links.iter().map(|link| Link { up: link.up && link.kind != "veth", ..link.clone() }).collect();
    State { links, ..state.clone() }
}

fn address(address: &str, link: &str) -> Address {
    Address { link: link.to_owned(), address: address.parse().unwrap() }
}

fn route(destination: &str, link: &str, table: u32) -> Route {
    Route { table, destination: destination.parse().unwrap(), via: None, link: link.to_owned() }
}
