//! The rules against the policy: every probe and many odd packets through a simulated kernel, and each rule shown
//! to be needed.

use crate::simulator::{ACK, CWR, ECE, FIN, Fate, ITSELF, PSH, Packet, RST, SYN, URG, run};
use crate::world::{self, CONTROL, DATABASE, HOST, STRANGER, elsewhere, here};
use network::addresses::{CONTROL_MARK, CONTROL_PLANE, UPLINK_HOST, UPLINK_ROUTER};
use network::{
    Addresses, Beyond, ControlPlane, Desired, Expected, Namespace, NetworkNumber, Origin, Probe, Protocol,
    Route, Ruleset, State, TABLE_MAIN, matrix, ruleset, topology,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// What may go without anything getting through, each with what stands behind it.
const SECOND_WALLS: [(&str, &str); 13] = [
    ("forward: policy accept", "the last rule drops"),
    ("input: policy accept", "the last rule drops"),
    ("output: policy accept", "the last rule drops"),
    ("fresh: without `counter name \"dropped_stranger\" drop`", "a strange link is spoofed"),
    ("fresh: `drop` for `counter name \"dropped_stranger\" drop`", "a strange link is spoofed"),
    (
        "fresh: `counter name \"dropped_stranger\" accept` for `counter name \"dropped_stranger\" drop`",
        "a strange link is spoofed",
    ),
    ("caps: without `2 ct count over 64`", "tenant 2 is not live"),
    ("caps: `2 ct count over 128`", "tenant 2 is not live"),
    ("sent: without `\"pt2\" : \"t2_sent\"`", "tenant 2 is not live"),
    ("received: without `\"pt2\" : \"t2_received\"`", "tenant 2 is not live"),
    ("sources: without `\"pt2\" . 10.102.0.11`", "tenant 2 is not live"),
    (
        "arriving: `ip daddr 10.100.255.1 ip saddr @control_addresses dnat ip to tcp dport map @forwarded` for \
         `iifname \"pup\" ip daddr 10.100.255.1 ip saddr @control_addresses dnat ip to tcp dport map @forwarded`",
        "by another link, the control plane's address is spoofed",
    ),
    (
        "from_uplink: `ct status dnat oifname . ip daddr . tcp dport @data_planes ct mark set ip daddr map @tenant_at \
         goto admit` for `ct status dnat ip saddr @control_addresses oifname . ip daddr . tcp dport @data_planes ct \
         mark set ip daddr map @tenant_at goto admit`",
        "only what comes from the control plane's addresses is translated",
    ),
];

#[test]
fn the_rules_say_what_the_policy_says() {
    for tenants in [0, 1, 2, 3, 12] {
        for desired in [here(tenants), elsewhere(tenants)] {
            assert_eq!(Checks::of(&desired).first_fault(&ruleset::write(&desired)), None);
        }
    }
}

#[test]
fn the_rules_hold_for_every_pair_of_155_tenants() {
    let desired = here(155);
    let (table, router) = (ruleset::write(&desired), router(&desired));
    let probes = matrix(&desired, &Beyond::default());
    let pairs = probes.iter().filter(|probe| probe.why == "no other tenant" && probe.port == 5678);
    assert_eq!(
        pairs.clone().filter(|probe| probe.protocol == Protocol::Tcp).count(),
        2 * 155 * 154 + 2 * 155 * 4
    );
    for probe in pairs {
        assert!(!run(&table, &router, &packet(probe)).passed, "{probe:?}");
    }
}

#[test]
fn the_rules_do_not_grow_with_tenants() {
    let (few, many) = (ruleset::write(&here(1)), ruleset::write(&here(155)));
    assert_eq!(few.chains, many.chains);
    assert_eq!(few.chains, ruleset::write(&elsewhere(9)).chains);
    assert_eq!(ruleset::write_host(&here(1)).chains, ruleset::write_host(&elsewhere(9)).chains);
}

#[test]
fn every_rule_is_needed() {
    // Some rules only a host with the control plane needs, some only one without.
    let (at_home, away) = (unseen(&here(3)), unseen(&elsewhere(3)));
    let sets: Vec<String> = ruleset::write(&here(3)).sets.into_keys().collect();
    let is_element = |what: &str| sets.iter().any(|set| what.starts_with(&format!("{set}: ")));
    let elements = at_home.symmetric_difference(&away).filter(|what| is_element(what));
    let redundant: BTreeSet<&str> = at_home.intersection(&away).chain(elements).map(String::as_str).collect();
    let known: BTreeSet<&str> = SECOND_WALLS.iter().map(|(what, _)| *what).collect();
    assert_eq!(redundant, known);
}

/// What may be taken from the table of `desired` without anything being seen of it.
fn unseen(desired: &Desired) -> BTreeSet<String> {
    let checks = Checks::of(desired);
    assert_eq!(checks.first_fault(&ruleset::write(desired)), None);
    let weakened = ruleset::write(desired).weakened().into_iter();
    weakened.filter(|w| checks.first_fault(&w.ruleset).is_none()).map(|w| w.what).collect()
}

/// All that is tried on a router's table.
struct Checks {
    router: State,
    probes: Vec<Probe>,
    odd: Vec<Odd>,
}

impl Checks {
    fn of(desired: &Desired) -> Self {
        let odd = if desired.tenants().len() < 3 { Vec::new() } else { odd_packets(desired) };
        Self { router: router(desired), probes: matrix(desired, &beyond()), odd }
    }

    /// The first thing that the table does otherwise than the policy says; by itself and on its floor, which would
    /// hide a packet that it lets through by mistake.
    fn first_fault(&self, table: &Ruleset) -> Option<String> {
        let by_itself = Ruleset { floor: BTreeMap::new(), ..table.clone() };
        let fault = self.fault(&by_itself).or_else(|| self.fault(table));
        fault.or_else(|| self.hole_in_the_floor(table))
    }

    fn fault(&self, table: &Ruleset) -> Option<String> {
        let odd = self.odd.iter().find_map(|odd| odd_fault(table, &self.router, odd));
        odd.or_else(|| self.probes.iter().find_map(|probe| probe_fault(table, &self.router, probe)))
    }

    /// The first thing that is forwarded once the owned table is gone and the floor alone is left.
    fn hole_in_the_floor(&self, table: &Ruleset) -> Option<String> {
        let floor = Ruleset { floor: table.floor.clone(), ..Ruleset::default() };
        let forwarded = |probe: &&Probe| {
            let fate = run(&floor, &self.router, &packet(probe));
            fate.passed && fate.out_link.is_some()
        };
        self.probes.iter().find(forwarded).map(|probe| format!("forwarded by the floor: {probe:?}"))
    }
}

fn router(desired: &Desired) -> State {
    topology(desired).namespaces.remove(&Namespace::Router).unwrap()
}

fn probe_fault(table: &Ruleset, router: &State, probe: &Probe) -> Option<String> {
    let fate = run(table, router, &packet(probe));
    let fault = |what: &str| Some(format!("{what}: {probe:?} -> {fate:?}"));
    let drops = fate.counted.iter().filter(|counter| counter.starts_with("dropped_")).count();
    match (probe.expected, fate.passed) {
        (Expected::Denied, false) if drops == 1 => None,
        (Expected::Denied, false) => fault("dropped and not counted once"),
        (Expected::Denied, true) => fault("let through"),
        (Expected::Allowed, false) => fault("held back"),
        (Expected::Allowed, true) => {
            let expected = allowed(probe, &fate);
            (fate != expected).then(|| format!("{probe:?} -> {fate:?}, not {expected:?}"))
        }
    }
}

/// What an allowed probe's fate is to be: whose mark, where it is counted, where it goes.
fn allowed(probe: &Probe, fate: &Fate) -> Fate {
    let (IpAddr::V4(to), port) = (probe.to, probe.port) else { panic!("{probe:?}") };
    let into = |number: NetworkNumber| Fate {
        passed: true,
        counted: vec![format!("t{number}_received")],
        mark: number.mark(),
        out_link: Some(number.link()),
        destination: Some((Addresses::of(number).data_plane, 5678)),
        masqueraded: false,
    };
    let out = |link: &str, mark, counted| Fate {
        passed: true,
        counted,
        mark,
        out_link: Some(link.to_owned()),
        destination: Some((to, port)),
        masqueraded: link == "pup",
    };
    match probe.from {
        Origin::DataPlane(number) | Origin::Sidecar(number) => {
            let link = if to == CONTROL_PLANE { "pcp" } else { "pup" };
            out(link, number.mark(), vec![format!("t{number}_sent")])
        }
        Origin::ControlPlane if to == DATABASE => out("pup", CONTROL_MARK, vec![]),
        Origin::ControlPlane => into(by(|number| Addresses::of(number).data_plane == to)),
        Origin::Host | Origin::Outside(_) if port == 443 => {
            Fate { destination: Some((CONTROL_PLANE, 443)), ..out("pcp", CONTROL_MARK, vec![]) }
        }
        Origin::Host | Origin::Outside(_) => {
            assert_eq!(to, UPLINK_ROUTER, "{fate:?}");
            into(by(|number| number.forwarded_port() == port))
        }
    }
}

fn by(wanted: impl Fn(NetworkNumber) -> bool) -> NetworkNumber {
    NetworkNumber::all().find(|number| wanted(*number)).unwrap()
}

/// The first packet of a probe, as it reaches the router.
fn packet(probe: &Probe) -> Packet {
    let (link, source) = match probe.from {
        Origin::ControlPlane => ("pcp".to_owned(), CONTROL_PLANE),
        Origin::DataPlane(number) => (number.link(), Addresses::of(number).data_plane),
        Origin::Sidecar(number) => (number.link(), Addresses::of(number).sidecar),
        Origin::Host => ("pup".to_owned(), UPLINK_HOST),
        Origin::Outside(address) => ("pup".to_owned(), address),
    };
    let (destination, ipv6) = match probe.to {
        IpAddr::V4(address) => (address, false),
        // Where its IPv4 twin would be welcome.
        IpAddr::V6(_) => (STRANGER, true),
    };
    let protocol = match probe.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    };
    Packet {
        protocol,
        ipv6,
        icmp: ("echo-request", 0),
        ..Packet::syn(&link, source, destination, probe.port)
    }
}

fn beyond() -> Beyond {
    Beyond {
        public: vec![STRANGER, Ipv4Addr::new(8, 8, 8, 8)],
        ipv6: vec!["2606:4700::1111".parse().unwrap()],
        strangers: vec![STRANGER],
    }
}

/// A packet that no honest client sends, and the counter that is to stop it; nothing if it is to pass.
struct Odd {
    what: &'static str,
    packet: Packet,
    stopped_by: Option<&'static str>,
    /// The mark that its flow is to have then, if that matters.
    mark: Option<u32>,
    /// A route that somebody added to the router: an address, and the link that it now leads to.
    detour: Option<(Ipv4Addr, &'static str)>,
}

fn odd_fault(table: &Ruleset, router: &State, odd: &Odd) -> Option<String> {
    let mut router = router.clone();
    if let Some((destination, link)) = odd.detour {
        let destination = IpAddr::V4(destination).into();
        router.routes.insert(Route { table: TABLE_MAIN, destination, via: None, link: link.to_owned() });
    }
    let fate = run(table, &router, &odd.packet);
    let stopped = fate.counted.iter().find_map(|counter| counter.strip_prefix("dropped_"));
    let right = stopped == odd.stopped_by && fate.passed == odd.stopped_by.is_none();
    let marked = odd.mark.is_none_or(|mark| mark == fate.mark);
    (!(right && marked)).then(|| format!("{}: {fate:?}", odd.what))
}

fn odd_packets(desired: &Desired) -> Vec<Odd> {
    let mut all = spoofed();
    all.extend(half_open());
    all.extend(open_flows());
    all.extend(strange());
    match desired.control_plane() {
        ControlPlane::Here { .. } => all.extend(at_home()),
        ControlPlane::Elsewhere { .. } => all.extend(away()),
    }
    all
}

fn odd(what: &'static str, packet: Packet, stopped_by: impl Into<Option<&'static str>>) -> Odd {
    Odd { what, packet, stopped_by: stopped_by.into(), mark: None, detour: None }
}

fn data_plane(n: u32) -> Ipv4Addr {
    Addresses::of(world::number(n)).data_plane
}

fn out() -> Packet {
    Packet::syn("pt1", data_plane(1), STRANGER, 443)
}

fn spoofed() -> Vec<Odd> {
    let from = |source: [u8; 4]| Packet { source: source.into(), ..out() };
    vec![
        odd("another tenant's source", from([10, 103, 0, 10]), "spoofed"),
        odd("another address of the own network", from([10, 101, 0, 12]), "spoofed"),
        odd("the gateway's source", from([10, 101, 0, 1]), "spoofed"),
        odd("the control plane's source", from([10, 100, 0, 2]), "spoofed"),
        odd("an internet source", from([8, 8, 8, 8]), "spoofed"),
        odd("no source", from([0, 0, 0, 0]), "spoofed"),
        odd(
            "a tenant's source from outside",
            Packet::syn("pup", data_plane(1), UPLINK_ROUTER, 443),
            "no_way_back",
        ),
        odd("a word of the router itself", Packet::syn(ITSELF, UPLINK_ROUTER, STRANGER, 443), "output"),
        odd("a link that nobody has", Packet { in_link: "pt9".to_owned(), ..out() }, "spoofed"),
    ]
}

/// The beginnings of a flow that are none.
fn half_open() -> Vec<Odd> {
    let with = |flags| Packet { flags, ..out() };
    let mut all: Vec<Odd> =
        [ACK, SYN | ACK, FIN, RST, 0, SYN | FIN, SYN | RST, SYN | PSH, SYN | URG, FIN | PSH | URG]
            .into_iter()
            .map(|flags| odd("not a bare SYN", with(flags), "not_syn"))
            .collect();
    all.push(odd("a bare SYN with ECN", with(SYN | ECE | CWR), None));
    all.push(odd("what conntrack calls invalid", Packet { state: "invalid", ..out() }, "invalid"));
    all.push(odd("what conntrack does not track", Packet { state: "untracked", ..out() }, "invalid"));
    all.push(odd("the last connection below the cap", Packet { open: 63, ..out() }, None));
    all.push(odd("one connection more than the cap", Packet { open: 64, ..out() }, "cap"));
    let third = Packet::syn("pt3", data_plane(3), STRANGER, 443);
    all.push(odd("one more than another tenant's cap", Packet { open: 64, ..third }, "cap"));
    let second = Packet::syn("pt2", data_plane(2), STRANGER, 443);
    all.push(odd("a tenant that is not live", second, "not_live"));
    all
}

/// Packets of open flows, and errors about them.
fn open_flows() -> Vec<Odd> {
    let open = |mark| Packet { state: "established", flags: ACK, mark, ..out() };
    let error = |code| Packet {
        state: "related",
        protocol: "icmp",
        icmp: ("destination-unreachable", code),
        mark: 1,
        ..Packet::syn("pup", STRANGER, data_plane(1), 0)
    };
    let dead = |mark, what| Odd { mark: Some(0), ..odd(what, open(mark), "cut") };
    vec![
        Odd { mark: Some(1), ..odd("an open flow", open(1), None) },
        odd(
            "its answer",
            Packet { destination: data_plane(1), source: STRANGER, in_link: "pup".to_owned(), ..open(1) },
            None,
        ),
        dead(2, "an open flow of a tenant that is not live any more"),
        dead(0, "an open flow without a mark"),
        dead(77, "an open flow of nobody"),
        odd("a packet too large for the way", error(4), None),
        odd("the same about a flow that was cut", Packet { mark: 2, ..error(4) }, "related"),
        odd("another error about a flow", error(1), "related"),
        odd("a redirect", Packet { icmp: ("redirect", 4), ..error(4) }, "related"),
        odd(
            "an error from a tenant",
            Packet { in_link: "pt1".to_owned(), source: data_plane(1), destination: STRANGER, ..error(4) },
            "related",
        ),
        odd("a related flow that is no error", Packet { protocol: "tcp", ..error(4) }, "related"),
    ]
}

fn strange() -> Vec<Odd> {
    let to = |destination: [u8; 4]| Packet { destination: destination.into(), ..out() };
    let mut all: Vec<Odd> = [
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [224, 0, 0, 1],
        [239, 255, 255, 255],
        [255, 255, 255, 255],
        [10, 200, 0, 10],
        [169, 254, 169, 254],
    ]
    .into_iter()
    .map(|address| odd("what is not the internet", to(address), "destination"))
    .collect();
    for public in [
        [9, 255, 255, 255],
        [11, 0, 0, 0],
        [100, 63, 255, 255],
        [100, 128, 0, 0],
        [172, 32, 0, 0],
        [223, 255, 255, 255],
    ] {
        all.push(odd("what is, right beside it", to(public), None));
    }
    all.push(odd("the host's public address", to(HOST.octets()), "destination"));
    all.push(detoured(STRANGER, "pt3", out(), "destination"));
    all.push(odd("SCTP", Packet { protocol: "sctp", ..out() }, "protocol"));
    all.push(odd("HTTP/3", Packet { protocol: "udp", ..out() }, "udp"));
    all.push(odd("an echo request", Packet { protocol: "icmp", icmp: ("echo-request", 0), ..out() }, "icmp"));
    all.push(odd("IPv6", Packet { ipv6: true, ..out() }, "ipv6"));
    all.push(odd("a port of the router", Packet { destination: UPLINK_ROUTER, port: 22, ..out() }, "input"));
    all
}

/// A packet for which somebody changed a route: it must not follow it to a place that its address is not.
fn detoured(to: Ipv4Addr, link: &'static str, packet: Packet, stopped_by: &'static str) -> Odd {
    Odd { detour: Some((to, link)), ..odd("a changed route", packet, stopped_by) }
}

/// With the control plane on this host.
fn at_home() -> Vec<Odd> {
    let push = Packet::syn("pcp", CONTROL_PLANE, data_plane(1), 5678);
    let client = Packet::syn("pup", STRANGER, UPLINK_ROUTER, 443);
    vec![
        odd("a plan", push.clone(), None),
        odd(
            "a plan from another address",
            Packet { source: [10, 100, 0, 3].into(), ..push.clone() },
            "spoofed",
        ),
        odd(
            "a plan to the sidecar",
            Packet { destination: [10, 101, 0, 11].into(), ..push.clone() },
            "from_control",
        ),
        odd(
            "a plan for a tenant that is not live",
            Packet { destination: data_plane(2), ..push.clone() },
            "not_live",
        ),
        odd("one plan more than the cap", Packet { open: 64, ..push.clone() }, "cap"),
        odd(
            "the control plane to the internet",
            Packet::syn("pcp", CONTROL_PLANE, STRANGER, 443),
            "from_control",
        ),
        odd("its database", Packet::syn("pcp", CONTROL_PLANE, DATABASE, 5432), None),
        odd("its database from a tenant", Packet { destination: DATABASE, port: 5432, ..out() }, "port"),
        odd("a client", client.clone(), None),
        odd(
            "a client that names the control plane's address",
            Packet { destination: CONTROL_PLANE, ..client.clone() },
            "inbound",
        ),
        odd("one client too many", Packet { open: 16_384, ..client.clone() }, "cap"),
        detoured(data_plane(1), "pt3", push.clone(), "from_control"),
        detoured(DATABASE, "pt3", Packet::syn("pcp", CONTROL_PLANE, DATABASE, 5432), "from_control"),
        detoured(CONTROL_PLANE, "pt3", client.clone(), "inbound"),
        odd("a port that leads nowhere here", Packet { port: 20_001, ..client }, "input"),
        odd(
            "an open flow of the control plane",
            Packet {
                state: "established",
                mark: CONTROL_MARK,
                ..Packet::syn("pcp", CONTROL_PLANE, STRANGER, 9)
            },
            None,
        ),
    ]
}

/// With the control plane on another host.
fn away() -> Vec<Odd> {
    let push = Packet::syn("pup", CONTROL, UPLINK_ROUTER, 20_001);
    vec![
        odd("a plan", push.clone(), None),
        odd("a plan from somebody else", Packet { source: STRANGER, ..push.clone() }, "input"),
        odd("a plan for a tenant that is not live", Packet { port: 20_002, ..push.clone() }, "not_live"),
        odd(
            "a plan by the data plane's own address",
            Packet { destination: data_plane(1), port: 5678, ..push.clone() },
            "inbound",
        ),
        odd(
            "a forwarded port of another address",
            Packet { destination: data_plane(3), ..push.clone() },
            "inbound",
        ),
        detoured(data_plane(1), "pt3", push.clone(), "inbound"),
        odd("the published port of another host", Packet { port: 443, ..push.clone() }, "input"),
        odd("one plan more than the cap", Packet { open: 64, ..push }, "cap"),
        odd("the control plane at its private address", Packet { destination: CONTROL, ..out() }, None),
        odd("another port of it", Packet { destination: CONTROL, port: 22, ..out() }, "destination"),
        odd("its neighbour", Packet { destination: [192, 168, 7, 8].into(), ..out() }, "destination"),
    ]
}
