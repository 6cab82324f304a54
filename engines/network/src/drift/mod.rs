//! Drift: where what the kernel has differs from what it should have.
//!
//! Counters, handles and the order of elements are no drift; anything else is, whether it makes the network more
//! open or less.

mod firewall;
mod state;

use crate::addresses::Namespace;
use crate::desired::Desired;
use crate::ruleset;
use crate::topology::{State, topology};
use std::collections::BTreeMap;

/// The most differences that are told one by one; a network in ruins needs no longer list.
pub const DRIFTS_MAX: usize = 256;

/// What was read from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    /// Each namespace that could be read.
    pub namespaces: BTreeMap<Namespace, Seen>,
}

/// What was read of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its links, addresses, routes and settings. Of the host's, whatever is not ours is passed over.
    pub state: State,
    /// Its firewall; only the router's and the host's are looked at.
    pub firewall: Option<Firewall>,
}

/// The firewall of one namespace, as nftables lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firewall {
    /// What `nft list tables` says.
    pub tables: String,
    /// Whether the keeper, and it alone, may change our table.
    pub owned_by_keeper: bool,
    /// The JSON of each of [`crate::table::commands`].
    pub listings: Vec<Vec<u8>>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// What kind it is.
    pub kind: DriftKind,
    /// Where.
    pub namespace: Namespace,
    /// What differs.
    pub subject: String,
    /// What it should be, unless it should not be.
    pub expected: Option<String>,
    /// What it is, unless it is missing.
    pub found: Option<String>,
}

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// The keeper ended: its namespace, its tables and every link into it are gone.
    KeeperEnded,
    /// Tables that somebody changed and changed back.
    ChangedBack,
    /// A namespace that is not there.
    NamespaceMissing,
    /// A namespace of ours that nothing asked for.
    NamespaceForeign,
    /// A namespace whose firewall was not read.
    FirewallMissing,
    /// A firewall that could not be read.
    FirewallUnreadable,
    /// Our table is not there.
    TableMissing,
    /// A table beside ours in the router's namespace: it could change packets before ours sees them.
    TableForeign,
    /// Our table, open to others' changes.
    TableUnowned,
    /// A part of our table that nothing asked for.
    ObjectForeign,
    /// A chain that is not there, is foreign, or hangs elsewhere.
    Chain,
    /// A rule that is not there.
    RuleMissing,
    /// A rule that nothing asked for.
    RuleForeign,
    /// The rules of a chain in another order.
    RuleOrder,
    /// A set or map that is not there, is foreign, or of another type.
    Set,
    /// An element that is not there.
    ElementMissing,
    /// An element that nothing asked for.
    ElementForeign,
    /// An element with another value.
    ElementChanged,
    /// A counter that is not there, or is foreign.
    Counter,
    /// A link that is not there, is foreign, down, or of another kind.
    Link,
    /// Two links that are not each other's ends.
    Wire,
    /// An address that is not there, or is foreign.
    Address,
    /// A route that is not there, or is foreign.
    Route,
    /// A routing policy rule that is not there, or is foreign.
    RoutePolicy,
    /// A setting with another value.
    Sysctl,
}

/// Compares what is with what should be. Nothing for a sound network, whatever passes through it.
#[must_use]
pub fn drift(desired: &Desired, actual: &Actual) -> Vec<Drift> {
    let mut found = Differences { all: Vec::new(), namespace: Namespace::Host };
    let topology = topology(desired);
    for (namespace, expected) in &topology.namespaces {
        found.namespace = *namespace;
        let Some(seen) = actual.namespaces.get(namespace) else {
            found.missing(DriftKind::NamespaceMissing, "namespace", namespace);
            continue;
        };
        let firewall = match namespace {
            Namespace::Router => Some(ruleset::write(desired)),
            Namespace::Host => Some(ruleset::write_host(desired)),
            Namespace::ControlPlane | Namespace::Tenant(_) => None,
        };
        if let Some(ruleset) = firewall {
            firewall::compare(&ruleset, seen.firewall.as_ref(), &mut found);
        }
        state::compare(expected, &seen.state, &mut found);
    }
    found.all
}

/// The differences found so far, and where one looks for more.
struct Differences {
    all: Vec<Drift>,
    namespace: Namespace,
}

impl Differences {
    fn missing(&mut self, kind: DriftKind, subject: &str, expected: impl ToString) {
        self.push(kind, subject, Some(expected.to_string()), None);
    }

    fn foreign(&mut self, kind: DriftKind, subject: &str, found: impl ToString) {
        self.push(kind, subject, None, Some(found.to_string()));
    }

    fn changed(&mut self, kind: DriftKind, subject: &str, expected: impl ToString, found: impl ToString) {
        self.push(kind, subject, Some(expected.to_string()), Some(found.to_string()));
    }

    fn push(&mut self, kind: DriftKind, subject: &str, expected: Option<String>, found: Option<String>) {
        if self.all.len() < DRIFTS_MAX {
            let (namespace, subject) = (self.namespace, subject.to_owned());
            self.all.push(Drift { kind, namespace, subject, expected, found });
        }
    }
}

// === impl Drift ===

impl Drift {
    /// Something that happened, and that no comparison shows.
    #[must_use]
    pub fn happened(kind: DriftKind, namespace: Namespace, what: &str) -> Self {
        Self { kind, namespace, subject: what.to_owned(), expected: None, found: None }
    }
}

// === impl DriftKind ===

impl DriftKind {
    /// The kind's stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeeperEnded => "keeper_ended",
            Self::ChangedBack => "changed_back",
            Self::NamespaceMissing => "namespace_missing",
            Self::NamespaceForeign => "namespace_foreign",
            Self::FirewallMissing => "firewall_missing",
            Self::FirewallUnreadable => "firewall_unreadable",
            Self::TableMissing => "table_missing",
            Self::TableForeign => "table_foreign",
            Self::TableUnowned => "table_unowned",
            Self::ObjectForeign => "object_foreign",
            Self::Chain => "chain",
            Self::RuleMissing => "rule_missing",
            Self::RuleForeign => "rule_foreign",
            Self::RuleOrder => "rule_order",
            Self::Set => "set",
            Self::ElementMissing => "element_missing",
            Self::ElementForeign => "element_foreign",
            Self::ElementChanged => "element_changed",
            Self::Counter => "counter",
            Self::Link => "link",
            Self::Wire => "wire",
            Self::Address => "address",
            Self::Route => "route",
            Self::RoutePolicy => "route_policy",
            Self::Sysctl => "sysctl",
        }
    }
}

// === impl Display for Drift ===

impl core::fmt::Display for Drift {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} in {}: {}", self.kind.code(), self.namespace, self.subject)?;
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(f, " should be `{expected}` and is `{found}`"),
            (Some(expected), None) => write!(f, " lacks `{expected}`"),
            (None, Some(found)) => write!(f, " has `{found}`, which nothing asked for"),
            (None, None) => Ok(()),
        }
    }
}
