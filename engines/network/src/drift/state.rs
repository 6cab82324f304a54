//! Compares a namespace's links, addresses, routes and settings with what they should be.

use super::{Differences, DriftKind};
use crate::addresses::{HOST_LINK, Namespace};
use crate::topology::{Address, Link, Policy, Route, State};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Compares `seen` with `expected`. Of the host's namespace, only what concerns our link.
pub(super) fn compare(expected: &State, seen: &State, found: &mut Differences) {
    let all = found.namespace != Namespace::Host;
    let ours = |link: &str| all || link == HOST_LINK;
    set(DriftKind::Link, "links", &expected.links, seen.links.iter().filter(|l| ours(&l.name)), found);
    let addresses = seen.addresses.iter().filter(|address| ours(&address.link));
    set(DriftKind::Address, "addresses", &expected.addresses, addresses, found);
    let routes = seen.routes.iter().filter(|route| ours(&route.link));
    set(DriftKind::Route, "routes", &expected.routes, routes, found);
    let policies = seen.policies.iter().filter(|_| all);
    set(DriftKind::RoutePolicy, "routing policy", &expected.policies, policies, found);
    for (path, value) in &expected.sysctls {
        match seen.sysctls.get(path) {
            None => found.missing(DriftKind::Sysctl, path, value),
            Some(other) if other != value => found.changed(DriftKind::Sysctl, path, value, other),
            Some(_) => (),
        }
    }
}

fn set<'a, T: Ord + Display + 'a>(
    kind: DriftKind,
    subject: &str,
    expected: &BTreeSet<T>,
    seen: impl Iterator<Item = &'a T>,
    found: &mut Differences,
) {
    let seen: BTreeSet<&T> = seen.collect();
    for missing in expected.iter().filter(|item| !seen.contains(item)) {
        found.missing(kind, subject, missing);
    }
    for foreign in seen.into_iter().filter(|item| !expected.contains(item)) {
        found.foreign(kind, subject, foreign);
    }
}

// === how each is told ===

impl Display for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = if self.up { "up" } else { "down" };
        write!(f, "{} ({}, {state}, mtu {})", self.name, self.kind, self.mtu)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} on {}", self.address, self.link)
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} through {}", self.destination, self.link)?;
        if let Some(via) = self.via {
            write!(f, " by {via}")?;
        }
        write!(f, ", table {}", self.table)
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let sometimes = if self.always { "" } else { ", with conditions of its own" };
        write!(f, "priority {} asks table {}{sometimes}", self.priority, self.table)
    }
}
