//! Which links stay, which go, and which pairs are to be made.

use super::{Found, Named, tag};
use crate::addresses::{HOST_LINK, Namespace};
use crate::desired::Desired;
use crate::topology::{Link, MTU, Pair, Topology};
use std::collections::BTreeSet;

/// What becomes of the links that were found, and of the pairs that should be.
pub(super) struct Wires {
    /// Links that go, those of the router first: both ends of a pair go with one.
    pub(super) doomed: Vec<(Namespace, String)>,
    /// Pairs that are to be made: not where somebody else's namespace or link stands.
    pub(super) missing: Vec<Pair>,
    /// Whether the host has a link with the name of ours that is not ours.
    pub(super) is_host_link_foreign: bool,
}

impl Wires {
    pub(super) fn of(desired: &Desired, found: &Found, topology: &Topology) -> Self {
        let host_end = found.ends.get(&(Namespace::Host, HOST_LINK.to_owned()));
        let is_host_link_foreign = host_end.is_some_and(|end| end.tag.is_none());
        let (whole, missing): (Vec<&Pair>, Vec<&Pair>) =
            topology.pairs.iter().partition(|pair| is_whole(desired, found, pair));
        let stays: BTreeSet<(Namespace, &str)> = whole
            .iter()
            .flat_map(|pair| {
                [(Namespace::Router, pair.router.as_str()), (pair.outer.0, pair.outer.1.as_str())]
            })
            .collect();
        let goes = |at: &Namespace, link: &str| match at {
            _ if link == "lo" || stays.contains(&(*at, link)) => false,
            Namespace::Host => link == HOST_LINK && !is_host_link_foreign,
            Namespace::Router => true,
            // With the namespace, what is in it goes.
            Namespace::ControlPlane | Namespace::Tenant(_) => topology.namespaces.contains_key(at),
        };
        let mut doomed: Vec<(Namespace, String)> =
            found.ends.keys().filter(|(at, link)| goes(at, link)).cloned().collect();
        doomed.sort_by_key(|(at, _)| *at != Namespace::Router);
        let is_foreign = |namespace| found.names.get(&namespace) == Some(&Named::Foreign);
        let blocked = |pair: &Pair| match pair.outer.0 {
            Namespace::Host => is_host_link_foreign,
            other => is_foreign(other),
        };
        let missing = missing.into_iter().filter(|pair| !blocked(pair)).cloned().collect();
        Self { doomed, missing, is_host_link_foreign }
    }

    /// The links that will be gone from a namespace, or be others of the same name.
    pub(super) fn gone_from(&self, at: Namespace) -> BTreeSet<&str> {
        let doomed = self.doomed.iter().filter(|(place, _)| *place == at).map(|(_, link)| link.as_str());
        let foreign = (self.is_host_link_foreign && at == Namespace::Host).then_some(HOST_LINK);
        doomed.chain(self.missing.iter().filter_map(|pair| pair.end_in(at))).chain(foreign).collect()
    }

    /// The links that come to a namespace, as they come.
    pub(super) fn new_in(&self, at: Namespace) -> impl Iterator<Item = Link> {
        let names = self.missing.iter().filter_map(move |pair| pair.end_in(at));
        names.map(|name| Link { name: name.to_owned(), kind: "veth".to_owned(), up: false, mtu: MTU })
    }
}

/// Whether both ends are there, ours, and each other's.
pub(super) fn is_whole(desired: &Desired, found: &Found, pair: &Pair) -> bool {
    let tag = tag(desired, pair.outer.0);
    let stands = pair.outer.0 == Namespace::Host
        || matches!(found.names.get(&pair.outer.0), Some(Named::Ours(own)) if *own == tag);
    let end = |at: Namespace, link: &str| {
        let state = &found.actual.namespaces.get(&at)?.state;
        let is_wire = state.links.iter().any(|seen| seen.name == link && seen.kind == "veth");
        found.ends.get(&(at, link.to_owned())).filter(|end| is_wire && end.tag.as_ref() == Some(&tag))
    };
    match (end(Namespace::Router, &pair.router), end(pair.outer.0, &pair.outer.1)) {
        (Some(one), Some(two)) => stands && one.peer == Some(two.index) && two.peer == Some(one.index),
        (None, _) | (_, None) => false,
    }
}
