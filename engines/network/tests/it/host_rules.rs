//! The host's rules: a second wall between data planes and the host, and the way to what is published.

use crate::simulator::{Fate, ITSELF, Packet, run};
use crate::world::{CONTROL, DATABASE, HOST, STRANGER, elsewhere, here, state};
use network::addresses::{HOST_LINK, UPLINK_HOST, UPLINK_ROUTER};
use network::{
    Address, ControlPlane, Desired, Namespace, Route, Ruleset, State, TABLE_MAIN, ruleset, topology,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Somebody on a network of the host's own.
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A packet, and what is to become of it: the counter that stops it, or where it goes and whether hidden.
struct Case {
    what: &'static str,
    packet: Packet,
    fate: Result<(Ipv4Addr, u16, bool), &'static str>,
}

#[test]
fn the_hosts_rules_let_through_what_they_must_and_nothing_else() {
    for desired in states() {
        assert_eq!(first_fault(&ruleset::write_host(&desired), &desired), None);
    }
}

#[test]
fn every_rule_of_the_host_is_needed() {
    let unseen: Vec<BTreeSet<String>> = states().iter().map(unseen).collect();
    let redundant = unseen.iter().skip(1).fold(unseen[0].clone(), |all, one| &all & one);
    assert_eq!(redundant, BTreeSet::new());
}

/// The control plane here, published at every address, at one, and to the host alone; and elsewhere.
fn states() -> [Desired; 4] {
    [here(3), published_at(HOST), published_at(LOOPBACK), elsewhere(3)]
}

fn published_at(address: Ipv4Addr) -> Desired {
    let reach = vec![format!("{DATABASE}:5432").parse().unwrap()];
    state(ControlPlane::Here { published: Some(SocketAddrV4::new(address, 8443)), reach }, 3)
}

fn unseen(desired: &Desired) -> BTreeSet<String> {
    assert_eq!(first_fault(&ruleset::write_host(desired), desired), None);
    let weakened = ruleset::write_host(desired).weakened().into_iter();
    weakened.filter(|w| first_fault(&w.ruleset, desired).is_none()).map(|w| w.what).collect()
}

/// The first thing that the table does otherwise than it should; by itself and on its floor, and then the floor once
/// it is all that is left.
fn first_fault(table: &Ruleset, desired: &Desired) -> Option<String> {
    let by_itself = Ruleset { floor: BTreeMap::new(), ..table.clone() };
    let floor = Ruleset { floor: table.floor.clone(), ..Ruleset::default() };
    let fault = fault(&by_itself, desired).or_else(|| fault(table, desired));
    fault.or_else(|| hole_in_the_floor(&floor, desired))
}

/// What the floor alone lets through of what interfaces of ours would forward, or stops of the host's own business.
fn hole_in_the_floor(floor: &Ruleset, desired: &Desired) -> Option<String> {
    let passes = |packet: &Packet| run(floor, &host(desired), packet).passed;
    let transit = passes(&arriving(STRANGER, CONTAINER, 80));
    let own = [before(STRANGER, 80), arriving(STRANGER, HOST, 22), own(STRANGER, 443), to_itself(5432)];
    let ours = arriving(STRANGER, UPLINK_ROUTER, 443);
    let stopped = own.into_iter().chain([ours]).find(|packet| !passes(packet));
    match (transit, stopped) {
        (true, _) => Some("the floor lets the host become a router".to_owned()),
        (false, Some(packet)) => Some(format!("the floor stops {packet:?}")),
        (false, None) => None,
    }
}

fn fault(table: &Ruleset, desired: &Desired) -> Option<String> {
    let mut cases = always();
    match desired.control_plane() {
        ControlPlane::Here { published, .. } => {
            cases.extend(at_home());
            cases.extend(published.map(|at| *at.ip()).into_iter().flat_map(clients));
        }
        ControlPlane::Elsewhere { .. } => cases.extend(away()),
    }
    let host = host(desired);
    cases.iter().find_map(|case| {
        let fate = run(table, &host, &case.packet);
        let stopped = fate.counted.iter().find_map(|counter| counter.strip_prefix("dropped_"));
        let right = match case.fate {
            Err(by) => !fate.passed && stopped == Some(by),
            Ok((to, port, hidden)) => {
                let Fate { passed, destination, masqueraded, .. } = fate;
                passed && stopped.is_none() && destination == Some((to, port)) && masqueraded == hidden
            }
        };
        (!right).then(|| format!("{}: {fate:?}", case.what))
    })
}

/// The host: our link, and an interface to the internet and to a network of its own.
fn host(desired: &Desired) -> State {
    let mut host = topology(desired).namespaces.remove(&Namespace::Host).unwrap();
    let route = |destination: &str, link: &str| Route {
        table: TABLE_MAIN,
        destination: destination.parse().unwrap(),
        via: None,
        link: link.to_owned(),
    };
    host.addresses
        .insert(Address { link: "eth0".to_owned(), address: format!("{HOST}/24").parse().unwrap() });
    host.addresses.insert(Address { link: "lo".to_owned(), address: "127.0.0.1/8".parse().unwrap() });
    host.routes.extend([route("0.0.0.0/0", "eth0"), route("172.17.0.0/16", "docker0")]);
    host
}

fn case(what: &'static str, packet: Packet, fate: Result<(Ipv4Addr, u16, bool), &'static str>) -> Case {
    Case { what, packet, fate }
}

/// From the router, whose address every flow of a tenant has by then.
fn leaving(to: Ipv4Addr, port: u16) -> Packet {
    Packet::syn(HOST_LINK, UPLINK_ROUTER, to, port)
}

fn arriving(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Packet {
    Packet::syn("eth0", from, to, port)
}

/// By an interface that forwarded before we came.
fn before(from: Ipv4Addr, port: u16) -> Packet {
    Packet::syn("eth1", from, CONTAINER, port)
}

fn own(to: Ipv4Addr, port: u16) -> Packet {
    Packet::syn(ITSELF, HOST, to, port)
}

fn to_itself(port: u16) -> Packet {
    Packet::syn(ITSELF, LOOPBACK, LOOPBACK, port)
}

fn open(packet: Packet) -> Packet {
    Packet { state: "established", ..packet }
}

fn related(packet: Packet) -> Packet {
    Packet { state: "related", protocol: "icmp", icmp: ("destination-unreachable", 4), ..packet }
}

fn always() -> Vec<Case> {
    let unspoofed = |source| Packet { source, ..leaving(STRANGER, 443) };
    vec![
        case("a data plane to the internet", leaving(STRANGER, 443), Ok((STRANGER, 443, true))),
        case("to another port of it", leaving(STRANGER, 80), Err("destination")),
        case("by UDP", Packet { protocol: "udp", ..leaving(STRANGER, 443) }, Err("destination")),
        case("by IPv6", Packet { ipv6: true, ..leaving(STRANGER, 443) }, Err("destination")),
        case("with a tenant's own source", unspoofed([10, 101, 0, 10].into()), Err("destination")),
        case("back to the router", leaving([10, 100, 255, 3].into(), 443), Err("destination")),
        case("to the host's public address", leaving(HOST, 443), Err("input")),
        case("to the host's end of our link", leaving(UPLINK_HOST, 22), Err("input")),
        case("to the host's loopback", leaving(LOOPBACK, 5432), Err("input")),
        case("a published port from the router", leaving(HOST, 8443), Err("input")),
        case("an answer to the host's own client", open(leaving(HOST, 50_000)), Ok((HOST, 50_000, false))),
        case("an open flow out", open(leaving(STRANGER, 443)), Ok((STRANGER, 443, false))),
        case("an error about one, out", related(leaving(STRANGER, 0)), Ok((STRANGER, 0, false))),
        case("an open flow in", open(arriving(STRANGER, UPLINK_ROUTER, 9)), Ok((UPLINK_ROUTER, 9, false))),
        case(
            "an error about one, in",
            related(arriving(STRANGER, UPLINK_ROUTER, 0)),
            Ok((UPLINK_ROUTER, 0, false)),
        ),
        case("a stranger who names the router", arriving(STRANGER, UPLINK_ROUTER, 443), Err("inbound")),
        case("the host's other business", arriving(STRANGER, HOST, 22), Ok((HOST, 22, false))),
        case("what passes between its networks", arriving(STRANGER, CONTAINER, 80), Err("transit")),
        case("what passed between them before", before(STRANGER, 80), Ok((CONTAINER, 80, false))),
        case("the host to itself", to_itself(5432), Ok((LOOPBACK, 5432, false))),
        case("the host to the internet", own(STRANGER, 443), Ok((STRANGER, 443, false))),
        case("a remote port of the published number", before(STRANGER, 8443), Ok((CONTAINER, 8443, false))),
        case("the host to a remote port of that number", own(STRANGER, 8443), Ok((STRANGER, 8443, false))),
    ]
}

/// Who gets to the control plane, by where it is published.
fn clients(published: Ipv4Addr) -> [Case; 4] {
    let (reached, hidden) = (Ok((UPLINK_ROUTER, 443, false)), Ok((UPLINK_ROUTER, 443, true)));
    let if_at = |address, fate, otherwise| {
        if published == address || published.is_unspecified() { fate } else { Ok((otherwise, 8443, false)) }
    };
    let outsider = if published.is_unspecified() { reached } else { Ok((LOOPBACK, 8443, false)) };
    [
        case("a client", arriving(STRANGER, HOST, 8443), if_at(HOST, reached, HOST)),
        case("the host's own client", own(HOST, 8443), if_at(HOST, reached, HOST)),
        case("the host's own client, by `localhost`", to_itself(8443), if_at(LOOPBACK, hidden, LOOPBACK)),
        // The kernel refuses it, as long as nobody translates it before.
        case("a neighbour who names the host's loopback", arriving(STRANGER, LOOPBACK, 8443), outsider),
    ]
}

fn at_home() -> Vec<Case> {
    vec![
        case("the control plane's answer", open(leaving(STRANGER, 50_000)), Ok((STRANGER, 50_000, false))),
        case("the control plane to its database", leaving(DATABASE, 5432), Ok((DATABASE, 5432, true))),
        case("another port of it", leaving(DATABASE, 5433), Err("destination")),
        case(
            "with another source",
            Packet { source: [10, 100, 0, 2].into(), ..leaving(DATABASE, 5432) },
            Err("destination"),
        ),
        case("a forwarded port of another host", arriving(STRANGER, HOST, 20_001), Ok((HOST, 20_001, false))),
    ]
}

fn away() -> Vec<Case> {
    let plan = |from| arriving(from, HOST, 20_001);
    vec![
        case("a plan", plan(CONTROL), Ok((UPLINK_ROUTER, 20_001, false))),
        case("a plan from somebody else", plan(STRANGER), Ok((HOST, 20_001, false))),
        case(
            "a plan to another host behind this one",
            before(CONTROL, 20_001),
            Ok((CONTAINER, 20_001, false)),
        ),
        case("a plan from the router", Packet { source: CONTROL, ..leaving(HOST, 20_001) }, Err("input")),
        case("a published port of another host", arriving(STRANGER, HOST, 8443), Ok((HOST, 8443, false))),
    ]
}
