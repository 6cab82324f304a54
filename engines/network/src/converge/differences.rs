//! Everything that a plan would change: drift, and what only builders see of it.

use super::wires::is_whole;
use super::{Found, Named, tag};
use crate::addresses::Namespace;
use crate::desired::Desired;
use crate::drift::{Actual, DRIFTS_MAX, Drift, DriftKind, drift};
use crate::topology::{Pair, topology};

/// Where `found` differs from `desired`: what [`drift`] sees, wires that lead elsewhere, and namespaces that are
/// another tenant's or nobody's. Nothing for a sound host.
#[must_use]
pub fn differences(desired: &Desired, found: &Found) -> Vec<Drift> {
    let topology = topology(desired);
    let is_another = |at: &Namespace| match found.names.get(at) {
        Some(Named::Ours(own)) => *own != tag(desired, *at),
        Some(Named::Hollow | Named::Foreign) | None => false,
    };
    let own = found.actual.namespaces.iter().filter(|(at, _)| !is_another(at));
    let actual = Actual { namespaces: own.map(|(at, seen)| (*at, seen.clone())).collect() };
    let mut all = drift(desired, &actual);
    let is_nobodys = |(at, named): &(&Namespace, &Named)| {
        **named != Named::Foreign && !topology.namespaces.contains_key(at)
    };
    all.extend(found.names.iter().filter(is_nobodys).map(|(at, _)| Drift {
        kind: DriftKind::NamespaceForeign,
        namespace: *at,
        subject: "namespace".to_owned(),
        expected: None,
        found: at.name(),
    }));
    let are_there = |pair: &&Pair| {
        let has = |at: Namespace, link: &str| {
            let seen = actual.namespaces.get(&at);
            seen.is_some_and(|seen| seen.state.links.iter().any(|seen| seen.name == link))
        };
        has(Namespace::Router, &pair.router) && has(pair.outer.0, &pair.outer.1)
    };
    let crossed = topology.pairs.iter().filter(are_there).filter(|pair| !is_whole(desired, found, pair));
    all.extend(crossed.map(|pair| Drift {
        kind: DriftKind::Wire,
        namespace: pair.outer.0,
        subject: pair.outer.1.clone(),
        expected: Some(format!("ours, and the other end of the router's `{}`", pair.router)),
        found: Some("another link".to_owned()),
    }));
    all.truncate(DRIFTS_MAX);
    all
}
