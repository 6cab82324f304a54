//! Links, addresses, routes and settings: how they hang together.

use crate::world::{elsewhere, here, number};
use network::ruleset::Atom;
use network::{Namespace, ruleset, topology};
use std::collections::BTreeSet;

#[test]
fn every_pair_has_both_its_ends() {
    for desired in [here(155), elsewhere(155)] {
        let topology = topology(&desired);
        let has = |namespace, name: &str| {
            topology.namespaces[&namespace].links.iter().any(|link| link.name == name)
        };
        for pair in &topology.pairs {
            assert!(has(pair.outer.0, &pair.outer.1) && has(Namespace::Router, &pair.router), "{pair:?}");
        }
        let veths =
            topology.namespaces.values().flat_map(|state| &state.links).filter(|link| link.kind == "veth");
        assert_eq!(veths.count(), topology.pairs.len() * 2);
        assert_eq!(
            desired.namespaces().collect::<Vec<_>>(),
            topology.namespaces.keys().copied().collect::<Vec<_>>()
        );
    }
}

#[test]
fn names_of_links_fit_linux() {
    for state in topology(&here(155)).namespaces.values() {
        assert!(state.links.iter().all(|link| link.name.len() <= 15));
    }
}

#[test]
fn the_sources_that_rules_let_through_are_the_addresses_that_links_have() {
    let desired = here(155);
    let topology = topology(&desired);
    let mut on_links = BTreeSet::new();
    for pair in topology.pairs.iter().filter(|pair| pair.outer.0 != Namespace::Host) {
        let state = &topology.namespaces[&pair.outer.0];
        let addresses = state.addresses.iter().filter(|address| address.link == pair.outer.1);
        on_links.extend(addresses.map(|a| format!("{} {}", pair.router, a.address.addr())));
    }
    let sources = &ruleset::write(&desired).sets["sources"];
    let in_rules: BTreeSet<String> = sources.elements.keys().map(|key| joined(key)).collect();
    assert_eq!(in_rules, on_links);
}

#[test]
fn only_the_router_forwards_and_nobody_speaks_ipv6() {
    for (namespace, state) in &topology(&here(3)).namespaces {
        let forwards = state.sysctls.get("net/ipv4/ip_forward").map(String::as_str);
        let expected = match namespace {
            // The host forwards by single links; its table sees to where.
            Namespace::Host => None,
            Namespace::Router => Some("1"),
            Namespace::ControlPlane | Namespace::Tenant(_) => Some("0"),
        };
        assert_eq!(forwards, expected, "{namespace}");
        let ipv6: Vec<&str> = state
            .sysctls
            .iter()
            .filter(|(path, _)| path.ends_with("/disable_ipv6"))
            .map(|(_, v)| v.as_str())
            .collect();
        assert!(!ipv6.is_empty() && ipv6.iter().all(|off| *off == "1"), "{namespace}");
    }
    let host = &topology(&here(3)).namespaces[&Namespace::Host];
    let forwarding: Vec<&String> = host.sysctls.keys().filter(|path| path.ends_with("/forwarding")).collect();
    assert_eq!(forwarding, ["net/ipv4/conf/eth0/forwarding", "net/ipv4/conf/palisade/forwarding"]);
}

#[test]
fn a_tenants_namespace_leads_to_its_gateway_and_nowhere_else() {
    let state = &topology(&here(3)).namespaces[&Namespace::Tenant(number(3))];
    let routes: Vec<String> = state.routes.iter().map(ToString::to_string).collect();
    assert_eq!(
        routes,
        ["0.0.0.0/0 through eth0 by 10.103.0.1, table 254", "10.103.0.0/16 through eth0, table 254"]
    );
    let addresses: Vec<String> = state.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.103.0.10/16 on eth0", "10.103.0.11/16 on eth0", "127.0.0.1/8 on lo"]);
}

fn joined(key: &[Atom]) -> String {
    key.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
