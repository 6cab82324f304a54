//! The host's rules: what passes between the router and the rest of the host. They concern our own link only;
//! whatever else the host has, other tables decide about.

use super::router::{control_addresses, control_reach};
use super::{
    Atom, Chain, DropReason, Field, Kind, Ruleset, Set, Statement, Verdict, dispatch, dropping, goto, in_set,
    is, is_not, link, rule, translate,
};
use crate::addresses::{HOST_LINK, HTTPS_PORT, UPLINK_ROUTER};
use crate::desired::{ControlPlane, Desired};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The addresses of a control plane on another host.
const CONTROL_ADDRESSES: &str = "control_addresses";
/// Where the control plane of this host may connect outside of it.
const CONTROL_REACH: &str = "control_reach";
/// Ports that lead a control plane on another host to the router.
const FORWARDED: &str = "forwarded";
/// The host's address and port that lead anybody to the control plane of this host.
const PUBLISHED: &str = "published";
/// The same, whatever the host's address.
const PUBLISHED_ANYWHERE: &str = "published_anywhere";

/// The interfaces that forward for us, and did not before.
const INTERFACES: &str = "interfaces";

/// The host's own addresses for itself.
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// The reasons that this table has for a drop.
const REASONS: [DropReason; 4] =
    [DropReason::Destination, DropReason::Inbound, DropReason::Transit, DropReason::Input];

/// Writes the rules of the host's own namespace.
#[must_use]
pub fn write_host(desired: &Desired) -> Ruleset {
    let mut chains = translations();
    chains.append(&mut filters());
    Ruleset {
        counters: REASONS.map(DropReason::counter).into(),
        sets: sets(desired),
        chains: chains.into_iter().map(|(name, chain)| (name.to_owned(), chain)).collect(),
        floor: floor(desired),
        foreign: Default::default(),
    }
}

fn sets(desired: &Desired) -> BTreeMap<String, Set> {
    let number = |port: u16| Atom::Number(port.into());
    let router = |port: u16| vec![Atom::address(UPLINK_ROUTER), number(port)];
    let (mut forwarded, mut published, mut anywhere) = (Vec::new(), Vec::new(), Vec::new());
    match desired.control_plane() {
        ControlPlane::Here { published: None, .. } => (),
        ControlPlane::Here { published: Some(at), .. } if at.ip().is_unspecified() => {
            anywhere.push((vec![number(at.port())], router(HTTPS_PORT)));
        }
        ControlPlane::Here { published: Some(at), .. } => {
            published.push((vec![Atom::address(*at.ip()), number(at.port())], router(HTTPS_PORT)));
        }
        ControlPlane::Elsewhere { .. } => {
            let ports = desired.tenants().iter().map(|tenant| tenant.number.forwarded_port());
            forwarded.extend(ports.map(|port| (vec![number(port)], router(port))));
        }
    }
    let lead = [Kind::Address, Kind::Port];
    let interfaces = desired.uplink().interfaces.iter().map(|name| vec![link(name)]);
    let sets = [
        (INTERFACES, Set::of([Kind::Link], interfaces)),
        (CONTROL_ADDRESSES, control_addresses(desired)),
        (CONTROL_REACH, control_reach(desired)),
        (FORWARDED, Set::map([Kind::Port], lead.clone(), forwarded)),
        (PUBLISHED, Set::map(lead.clone(), lead.clone(), published)),
        (PUBLISHED_ANYWHERE, Set::map([Kind::Port], lead, anywhere)),
    ];
    sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect()
}

/// The floor: what the table above must never lose. Interfaces that forward for us would make the host a router between
/// its own networks, and they forward on when our process has ended and its table with it.
fn floor(desired: &Desired) -> BTreeMap<String, Chain> {
    let interfaces = desired.uplink().interfaces.iter();
    let rules = interfaces.map(|name| {
        rule([
            is(Field::InLink, link(name)),
            is_not(Field::OutLink, link(HOST_LINK)),
            Statement::Decide(Verdict::Drop),
        ])
    });
    let chain = Chain::hooked(("filter", "forward", 10), Verdict::Accept, rules);
    [("forward".to_owned(), chain)].into()
}

/// What becomes of addresses on the way in and out.
fn translations() -> BTreeMap<&'static str, Chain> {
    let outside = || is_not(Field::InLink, link(HOST_LINK));
    let here = || Statement::ForThisHost;
    let published = || translate(&[Field::Destination, Field::Port], PUBLISHED);
    let anywhere = || translate(&[Field::Port], PUBLISHED_ANYWHERE);
    [
        (
            "arriving",
            Chain::hooked(
                ("nat", "prerouting", -100),
                Verdict::Accept,
                [
                    rule([
                        outside(),
                        here(),
                        in_set(&[Field::Source], CONTROL_ADDRESSES),
                        translate(&[Field::Port], FORWARDED),
                    ]),
                    // Published to the host alone: whoever names its loopback from outside would be let in by the
                    // translation, which comes before the kernel refuses such an address.
                    rule([outside(), is_not(Field::Destination, Atom::Address(LOOPBACK)), published()]),
                    rule([outside(), here(), anywhere()]),
                ],
            ),
        ),
        (
            // The host's own clients.
            "departing",
            Chain::hooked(
                ("nat", "output", -100),
                Verdict::Accept,
                [rule([published()]), rule([here(), anywhere()])],
            ),
        ),
        (
            "leaving",
            Chain::hooked(
                ("nat", "postrouting", 100),
                Verdict::Accept,
                [
                    rule([is(Field::Source, Atom::address(UPLINK_ROUTER)), Statement::Masquerade]),
                    // The host's own clients may say `localhost`; its answer has to find back.
                    rule([
                        is(Field::Source, Atom::Address(LOOPBACK)),
                        is(Field::OutLink, link(HOST_LINK)),
                        Statement::Masquerade,
                    ]),
                ],
            ),
        ),
    ]
    .into()
}

/// What passes by our link.
fn filters() -> BTreeMap<&'static str, Chain> {
    let open = || dispatch(Field::State, [("established", Verdict::Accept), ("related", Verdict::Accept)]);
    let from_router = || is(Field::InLink, link(HOST_LINK));
    let pass = || Statement::Decide(Verdict::Accept);
    [
        (
            "forward",
            Chain::hooked(
                ("filter", "forward", 0),
                Verdict::Accept,
                [
                    rule([from_router(), goto("from_router")]),
                    rule([is(Field::OutLink, link(HOST_LINK)), goto("to_router")]),
                    // The host does not become a router between its other networks.
                    dropping([in_set(&[Field::InLink], INTERFACES)], DropReason::Transit),
                ],
            ),
        ),
        (
            "input",
            Chain::hooked(("filter", "input", 0), Verdict::Accept, [rule([from_router(), goto("to_host")])]),
        ),
        (
            "from_router",
            // A second wall: the router lets nothing else out, and not to the host's own networks.
            Chain::inner([
                open(),
                dropping([is(Field::OutLink, link(HOST_LINK))], DropReason::Destination),
                rule([
                    is(Field::Source, Atom::address(UPLINK_ROUTER)),
                    is(Field::Port, Atom::Number(HTTPS_PORT.into())),
                    pass(),
                ]),
                rule([
                    is(Field::Source, Atom::address(UPLINK_ROUTER)),
                    in_set(&[Field::Destination, Field::Port], CONTROL_REACH),
                    pass(),
                ]),
                dropping([], DropReason::Destination),
            ]),
        ),
        (
            "to_router",
            Chain::inner([open(), rule([Statement::Translated, pass()]), dropping([], DropReason::Inbound)]),
        ),
        (
            "to_host",
            // Whatever the host's addresses are, public ones too: no data plane connects to one.
            Chain::inner([
                dispatch(Field::State, [("established", Verdict::Accept)]),
                dropping([], DropReason::Input),
            ]),
        ),
    ]
    .into()
}
