//! What a node has made goes, and nothing else does.

use super::agent::Agent;
use super::house::{HOST_INTERFACE, House, host, in_a_house, inside, name, nft, on_stack, tag};
use super::tenants::{document, settings, start};
use host::clock::Clock;
use host::network::nftables::{Nftables, Table};
use host::network::{Link, Namespace, NamespaceName, Route, RoutingRule, sysctl};
use node::networks::{Networks, Removed, reset};

/// All that a host is.
#[derive(Debug, PartialEq)]
struct Whole {
    links: Vec<(String, bool, u32)>,
    routes: Vec<Route>,
    rules: Vec<RoutingRule>,
    tables: Vec<Table>,
    forwards: String,
    names: Vec<NamespaceName>,
}

#[test]
fn a_reset_leaves_the_host_as_it_was_before_the_node_came() {
    in_a_house(async |house| {
        nft(&host(), "table ip others {\n chain c {\n drop\n }\n}\n");
        Namespace::create(&name("palisade-trial-other"), &tag()).unwrap();
        let before = whole();
        let mut agent = Agent::start(&house, Some(&document(1, &[1, 3])));
        agent.is_there();
        assert_ne!(whole(), before);
        agent.end();

        let done = reset(&house.folder()).await.unwrap();
        assert_eq!(done.left, [""; 0]);
        assert_eq!(whole(), before);
        let named = |wanted: &str| done.removed.contains(&Removed::Namespace(wanted.to_owned()));
        assert!(named("palisade-cp") && named("palisade-t1") && named("palisade-t3"), "{done:?}");
        assert!(done.removed.contains(&Removed::Table("inet palisade_floor".to_owned())));
        assert!(matches!(done.removed[0], Removed::Keeper { .. }));
        assert_eq!(reset(&house.folder()).await.unwrap().removed, [], "there is nothing more");
        assert_eq!(files(&house), [""; 0]);
    });
}

#[test]
fn a_reset_clears_up_after_a_node_and_a_keeper_that_were_killed() {
    in_a_house(async |house| {
        let before = whole();
        let mut agent = Agent::start(&house, Some(&document(1, &[1, 3])));
        agent.is_there();
        let keeper = super::tenants::keeper(&house).await.pid();
        agent.kill();
        trials::signal(keeper, "KILL").unwrap();
        assert_eq!(reset(&house.folder()).await.unwrap().left, [""; 0]);
        assert_eq!(whole(), before);
    });
}

#[test]
fn one_node_has_a_hosts_networks_and_no_reset_takes_them_from_it() {
    in_a_house(async |house| {
        let networks = start(&house, None).await;
        let second = Networks::start(settings(house.folder(), true), Clock::system(), None).await;
        let refused = second.unwrap_err().to_string();
        assert_eq!(refused, "another node already has this host's networks: stop it first");
        assert_eq!(reset(&house.folder()).await.unwrap_err().to_string(), refused);
        networks.end().await;
        assert!(!reset(&house.folder()).await.unwrap().removed.is_empty());
    });
}

fn whole() -> Whole {
    let snapshot = on_stack(&host(), |stack| stack.snapshot().unwrap());
    let link = |link: Link| (link.name, link.up, link.mtu);
    inside(&host(), |inside| Whole {
        links: snapshot.links.into_iter().map(link).collect(),
        // Those of IPv6 come and go with the links that the trial has just made.
        routes: snapshot.routes.into_iter().filter(|route| route.destination.addr().is_ipv4()).collect(),
        rules: snapshot.routing_rules,
        tables: Nftables::open(inside).unwrap().tables().unwrap(),
        forwards: sysctl::read(
            inside,
            &format!("net/ipv4/conf/{HOST_INTERFACE}/forwarding").parse().unwrap(),
        )
        .unwrap(),
        names: Namespace::list().unwrap().into_iter().map(|owned| owned.name).collect(),
    })
}

fn files(house: &House) -> Vec<String> {
    let entries = std::fs::read_dir(house.folder()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
