//! The router's rules: who may connect to whom on this host.
//!
//! ```text
//! prerouting  spoofed sources and IPv6 go, before a flow is made of them
//! arriving    forwarded ports become addresses
//! forward     open flow -> `open`, ICMP about one -> `related`, new flow -> `fresh`, anything else goes
//!   fresh       a bare SYN from a link of ours -> from_control | from_uplink | from_tenant -> admit
//!   admit       the tenant is live and below its cap -> pass
//!   pass        counted for the tenant, marked, let through
//! leaving     what goes out by the uplink takes the router's address
//! input, output  nothing: the router itself speaks to nobody
//!
//! floor: forward  what was marked, nothing else
//! ```

use super::{
    Atom, Chain, Datum, DropReason, Field, Kind, PASSED_MARK, Rule, Ruleset, Set, Statement, Verdict,
    dispatch, dropping, goto, in_set, is, is_not, link, not_in_set, rule, to, translate,
};
use crate::addresses::{
    Addresses, CONTROL_LINK, CONTROL_MARK, CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, UPLINK, UPLINK_ROUTER,
};
use crate::desired::{CONTROL_CONNECTIONS_MAX, ControlPlane, Desired, TenantNetwork};
use crate::number::NetworkNumber;
use crate::special::SPECIAL;
use std::collections::BTreeMap;

/// Link and address pairs that a packet may come from.
const SOURCES: &str = "sources";
/// The mark of the tenant behind a link.
const TENANT_OF: &str = "tenant_of";
/// The mark of the tenant whose data plane has an address.
const TENANT_AT: &str = "tenant_at";
/// Where data planes take plans.
const DATA_PLANES: &str = "data_planes";
/// Where the control plane is reached by tenants.
const CONTROL: &str = "control";
/// The addresses of a control plane on another host.
const CONTROL_ADDRESSES: &str = "control_addresses";
/// Where the control plane of this host may connect outside of it.
const CONTROL_REACH: &str = "control_reach";
/// Blocks that are not the public internet.
const SPECIAL_BLOCKS: &str = "special";
/// The host's own addresses.
const HOST_ADDRESSES: &str = "host_addresses";
/// The marks whose flows pass.
const LIVE: &str = "live";
/// The marks, each with its cap on open connections.
const CAPS: &str = "caps";
/// The counter of what comes from a link.
const SENT: &str = "sent";
/// The counter of what goes to a link.
const RECEIVED: &str = "received";
/// Ports that lead a control plane on another host to data planes.
const FORWARDED: &str = "forwarded";
/// The port that leads anybody to the control plane of this host.
const PUBLISHED: &str = "published";

/// ICMP's "fragmentation needed" (RFC 792): without it, path MTU discovery fails and large packets vanish.
const FRAGMENTATION_NEEDED: u32 = 4;

/// Writes the rules of the router's namespace.
#[must_use]
pub fn write(desired: &Desired) -> Ruleset {
    let reasons = DropReason::ALL.into_iter().filter(|reason| *reason != DropReason::Transit);
    let counters = reasons.map(DropReason::counter).chain(
        desired
            .tenants()
            .iter()
            .flat_map(|tenant| [counter_sent(tenant.number), counter_received(tenant.number)]),
    );
    let mut sets = places(desired);
    sets.append(&mut states(desired));
    sets.append(&mut forwards(desired));
    let mut chains = hooks();
    chains.append(&mut origins());
    chains.append(&mut ends());
    Ruleset {
        counters: counters.collect(),
        sets: named(sets),
        chains: named(chains),
        floor: floor(),
        foreign: Default::default(),
    }
}

/// The counter of what a tenant sent.
pub(crate) fn counter_sent(number: NetworkNumber) -> String {
    format!("t{number}_sent")
}

/// The counter of what a tenant received.
pub(crate) fn counter_received(number: NetworkNumber) -> String {
    format!("t{number}_received")
}

fn named<T>(items: BTreeMap<&'static str, T>) -> BTreeMap<String, T> {
    items.into_iter().map(|(name, item)| (name.to_owned(), item)).collect()
}

// === sets: what differs between hosts ===

/// Who is where.
fn places(desired: &Desired) -> BTreeMap<&'static str, Set> {
    let tenants = desired.tenants();
    let door = |tenant: &TenantNetwork| {
        let address = Addresses::of(tenant.number).data_plane;
        endpoint(&tenant.number.link(), address, DATA_PLANE_PORT)
    };
    let marks = tenants.iter().map(|tenant| {
        let mark = Atom::Number(tenant.number.mark());
        (vec![Atom::address(Addresses::of(tenant.number).data_plane)], vec![mark])
    });
    let link_marks =
        tenants.iter().map(|t| (vec![link(&t.number.link())], vec![Atom::Number(t.number.mark())]));
    let host = desired.uplink().host_addresses.iter();
    [
        (SOURCES, Set::of([Kind::Link, Kind::Address], sources(desired))),
        (TENANT_OF, Set::map([Kind::Link], [Kind::Mark], link_marks)),
        (TENANT_AT, Set::map([Kind::Address], [Kind::Mark], marks)),
        (DATA_PLANES, Set::of([Kind::Link, Kind::Address, Kind::Port], tenants.iter().map(door))),
        (CONTROL, Set::of([Kind::Link, Kind::Address, Kind::Port], control(desired))),
        (CONTROL_ADDRESSES, control_addresses(desired)),
        (CONTROL_REACH, control_reach(desired)),
        (
            SPECIAL_BLOCKS,
            Set {
                intervals: true,
                ..Set::of([Kind::Address], SPECIAL.map(|block| vec![Atom::Address(block.net)]))
            },
        ),
        (HOST_ADDRESSES, Set::of([Kind::Address], host.map(|address| vec![Atom::address(*address)]))),
    ]
    .into()
}

/// Whose flows pass, how many, and where they are counted.
fn states(desired: &Desired) -> BTreeMap<&'static str, Set> {
    let tenants = desired.tenants();
    let control = match desired.control_plane() {
        ControlPlane::Here { .. } => Some((CONTROL_MARK, CONTROL_CONNECTIONS_MAX)),
        ControlPlane::Elsewhere { .. } => None,
    };
    let live = tenants.iter().filter(|tenant| tenant.live).map(|tenant| tenant.number.mark());
    let marks = live.chain(control.map(|(mark, _)| mark)).map(|mark| vec![Atom::Number(mark)]);
    let caps = tenants.iter().map(|tenant| (tenant.number.mark(), tenant.connections_max)).chain(control);
    let counted = |counter: fn(NetworkNumber) -> String| {
        let counters =
            tenants.iter().map(move |t| (vec![link(&t.number.link())], vec![Atom::word(counter(t.number))]));
        Set::map([Kind::Link], [Kind::Counter], counters)
    };
    [
        (LIVE, Set::of([Kind::Mark], marks)),
        (
            CAPS,
            Set {
                key: vec![Kind::Mark],
                caps: true,
                elements: caps.map(|(mark, max)| (vec![Atom::Number(mark)], Datum::Cap(max))).collect(),
                ..Set::default()
            },
        ),
        (SENT, counted(counter_sent)),
        (RECEIVED, counted(counter_received)),
    ]
    .into()
}

/// What a connection to the router's own address leads to.
fn forwards(desired: &Desired) -> BTreeMap<&'static str, Set> {
    let map = |pairs| Set::map([Kind::Port], [Kind::Address, Kind::Port], pairs);
    let lead = |port: u16, address, to: u16| {
        (vec![Atom::Number(port.into())], vec![Atom::address(address), Atom::Number(to.into())])
    };
    let (forwarded, published) = match desired.control_plane() {
        ControlPlane::Here { .. } => (Vec::new(), vec![lead(HTTPS_PORT, CONTROL_PLANE, HTTPS_PORT)]),
        ControlPlane::Elsewhere { .. } => {
            let numbers = desired.tenants().iter().map(|tenant| tenant.number);
            let lead_to =
                |n: NetworkNumber| lead(n.forwarded_port(), Addresses::of(n).data_plane, DATA_PLANE_PORT);
            (numbers.map(lead_to).collect(), Vec::new())
        }
    };
    [(FORWARDED, map(forwarded)), (PUBLISHED, map(published))].into()
}

fn sources(desired: &Desired) -> Vec<Vec<Atom>> {
    let control = match desired.control_plane() {
        ControlPlane::Here { .. } => Some(vec![link(CONTROL_LINK), Atom::address(CONTROL_PLANE)]),
        ControlPlane::Elsewhere { .. } => None,
    };
    let tenants = desired.tenants().iter().flat_map(|tenant| {
        let Addresses { data_plane, sidecar, .. } = Addresses::of(tenant.number);
        [data_plane, sidecar].map(|address| vec![link(&tenant.number.link()), Atom::address(address)])
    });
    tenants.chain(control).collect()
}

fn control(desired: &Desired) -> Vec<Vec<Atom>> {
    match desired.control_plane() {
        ControlPlane::Here { .. } => vec![endpoint(CONTROL_LINK, CONTROL_PLANE, HTTPS_PORT)],
        ControlPlane::Elsewhere { addresses } => {
            addresses.iter().map(|address| endpoint(UPLINK, *address, HTTPS_PORT)).collect()
        }
    }
}

/// The addresses from which a control plane on another host connects.
pub(super) fn control_addresses(desired: &Desired) -> Set {
    let addresses = match desired.control_plane() {
        ControlPlane::Here { .. } => &[][..],
        ControlPlane::Elsewhere { addresses } => addresses,
    };
    Set::of([Kind::Address], addresses.iter().map(|address| vec![Atom::address(*address)]))
}

/// The endpoints that this host's control plane may reach outside of it.
pub(super) fn control_reach(desired: &Desired) -> Set {
    let reach = match desired.control_plane() {
        ControlPlane::Here { reach, .. } => &reach[..],
        ControlPlane::Elsewhere { .. } => &[],
    };
    let pair = |at: &std::net::SocketAddrV4| vec![Atom::address(*at.ip()), Atom::Number(at.port().into())];
    Set::of([Kind::Address, Kind::Port], reach.iter().map(pair))
}

fn endpoint(through: &str, address: std::net::Ipv4Addr, port: u16) -> Vec<Atom> {
    vec![link(through), Atom::address(address), Atom::Number(port.into())]
}

// === chains: the same on every host ===

const ENDPOINT: [Field; 3] = [Field::OutLink, Field::Destination, Field::Port];

/// Where packets enter.
fn hooks() -> BTreeMap<&'static str, Chain> {
    let from_uplink = || is(Field::InLink, link(UPLINK));
    let at_router = || is(Field::Destination, Atom::address(UPLINK_ROUTER));
    [
        (
            "prerouting",
            // Before conntrack (-200), so that what is spoofed makes no flow.
            Chain::hooked(
                ("filter", "prerouting", -300),
                Verdict::Accept,
                [
                    dropping([is_not(Field::Family, Atom::word("ipv4"))], DropReason::Ipv6),
                    dropping(
                        [
                            is_not(Field::InLink, link(UPLINK)),
                            not_in_set(&[Field::InLink, Field::Source], SOURCES),
                        ],
                        DropReason::Spoofed,
                    ),
                    dropping([Statement::NoWayBack], DropReason::NoWayBack),
                ],
            ),
        ),
        (
            "arriving",
            Chain::hooked(
                ("nat", "prerouting", -100),
                Verdict::Accept,
                [
                    rule([
                        from_uplink(),
                        at_router(),
                        in_set(&[Field::Source], CONTROL_ADDRESSES),
                        translate(&[Field::Port], FORWARDED),
                    ]),
                    rule([from_uplink(), at_router(), translate(&[Field::Port], PUBLISHED)]),
                ],
            ),
        ),
        (
            "forward",
            Chain::hooked(
                ("filter", "forward", 0),
                Verdict::Drop,
                [
                    dispatch(
                        Field::State,
                        [("established", to("open")), ("related", to("related")), ("new", to("fresh"))],
                    ),
                    dropping([], DropReason::Invalid),
                ],
            ),
        ),
        (
            "leaving",
            Chain::hooked(
                ("nat", "postrouting", 100),
                Verdict::Accept,
                [rule([is(Field::OutLink, link(UPLINK)), Statement::Masquerade])],
            ),
        ),
        ("input", Chain::hooked(("filter", "input", 0), Verdict::Drop, [dropping([], DropReason::Input)])),
        ("output", Chain::hooked(("filter", "output", 0), Verdict::Drop, [dropping([], DropReason::Output)])),
    ]
    .into()
}

/// Who may begin a flow to whom, by where it comes from.
fn origins() -> BTreeMap<&'static str, Chain> {
    let to_uplink = || is(Field::OutLink, link(UPLINK));
    let tenant_at = || Statement::SetMarkFrom { field: Field::Destination, map: TENANT_AT.to_owned() };
    [
        (
            "fresh",
            Chain::inner([
                dispatch(Field::Protocol, [("udp", to("no_udp")), ("icmp", to("no_icmp"))]),
                dropping([is_not(Field::Protocol, Atom::word("tcp"))], DropReason::Protocol),
                dropping([Statement::NotBareSyn], DropReason::NotSyn),
                dispatch(Field::InLink, [(CONTROL_LINK, to("from_control")), (UPLINK, to("from_uplink"))]),
                rule([
                    Statement::SetMarkFrom { field: Field::InLink, map: TENANT_OF.to_owned() },
                    goto("from_tenant"),
                ]),
                dropping([], DropReason::Stranger),
            ]),
        ),
        ("no_udp", Chain::inner([dropping([], DropReason::Udp)])),
        ("no_icmp", Chain::inner([dropping([], DropReason::Icmp)])),
        (
            "from_control",
            Chain::inner([
                rule([in_set(&ENDPOINT, DATA_PLANES), tenant_at(), goto("admit")]),
                rule([
                    to_uplink(),
                    in_set(&[Field::Destination, Field::Port], CONTROL_REACH),
                    Statement::SetMark(CONTROL_MARK),
                    goto("admit"),
                ]),
                dropping([], DropReason::FromControl),
            ]),
        ),
        (
            "from_uplink",
            // Only what came to a forwarded port: nobody reaches an address of ours by naming it.
            Chain::inner([
                rule([
                    Statement::Translated,
                    in_set(&[Field::Source], CONTROL_ADDRESSES),
                    in_set(&ENDPOINT, DATA_PLANES),
                    tenant_at(),
                    goto("admit"),
                ]),
                rule([
                    Statement::Translated,
                    in_set(&ENDPOINT, CONTROL),
                    Statement::SetMark(CONTROL_MARK),
                    goto("admit"),
                ]),
                dropping([], DropReason::Inbound),
            ]),
        ),
        (
            "from_tenant",
            Chain::inner([
                rule([in_set(&ENDPOINT, CONTROL), goto("admit")]),
                dropping([is_not(Field::OutLink, link(UPLINK))], DropReason::Destination),
                dropping([in_set(&[Field::Destination], SPECIAL_BLOCKS)], DropReason::Destination),
                dropping([in_set(&[Field::Destination], HOST_ADDRESSES)], DropReason::Destination),
                rule([is(Field::Port, Atom::Number(HTTPS_PORT.into())), goto("admit")]),
                dropping([], DropReason::Port),
            ]),
        ),
    ]
    .into()
}

/// What becomes of a flow that may be.
fn ends() -> BTreeMap<&'static str, Chain> {
    [
        (
            "admit",
            Chain::inner([
                dropping([not_in_set(&[Field::Mark], LIVE)], DropReason::NotLive),
                dropping([in_set(&[Field::Mark], CAPS)], DropReason::Cap),
                rule([goto("pass")]),
            ]),
        ),
        (
            "open",
            Chain::inner([
                rule([in_set(&[Field::Mark], LIVE), goto("pass")]),
                // The mark goes with the first packet that comes too late: the flow stays cut when its tenant, or
                // the next tenant of its number, is live again.
                Rule([Statement::SetMark(0)].into_iter().chain(dropping([], DropReason::Cut).0).collect()),
            ]),
        ),
        (
            "related",
            Chain::inner([
                rule([
                    is(Field::InLink, link(UPLINK)),
                    is(Field::IcmpType, Atom::word("destination-unreachable")),
                    is(Field::IcmpCode, Atom::Number(FRAGMENTATION_NEEDED)),
                    in_set(&[Field::Mark], LIVE),
                    goto("pass"),
                ]),
                dropping([], DropReason::Related),
            ]),
        ),
        (
            "pass",
            Chain::inner([
                rule([Statement::CountFrom { field: Field::InLink, map: SENT.to_owned() }]),
                rule([Statement::CountFrom { field: Field::OutLink, map: RECEIVED.to_owned() }]),
                rule([Statement::MarkPacket(PASSED_MARK), Statement::Decide(Verdict::Accept)]),
            ]),
        ),
    ]
    .into()
}

/// The floor: behind the table above, and still there when that is gone.
fn floor() -> BTreeMap<String, Chain> {
    let marked = is(Field::PacketMark, Atom::Number(PASSED_MARK));
    let chain = Chain::hooked(
        ("filter", "forward", 10),
        Verdict::Drop,
        [rule([marked, Statement::Decide(Verdict::Accept)])],
    );
    [("forward".to_owned(), chain)].into()
}
