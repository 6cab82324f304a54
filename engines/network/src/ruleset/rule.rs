//! One rule, as data: written as nftables text, read back from nftables JSON (`read`), compared as neither.

use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;

/// What a packet, or its flow, is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The link it came in by.
    InLink,
    /// The link it leaves by.
    OutLink,
    /// Its IPv4 source.
    Source,
    /// Its IPv4 destination.
    Destination,
    /// Its TCP destination port.
    Port,
    /// The family of its addresses.
    Family,
    /// The protocol above IP.
    Protocol,
    /// Its ICMP type.
    IcmpType,
    /// Its ICMP code.
    IcmpCode,
    /// The state of its flow.
    State,
    /// The mark of its flow.
    Mark,
    /// Its own mark.
    PacketMark,
}

/// A value, as it stands in a rule or a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    /// A link, a counter, or a word of nftables.
    Word(String),
    /// An address, or a block of them.
    Address(Ipv4Net),
    /// A port, a mark or a code.
    Number(u32),
    /// Something that no rule of ours holds, as it was read.
    Foreign(String),
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// One value.
    Value(Atom),
    /// Whatever stands in the set of this name.
    Set(String),
}

/// Whether equality or its opposite is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The field is, or is in.
    Is,
    /// The field is not, or is not in.
    IsNot,
}

/// Where a packet goes from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Through.
    Accept,
    /// Nowhere.
    Drop,
    /// On to another chain, and not back.
    Goto(String),
}

/// One part of a rule. A rule acts if all parts before its act hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Holds if the fields, side by side, compare so.
    Match {
        /// What is asked for.
        fields: Vec<Field>,
        /// How.
        comparison: Comparison,
        /// With what.
        with: Operand,
    },
    /// Holds if no route leads back to the source by the link that the packet came in by.
    NoWayBack,
    /// Holds if the destination is one of this namespace's own addresses.
    ForThisHost,
    /// Holds if the flow's destination was translated.
    Translated,
    /// Holds for TCP but for a bare SYN; the two flags of ECN (RFC 3168) are no matter.
    NotBareSyn,
    /// Goes where the field's value says; holds if it says nothing.
    Dispatch {
        /// What is asked for.
        field: Field,
        /// Where each value leads.
        verdicts: BTreeMap<String, Verdict>,
    },
    /// Marks the flow.
    SetMark(u32),
    /// Marks the flow with what the map says; fails if it says nothing.
    SetMarkFrom {
        /// What is looked up.
        field: Field,
        /// Where.
        map: String,
    },
    /// Marks the packet.
    MarkPacket(u32),
    /// Counts in the counter of this name.
    Count(String),
    /// Counts in the counter that the map names; fails if it names none.
    CountFrom {
        /// What is looked up.
        field: Field,
        /// Where.
        map: String,
    },
    /// Sends the flow to the address and port that the map says, if it says one.
    Translate {
        /// What is looked up.
        fields: Vec<Field>,
        /// Where.
        map: String,
    },
    /// Hides the flow's source behind the link's own address.
    Masquerade,
    /// Decides.
    Decide(Verdict),
    /// Something that no rule of ours holds, as it was read.
    Foreign(String),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Statement>);

// === impl Field ===

impl Field {
    const fn text(self) -> &'static str {
        match self {
            Self::InLink => "iifname",
            Self::OutLink => "oifname",
            Self::Source => "ip saddr",
            Self::Destination => "ip daddr",
            Self::Port => "tcp dport",
            Self::Family => "meta nfproto",
            Self::Protocol => "meta l4proto",
            Self::IcmpType => "icmp type",
            Self::IcmpCode => "icmp code",
            Self::State => "ct state",
            Self::Mark => "ct mark",
            Self::PacketMark => "meta mark",
        }
    }

    /// The value as this field's type is written: names of links stand in quotes, words of nftables do not.
    fn value(self, atom: &Atom) -> String {
        match (self, atom) {
            (Self::InLink | Self::OutLink, Atom::Word(name)) => format!("\"{name}\""),
            (_, atom) => atom.to_string(),
        }
    }
}

fn joined(fields: &[Field]) -> String {
    let texts: Vec<&str> = fields.iter().map(|field| field.text()).collect();
    texts.join(" . ")
}

// === impl Atom ===

impl Atom {
    /// A single address.
    #[must_use]
    pub fn address(address: Ipv4Addr) -> Self {
        Self::Address(Ipv4Net::from(address))
    }

    /// A name or word.
    #[must_use]
    pub fn word(word: impl Into<String>) -> Self {
        Self::Word(word.into())
    }
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Foreign(text) => f.write_str(text),
            Self::Address(net) if net.prefix_len() == 32 => net.addr().fmt(f),
            Self::Address(net) => net.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

// === impl Verdict ===

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

// === impl Statement ===

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match { fields, comparison, with } => {
                let not = if *comparison == Comparison::IsNot { "!= " } else { "" };
                write!(f, "{} {not}", joined(fields))?;
                match (with, fields.as_slice()) {
                    (Operand::Set(name), _) => write!(f, "@{name}"),
                    (Operand::Value(atom), [field]) => f.write_str(&field.value(atom)),
                    (Operand::Value(atom), _) => atom.fmt(f),
                }
            }
            Self::NoWayBack => f.write_str("fib saddr . iif oif missing"),
            Self::ForThisHost => f.write_str("fib daddr type local"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::NotBareSyn => f.write_str("tcp flags & (fin | syn | rst | psh | ack | urg) != syn"),
            Self::Dispatch { field, verdicts } => {
                let arms = verdicts
                    .iter()
                    .map(|(value, verdict)| format!("{} : {verdict}", field.value(&Atom::word(value))));
                write!(f, "{} vmap {{ {} }}", field.text(), arms.collect::<Vec<_>>().join(", "))
            }
            Self::SetMark(mark) => write!(f, "ct mark set {mark}"),
            Self::SetMarkFrom { field, map } => write!(f, "ct mark set {} map @{map}", field.text()),
            Self::MarkPacket(mark) => write!(f, "meta mark set {mark}"),
            Self::Count(counter) => write!(f, "counter name \"{counter}\""),
            Self::CountFrom { field, map } => write!(f, "counter name {} map @{map}", field.text()),
            Self::Translate { fields, map } => write!(f, "dnat ip to {} map @{map}", joined(fields)),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Decide(verdict) => verdict.fmt(f),
            Self::Foreign(text) => f.write_str(text),
        }
    }
}

// === impl Rule ===

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, statement) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{statement}")?;
        }
        Ok(())
    }
}
