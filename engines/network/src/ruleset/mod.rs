//! The table `inet palisade`: as data, as text for nftables, and as the change from one to the next.
//!
//! Beneath it lies a second one, `inet palisade_floor`, which nobody owns. When the process that owns the first ends,
//! the kernel drops the first before the router's links go: in between, the router's floor drops what the first has
//! not marked. The host's floor stays for as long as the host forwards for us.
//!
//! The rules are the same on every host and for any number of tenants; all that differs stands in sets and maps.
//! So a packet costs the same for 1 tenant and for 155, and a change is a change of elements.

mod host;
mod router;
mod rule;
mod text;
mod weaken;

pub use host::write_host;
pub use router::write;
pub use rule::{Atom, Comparison, Field, Operand, Rule, Statement, Verdict};
pub use text::Change;
pub use weaken::Weakened;

pub(crate) use router::{counter_received, counter_sent};

use std::collections::{BTreeMap, BTreeSet};

/// The table's family and name, in every namespace that has one.
pub const TABLE: &str = "inet palisade";

/// The family and name of the table that outlives the first, in the router's namespace only.
pub const FLOOR_TABLE: &str = "inet palisade_floor";

/// The mark of a packet that the first table lets through; no packet keeps a mark from one namespace to the next.
pub const PASSED_MARK: u32 = 1;

/// A whole table, and the floor beneath it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The names of its counters.
    pub counters: BTreeSet<String>,
    /// Its sets and maps.
    pub sets: BTreeMap<String, Set>,
    /// Its chains.
    pub chains: BTreeMap<String, Chain>,
    /// The chains of the floor; no such table if there are none.
    pub floor: BTreeMap<String, Chain>,
    /// Names of what else is in it; nothing of ours is.
    pub foreign: BTreeSet<String>,
}

/// The type of a part of a set's key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The name of a link.
    Link,
    /// An IPv4 address.
    Address,
    /// A port.
    Port,
    /// A flow's mark.
    Mark,
    /// The name of a counter.
    Counter,
    /// Any other type, as it was read.
    Foreign(String),
}

/// A set, or a map if it has values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// What its keys are made of.
    pub key: Vec<Kind>,
    /// What its values are made of; nothing in a set.
    pub value: Vec<Kind>,
    /// Whether a key may be a block of addresses.
    pub intervals: bool,
    /// Whether each element counts the open connections of its key, and holds only above its cap.
    pub caps: bool,
    /// What else it was declared with; nothing of ours is.
    pub foreign: BTreeSet<String>,
    /// Its elements.
    pub elements: BTreeMap<Vec<Atom>, Datum>,
}

/// What a key of a set stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    /// Itself.
    Present,
    /// A value.
    Maps(Vec<Atom>),
    /// It holds while its connections are more than this.
    Cap(u32),
    /// Something that no element of ours is, as it was read.
    Foreign(String),
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it, if not from another chain only.
    pub hook: Option<Hook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a chain hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: String,
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub at: String,
    /// Its place among other chains there; lower is earlier.
    pub priority: i64,
    /// What becomes of a packet that no rule decides about.
    pub policy: Verdict,
}

/// Why a packet was dropped: every drop is counted under one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Any IPv6 packet: it has no rules of its own.
    Ipv6,
    /// A source that its link does not have.
    Spoofed,
    /// A source to which no route leads back.
    NoWayBack,
    /// No part of a flow and not the start of one.
    Invalid,
    /// Part of a flow whose tenant is not live any more.
    Cut,
    /// An ICMP message about a flow, other than the one that path MTU discovery needs.
    Related,
    /// UDP, HTTP/3 included: it would pass by what is checked of TCP.
    Udp,
    /// ICMP outside of a flow.
    Icmp,
    /// Any other protocol.
    Protocol,
    /// A TCP flow that does not begin with a bare SYN.
    NotSyn,
    /// A link that nobody has.
    Stranger,
    /// From the control plane, to where it may not connect.
    FromControl,
    /// From outside, to where nobody may connect.
    Inbound,
    /// From a tenant, to an address that is not the public internet.
    Destination,
    /// From a tenant, to a port other than 443.
    Port,
    /// From or to a tenant that is not live.
    NotLive,
    /// More connections than the tenant may have.
    Cap,
    /// Through the host, from one network of its own to another, which it did not do before.
    Transit,
    /// To the router itself, or the host.
    Input,
    /// From the router itself.
    Output,
}

// === impl Chain ===

impl Chain {
    /// A chain that is entered from others.
    fn inner(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { hook: None, rules: rules.into_iter().collect() }
    }

    /// A chain that packets enter by themselves.
    fn hooked(
        (kind, at, priority): (&str, &str, i64),
        policy: Verdict,
        rules: impl IntoIterator<Item = Rule>,
    ) -> Self {
        let hook = Hook { kind: kind.to_owned(), at: at.to_owned(), priority, policy };
        Self { hook: Some(hook), rules: rules.into_iter().collect() }
    }
}

// === impl Set ===

impl Set {
    fn of<const N: usize>(key: [Kind; N], keys: impl IntoIterator<Item = Vec<Atom>>) -> Self {
        let elements = keys.into_iter().map(|key| (key, Datum::Present)).collect();
        Self { key: key.into(), elements, ..Self::default() }
    }

    fn map<const N: usize, const M: usize>(
        key: [Kind; N],
        value: [Kind; M],
        pairs: impl IntoIterator<Item = (Vec<Atom>, Vec<Atom>)>,
    ) -> Self {
        let elements = pairs.into_iter().map(|(key, value)| (key, Datum::Maps(value))).collect();
        Self { key: key.into(), value: value.into(), elements, ..Self::default() }
    }
}

// === impl DropReason ===

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 20] = [
        Self::Ipv6,
        Self::Spoofed,
        Self::NoWayBack,
        Self::Invalid,
        Self::Cut,
        Self::Related,
        Self::Udp,
        Self::Icmp,
        Self::Protocol,
        Self::NotSyn,
        Self::Stranger,
        Self::FromControl,
        Self::Inbound,
        Self::Destination,
        Self::Port,
        Self::NotLive,
        Self::Cap,
        Self::Transit,
        Self::Input,
        Self::Output,
    ];

    /// The reason's stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ipv6 => "ipv6",
            Self::Spoofed => "spoofed",
            Self::NoWayBack => "no_way_back",
            Self::Invalid => "invalid",
            Self::Cut => "cut",
            Self::Related => "related",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Protocol => "protocol",
            Self::NotSyn => "not_syn",
            Self::Stranger => "stranger",
            Self::FromControl => "from_control",
            Self::Inbound => "inbound",
            Self::Destination => "destination",
            Self::Port => "port",
            Self::NotLive => "not_live",
            Self::Cap => "cap",
            Self::Transit => "transit",
            Self::Input => "input",
            Self::Output => "output",
        }
    }

    /// The name of its counter.
    #[must_use]
    pub fn counter(self) -> String {
        format!("dropped_{}", self.code())
    }
}

// Parts of rules, so that a chain reads as it does in nftables.

fn is(field: Field, value: Atom) -> Statement {
    matching(&[field], Comparison::Is, Operand::Value(value))
}

fn is_not(field: Field, value: Atom) -> Statement {
    matching(&[field], Comparison::IsNot, Operand::Value(value))
}

fn in_set(fields: &[Field], set: &str) -> Statement {
    matching(fields, Comparison::Is, Operand::Set(set.to_owned()))
}

fn not_in_set(fields: &[Field], set: &str) -> Statement {
    matching(fields, Comparison::IsNot, Operand::Set(set.to_owned()))
}

fn matching(fields: &[Field], comparison: Comparison, with: Operand) -> Statement {
    Statement::Match { fields: fields.to_vec(), comparison, with }
}

fn link(name: &str) -> Atom {
    Atom::word(name)
}

fn goto(chain: &str) -> Statement {
    Statement::Decide(Verdict::Goto(chain.to_owned()))
}

fn dispatch<const N: usize>(field: Field, arms: [(&str, Verdict); N]) -> Rule {
    let verdicts = arms.into_iter().map(|(value, verdict)| (value.to_owned(), verdict)).collect();
    Rule(vec![Statement::Dispatch { field, verdicts }])
}

fn to(chain: &str) -> Verdict {
    Verdict::Goto(chain.to_owned())
}

fn translate(fields: &[Field], map: &str) -> Statement {
    Statement::Translate { fields: fields.to_vec(), map: map.to_owned() }
}

fn rule<const N: usize>(statements: [Statement; N]) -> Rule {
    Rule(statements.into())
}

/// A rule that drops what it matches, counted by `reason`.
fn dropping<const N: usize>(matches: [Statement; N], reason: DropReason) -> Rule {
    let act = [Statement::Count(reason.counter()), Statement::Decide(Verdict::Drop)];
    Rule(matches.into_iter().chain(act).collect())
}
