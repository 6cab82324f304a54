//! From what a host has to what it should have: the steps between, in an order in which nothing is ever open.
//!
//! ```text
//! rules -> links, tables and namespaces that nothing asked for go -> namespaces, settings, pairs of links come
//!       -> per namespace: addresses, links on, routes
//! ```
//! Steps follow from what was found alone, so whatever a crash or a stranger left behind, the next reading leads
//! on from there. No link is switched on before the rules; nothing outside of our own namespaces is touched but
//! what bears our tag.

mod differences;
mod dress;
mod remains;
mod rules;
mod step;
mod wires;

pub use differences::differences;
pub use remains::remains;
pub use step::Step;

use crate::addresses::{HOST_LINK, Namespace};
use crate::desired::Desired;
use crate::drift::Actual;
use crate::topology::{State, Topology, fresh, topology};
use std::collections::{BTreeMap, BTreeSet};
use terms::TenantId;
use wires::Wires;

/// What was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What can be compared: the host's namespace, the router's, and every other one that is ours.
    pub actual: Actual,
    /// What stands under each name that a namespace of ours has.
    pub names: BTreeMap<Namespace, Named>,
    /// The ends of wires, by namespace and link.
    pub ends: BTreeMap<(Namespace, String), End>,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A namespace of ours, with this tag.
    Ours(String),
    /// Nothing: a crash leaves a name before its namespace.
    Hollow,
    /// A namespace without a tag of ours.
    Foreign,
}

/// One end of a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its number in its namespace.
    pub index: u32,
    /// The other end's number in the other end's namespace.
    pub peer: Option<u32>,
    /// Its tag, if that is one of ours.
    pub tag: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// What somebody else has to clear first.
    pub blocked: Vec<Blocked>,
}

/// Something that has a name of ours and is not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// A namespace.
    #[error("the network namespace `{0}` is not ours: remove or rename it")]
    Namespace(String),
    /// A link of the host.
    #[error("the host's link `{0}` is not ours: remove or rename it")]
    Link(String),
}

/// The tag of a namespace of ours and of the links that lead to it.
#[must_use]
pub fn tag(desired: &Desired, namespace: Namespace) -> String {
    const OURS: &str = "palisade restricted=true";
    match tenant(desired, namespace) {
        Some(tenant) => format!("{OURS} tenant={tenant}"),
        None => OURS.to_owned(),
    }
}

/// Plans the way from `found` to `desired`. No steps for a sound host.
#[must_use]
pub fn plan(desired: &Desired, found: &Found) -> Plan {
    let topology = topology(desired);
    let mut draft = Draft { desired, found, plan: Plan::default() };
    draft.rules();
    let wires = Wires::of(desired, found, &topology);
    draft.clear(&topology, &wires);
    draft.build(&topology, &wires);
    for (namespace, expected) in &topology.namespaces {
        draft.dress(*namespace, expected, &wires);
    }
    draft.plan
}

/// The plan so far.
struct Draft<'a> {
    desired: &'a Desired,
    found: &'a Found,
    plan: Plan,
}

impl Draft<'_> {
    /// What goes: links before the namespaces that they lead to.
    fn clear(&mut self, topology: &Topology, wires: &Wires) {
        for (at, link) in &wires.doomed {
            self.step(Step::Unlink { at: *at, link: link.clone() });
        }
        for (namespace, named) in &self.found.names {
            let wanted = topology.namespaces.contains_key(namespace);
            match named {
                Named::Ours(tag) if wanted && *tag == self::tag(self.desired, *namespace) => (),
                Named::Hollow if wanted => (),
                Named::Ours(_) | Named::Hollow => self.step(Step::Remove { namespace: *namespace }),
                Named::Foreign if wanted => {
                    self.plan.blocked.push(Blocked::Namespace(namespace.name().unwrap_or_default()));
                }
                Named::Foreign => (),
            }
        }
        if wires.is_host_link_foreign {
            self.plan.blocked.push(Blocked::Link(HOST_LINK.to_owned()));
        }
    }

    /// What comes: a namespace's settings before its links, for links copy them.
    fn build(&mut self, topology: &Topology, wires: &Wires) {
        for (namespace, expected) in &topology.namespaces {
            if self.is_foreign(*namespace) {
                continue;
            }
            if !self.stands(*namespace) {
                let tag = tag(self.desired, *namespace);
                self.step(Step::Create { namespace: *namespace, tag });
            }
            self.set(*namespace, expected, |path| !is_of_host_link(path));
        }
        for pair in &wires.missing {
            let tag = tag(self.desired, pair.outer.0);
            self.step(Step::Wire { pair: pair.clone(), tag });
        }
    }

    /// Sets what differs, of the settings that are meant.
    fn set(&mut self, at: Namespace, expected: &State, meant: impl Fn(&str) -> bool) {
        let seen = self.seen(at).map(|state| &state.sysctls);
        let differing = expected
            .sysctls
            .iter()
            .filter(|(path, value)| meant(path) && seen.and_then(|seen| seen.get(*path)) != Some(*value));
        let steps: Vec<Step> = differing
            .map(|(path, value)| Step::Set { at, path: path.clone(), value: value.clone() })
            .collect();
        self.plan.steps.extend(steps);
    }

    /// A namespace as it will be when its turn comes: what is kept of it, and new wires, still off.
    fn kept(&self, at: Namespace, wires: &Wires) -> State {
        let mut state = if self.stands(at) { self.seen(at).cloned().unwrap_or_default() } else { fresh() };
        let ours = |link: &str| at != Namespace::Host || link == HOST_LINK;
        let gone: BTreeSet<&str> = wires.gone_from(at);
        let kept = |link: &str| ours(link) && !gone.contains(link);
        state.links.retain(|link| kept(&link.name));
        state.addresses.retain(|address| kept(&address.link));
        state.routes.retain(|route| kept(&route.link));
        state.links.extend(wires.new_in(at));
        state
    }

    /// Whether the namespace is there and stays.
    fn stands(&self, namespace: Namespace) -> bool {
        match namespace {
            Namespace::Host | Namespace::Router => true,
            Namespace::ControlPlane | Namespace::Tenant(_) => {
                let tag = tag(self.desired, namespace);
                self.found.names.get(&namespace) == Some(&Named::Ours(tag))
            }
        }
    }

    /// Whether somebody else's namespace has the name.
    fn is_foreign(&self, namespace: Namespace) -> bool {
        self.found.names.get(&namespace) == Some(&Named::Foreign)
    }

    fn seen(&self, namespace: Namespace) -> Option<&State> {
        let stands = self.stands(namespace);
        self.found.actual.namespaces.get(&namespace).filter(|_| stands).map(|seen| &seen.state)
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }
}

fn tenant(desired: &Desired, namespace: Namespace) -> Option<TenantId> {
    let Namespace::Tenant(number) = namespace else { return None };
    desired.tenants().iter().find(|tenant| tenant.number == number).map(|tenant| tenant.tenant)
}

/// Settings of our link of the host exist only while the link does.
fn is_of_host_link(path: &str) -> bool {
    path.split('/').any(|part| part == HOST_LINK)
}
