//! What the matrix does not try, because no honest client sends it: packets for the router's table.

use super::super::ipv6::ipv6_of;
use super::super::volley::{End, Shot};
use super::super::wire::{ACK, FIN, Load, PSH, Packet, RST, SYN, URG};
use super::super::world::{HOST, Spot, World};
use super::super::{CONTROL, DATABASE, STRANGER, number};
use network::addresses::{CONTROL_PLANE, DATA_PLANE_PORT, UPLINK_ROUTER};
use network::{Addresses, ControlPlane, Namespace as Place};
use std::net::Ipv4Addr;

/// Somebody on the internet who never answers: who connects there stays half open. The control plane may.
pub(super) const NOBODY: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 77);

/// A link into the router that no tenant has.
pub(super) const STRANGE_LINK: &str = "pt9";
pub(super) const STRANGE_NUMBER: u8 = 109;

/// Public addresses right beside blocks that are not.
pub(super) const BESIDE: [Ipv4Addr; 6] = [
    Ipv4Addr::new(9, 255, 255, 255),
    Ipv4Addr::new(11, 0, 0, 0),
    Ipv4Addr::new(100, 63, 255, 255),
    Ipv4Addr::new(100, 128, 0, 0),
    Ipv4Addr::new(172, 32, 0, 0),
    Ipv4Addr::new(223, 255, 255, 255),
];

/// Where no packet of a tenant's own kernel would go.
const NOWHERE: [Ipv4Addr; 6] = [
    Ipv4Addr::new(0, 0, 0, 1),
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(127, 255, 255, 255),
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(239, 255, 255, 255),
    Ipv4Addr::BROADCAST,
];

const CONTROL_PLANE_SPOT: Spot = Spot::Of(Place::ControlPlane);

/// The two flags of TCP that ECN uses (RFC 3168).
const ECN: u8 = 0xc0;

/// All of them.
pub(super) fn shots(world: &World) -> Vec<Shot> {
    let mut all = spoofed();
    all.extend(half_open());
    all.extend(strange());
    all.extend(ipv6());
    match world.desired.control_plane() {
        ControlPlane::Here { .. } => all.extend([
            Shot::new(
                "a plan from another address",
                CONTROL_PLANE_SPOT,
                tcp([10, 100, 0, 3].into(), data_plane(1), DATA_PLANE_PORT),
                End::Nowhere,
            ),
            Shot::new(
                "the control plane to a database that is silent",
                CONTROL_PLANE_SPOT,
                tcp(CONTROL_PLANE, NOBODY, 5432),
                End::At(Spot::Internet),
            ),
        ]),
        ControlPlane::Elsewhere { .. } => {
            for (what, port) in [("a plan", DATA_PLANE_PORT), ("a forwarded port", 20_001)] {
                let packet = tcp(CONTROL, data_plane(3), port);
                all.push(Shot::new(
                    format!("{what} by the data plane's own address"),
                    Spot::Internet,
                    packet,
                    End::Nowhere,
                ));
            }
        }
    }
    all
}

fn spoofed() -> Vec<Shot> {
    let from = |source: [u8; 4]| {
        let what = format!("tenant 1 as {}", Ipv4Addr::from(source));
        Shot::new(what, tenant(1), tcp(source.into(), STRANGER, 443), End::Nowhere)
    };
    let as_another = tcp(data_plane(1), data_plane(3), DATA_PLANE_PORT);
    let unasked = tcp([10, STRANGE_NUMBER, 0, 10].into(), BESIDE[0], 443);
    vec![
        from([10, 103, 0, 10]),
        from([10, 101, 0, 12]),
        from([10, 101, 0, 1]),
        from([10, 100, 0, 2]),
        from([8, 8, 8, 8]),
        Shot::new("the host as tenant 1", Spot::Of(Place::Host), as_another, End::Nowhere),
        Shot::new("the router", Spot::Of(Place::Router), tcp(UPLINK_ROUTER, STRANGER, 443), End::Nowhere),
        Shot::new("a link that nobody has", Spot::Behind(STRANGE_LINK), unasked, End::Nowhere),
        Shot::new(
            "tenant 1 as the control plane elsewhere",
            tenant(1),
            tcp(CONTROL, UPLINK_ROUTER, 20_003),
            End::Nowhere,
        ),
    ]
}

/// Beginnings of a flow that are none.
fn half_open() -> Vec<Shot> {
    let with = |flags| Packet { load: Load::Tcp { port: 443, flags }, ..out() };
    let wrong = [ACK, SYN | ACK, FIN, RST, 0, SYN | FIN, SYN | RST, SYN | PSH, SYN | URG, FIN | PSH | URG]
        .into_iter();
    let ecn = Shot::new("a SYN with ECN", tenant(1), with(SYN | ECN), End::Answered(Spot::Internet));
    wrong
        .map(|flags| Shot::new(format!("TCP flags {flags:#x}"), tenant(1), with(flags), End::Nowhere))
        .chain([ecn])
        .collect()
}

fn strange() -> Vec<Shot> {
    let gateway = Addresses::of(number(1)).gateway;
    let to_nowhere = |address: Ipv4Addr| {
        let packet = tcp(data_plane(1), address, 443);
        Shot::new(format!("to {address}"), tenant(1), packet, End::Nowhere).by(gateway)
    };
    let beside = |address: Ipv4Addr| {
        let end = End::Answered(Spot::Internet);
        Shot::new(format!("to {address}"), tenant(1), tcp(data_plane(1), address, 443), end)
    };
    let odd = Packet { load: Load::Odd, ..out() };
    let all = NOWHERE.map(to_nowhere).into_iter().chain(BESIDE.map(beside));
    all.chain([Shot::new("a protocol that nobody speaks", tenant(1), odd, End::Nowhere)]).collect()
}

fn ipv6() -> Vec<Shot> {
    let from = ipv6_of(tenant(1));
    let tcp = |to: Spot, port| Packet {
        source: from.into(),
        destination: ipv6_of(to).into(),
        load: Load::Tcp { port, flags: SYN },
    };
    let echo = |to: Spot| Packet { load: Load::Echo, ..tcp(to, 0) };
    let packets = [
        ("IPv6 to the internet", tcp(Spot::Internet, 443)),
        ("IPv6 to another tenant", tcp(tenant(3), DATA_PLANE_PORT)),
        ("an IPv6 echo to another tenant", echo(tenant(3))),
        ("an IPv6 echo to the router", echo(Spot::Of(Place::Router))),
    ];
    packets.map(|(what, packet)| Shot::new(what, tenant(1), packet, End::Nowhere)).into()
}

/// Addresses that somebody gave the router a route to, through a link that they are not behind; and packets that must
/// not follow it.
pub(super) struct Detours {
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) shots: Vec<Shot>,
}

/// What is behind the strange link, where all detours lead, answers to these addresses too.
pub(super) fn claimed() -> [Ipv4Addr; 5] {
    [STRANGER, DATABASE, CONTROL, CONTROL_PLANE, data_plane(1)]
}

pub(super) fn detours(world: &World) -> Vec<Detours> {
    let tenant_out = Shot::new("tenant 1 to the stranger", tenant(1), out(), End::Nowhere);
    let detour = |addresses: &[Ipv4Addr], shots| Detours { addresses: addresses.to_vec(), shots };
    match world.desired.control_plane() {
        ControlPlane::Here { .. } => {
            let push = tcp(CONTROL_PLANE, data_plane(1), DATA_PLANE_PORT);
            let push = Shot::new("a plan for tenant 1", CONTROL_PLANE_SPOT, push, End::Nowhere);
            let query = tcp(CONTROL_PLANE, DATABASE, 5432);
            let query =
                Shot::new("the control plane to its database", CONTROL_PLANE_SPOT, query, End::Nowhere);
            let call = tcp(data_plane(1), CONTROL_PLANE, 443);
            let call = Shot::new("tenant 1 to the control plane", tenant(1), call, End::Nowhere);
            let client = tcp(STRANGER, HOST, 8443);
            let client = Shot::new("a client of the control plane", Spot::Internet, client, End::Nowhere);
            vec![
                detour(&[STRANGER, DATABASE], vec![tenant_out, query]),
                detour(&[data_plane(1)], vec![push]),
                detour(&[CONTROL_PLANE], vec![call, client]),
            ]
        }
        ControlPlane::Elsewhere { .. } => {
            let push = tcp(CONTROL, HOST, 20_001);
            let push = Shot::new("a plan for tenant 1", Spot::Internet, push, End::Nowhere);
            let call = tcp(data_plane(1), CONTROL, 443);
            let call = Shot::new("tenant 1 to the control plane", tenant(1), call, End::Nowhere);
            vec![detour(&[STRANGER, CONTROL], vec![tenant_out, call]), detour(&[data_plane(1)], vec![push])]
        }
    }
}

// === how they are written ===

/// The beginning of a connection.
pub(super) fn tcp(source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Packet {
    let load = Load::Tcp { port, flags: SYN };
    Packet { source: source.into(), destination: destination.into(), load }
}

/// What tenant 1 may send.
fn out() -> Packet {
    tcp(data_plane(1), STRANGER, 443)
}

pub(super) fn tenant(n: u32) -> Spot {
    Spot::Of(Place::Tenant(number(n)))
}

pub(super) fn data_plane(n: u32) -> Ipv4Addr {
    Addresses::of(number(n)).data_plane
}
