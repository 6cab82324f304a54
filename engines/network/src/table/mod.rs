//! What the kernel really has: the table `inet palisade` and its floor, read from the JSON of `nft -j list ..`.
//!
//! The documents are outside bytes: bounded, and whatever in them is no part of a table of ours is kept as
//! *foreign*, so that comparing it with the desired table shows it.

mod element;
mod statement;

use crate::number::NetworkNumber;
use crate::ruleset::{
    DropReason, FLOOR_TABLE, Hook, Kind, Rule, Ruleset, Set, TABLE, Verdict, counter_received, counter_sent,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The longest document. A table of 155 tenants is a tenth of a megabyte.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most documents of one reading: one per list and chain.
pub const DOCUMENTS_MAX: usize = 64;

/// The most objects that are kept, foreign ones included.
const OBJECTS_MAX: usize = 10_000;

/// The most elements of one set, or statements of one rule.
const PARTS_MAX: usize = 20_000;

/// The longest part of something foreign that is repeated.
const ECHO_MAX: usize = 160;

/// A table as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What it is made of.
    pub ruleset: Ruleset,
    /// What its counters say.
    pub counts: BTreeMap<String, Count>,
}

/// What a counter says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets since it was made.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// What passed for one tenant since its counters were made. A decrease is a reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What it sent.
    pub sent: Count,
    /// What it received.
    pub received: Count,
}

/// Says why documents are no listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More than there can be.
    #[error("{what}: `{count}` are more than {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Not JSON.
    #[error("the listing is not JSON: {0}")]
    NotJson(String),
    /// JSON, but not as nftables writes it.
    #[error("the listing has no {0} where nftables writes one")]
    Missing(&'static str),
}

/// The commands that list what [`Table::read`] takes, each to be run by itself with JSON output. Not
/// `list table` or `list ruleset`: libnftables before 1.0.7 frees a string that it then writes for a table with
/// an owner, and its listing is sometimes no JSON.
#[must_use]
pub fn commands(desired: &Ruleset) -> Vec<String> {
    let lists = ["list chains inet", "list sets inet", "list maps inet", "list counters"].map(str::to_owned);
    let of = |table, chain| format!("list chain {table} {chain}");
    let chains = desired.chains.keys().map(|chain| of(TABLE, chain));
    let floor = desired.floor.keys().map(|chain| of(FLOOR_TABLE, chain));
    lists.into_iter().chain(chains).chain(floor).collect()
}

impl Table {
    /// Reads the table out of one or several listings of its namespace. What belongs to other tables is passed
    /// over.
    ///
    /// # Errors
    /// If a document is none of nftables, or holds more than a table of ours can.
    pub fn read<D: AsRef<[u8]>>(documents: &[D]) -> Result<Self, TableError> {
        bounded("documents", documents.len(), DOCUMENTS_MAX)?;
        let mut table = Self::default();
        let mut objects = 0_usize;
        for document in documents {
            bounded("bytes of a document", document.as_ref().len(), DOCUMENT_BYTES_MAX)?;
            let json: Value = serde_json::from_slice(document.as_ref())
                .map_err(|error| TableError::NotJson(error.to_string()))?;
            let listed = json.get("nftables").and_then(Value::as_array).ok_or(TableError::Missing("list"))?;
            for item in listed {
                let mut parts = item.as_object().ok_or(TableError::Missing("object"))?.iter();
                let (kind, object) = parts.next().ok_or(TableError::Missing("object"))?;
                let Some(object) = object.as_object() else { continue };
                let Some(home) = home(kind, object) else { continue };
                objects += 1;
                bounded("objects", objects, OBJECTS_MAX)?;
                table.add(home, kind, object)?;
            }
        }
        Ok(table)
    }

    /// What passed for each tenant.
    #[must_use]
    pub fn traffic(&self) -> BTreeMap<NetworkNumber, Traffic> {
        let count = |name: String| self.counts.get(&name).copied();
        let of = |number: NetworkNumber| {
            let (sent, received) = (count(counter_sent(number))?, count(counter_received(number))?);
            Some((number, Traffic { sent, received }))
        };
        NetworkNumber::all().filter_map(of).collect()
    }

    /// What was dropped, by reason.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<DropReason, Count> {
        let count = |reason: DropReason| self.counts.get(&reason.counter()).map(|count| (reason, *count));
        DropReason::ALL.into_iter().filter_map(count).collect()
    }

    fn add(&mut self, home: Home, kind: &str, object: &Map<String, Value>) -> Result<(), TableError> {
        let chains = match home {
            Home::First => &mut self.ruleset.chains,
            Home::Floor => &mut self.ruleset.floor,
        };
        match (kind, home) {
            ("table", _) => {
                let odd = object.get("flags").map(words).unwrap_or_default().into_iter();
                for flag in odd.filter(|flag| is_odd(home, flag)) {
                    self.ruleset.foreign.insert(format!("flag {flag}{}", home.whose()));
                }
            }
            ("chain", _) => {
                let (name, hook) = (name(object, "name")?, hook(object));
                // Listed by itself and among all: two that differ are not one chain of ours.
                let before = chains.get(&name);
                if before.is_some_and(|before| before.hook != hook) {
                    self.ruleset.foreign.insert(format!("chain {name}, listed in two ways"));
                }
                chains.entry(name).or_default().hook = hook;
            }
            ("rule", _) => {
                let statements = object.get("expr").and_then(Value::as_array);
                let statements = statements.ok_or(TableError::Missing("expression of a rule"))?;
                bounded("statements of a rule", statements.len(), PARTS_MAX)?;
                let chain = chains.entry(name(object, "chain")?).or_default();
                chain.rules.push(Rule(statement::all(statements)));
            }
            ("set" | "map", Home::First) => {
                let set = set(object)?;
                self.ruleset.sets.insert(name(object, "name")?, set);
            }
            ("counter", Home::First) => {
                let number = |key| object.get(key).and_then(Value::as_u64);
                let count = number("packets").zip(number("bytes")).ok_or(TableError::Missing("count"))?;
                let name = name(object, "name")?;
                self.counts.insert(name.clone(), Count { packets: count.0, bytes: count.1 });
                self.ruleset.counters.insert(name);
            }
            (other, _) => {
                let text = |key| object.get(key).and_then(Value::as_str).unwrap_or("?");
                self.ruleset.foreign.insert(echo(&format!("{other} {}{}", text("name"), home.whose())));
            }
        }
        Ok(())
    }
}

/// In which of our tables something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    First,
    Floor,
}

/// How what is foreign in the floor ends.
const OF_FLOOR: &str = " of the floor";

impl Home {
    const fn whose(self) -> &'static str {
        match self {
            Self::First => "",
            Self::Floor => OF_FLOOR,
        }
    }
}

/// Whether something foreign was found in the floor.
pub(crate) fn is_of_floor(foreign: &str) -> bool {
    foreign.ends_with(OF_FLOOR)
}

/// Which table of ours an object is, or is part of, if it is.
fn home(kind: &str, object: &Map<String, Value>) -> Option<Home> {
    let text = |key| object.get(key).and_then(Value::as_str);
    let name = if kind == "table" { "name" } else { "table" };
    let table = format!("{} {}", text("family")?, text(name)?);
    match table.as_str() {
        TABLE => Some(Home::First),
        FLOOR_TABLE => Some(Home::Floor),
        _ => None,
    }
}

/// Whether a table of ours should not have a flag: one that sleeps stops nothing, and a floor that belongs to somebody
/// ends with him. Other words are not believed (see [`commands`]); who owns the first table is asked elsewhere.
fn is_odd(home: Home, flag: &str) -> bool {
    match home {
        Home::First => flag == "dormant",
        Home::Floor => matches!(flag, "dormant" | "owner"),
    }
}

fn hook(object: &Map<String, Value>) -> Option<Hook> {
    let text = |key| object.get(key).and_then(Value::as_str);
    let at = text("hook")?;
    // A hook that is not as ours are is no hook of ours: what is odd about it becomes what no desired hook has.
    let policy = match text("policy") {
        Some("drop") => Verdict::Drop,
        Some("accept") => Verdict::Accept,
        other => Verdict::Goto(echo(other.unwrap_or("?"))),
    };
    Some(Hook {
        kind: echo(text("type").unwrap_or("?")),
        at: echo(&text("dev").map_or_else(|| at.to_owned(), |dev| format!("{at} device {dev}"))),
        priority: object.get("prio").and_then(Value::as_i64).unwrap_or(i64::MIN),
        policy,
    })
}

fn set(object: &Map<String, Value>) -> Result<Set, TableError> {
    let mut set = Set { key: kinds(object.get("type")), value: kinds(object.get("map")), ..Set::default() };
    for (key, value) in object {
        match key.as_str() {
            "family" | "table" | "name" | "handle" | "comment" | "type" | "map" => (),
            "elem" => {
                let elements = value.as_array().ok_or(TableError::Missing("list of elements"))?;
                bounded("elements of a set", elements.len(), PARTS_MAX)?;
                set.elements = elements.iter().map(element::element).collect();
            }
            "flags" => {
                for flag in words(value) {
                    match flag.as_str() {
                        "interval" => set.intervals = true,
                        _ => {
                            set.foreign.insert(format!("flag {flag}"));
                        }
                    }
                }
            }
            "stmt" => {
                set.caps = element::counts_connections(value);
                if !set.caps {
                    set.foreign.insert(echo(&value.to_string()));
                }
            }
            _ => {
                set.foreign.insert(echo(&format!("{key} {value}")));
            }
        }
    }
    Ok(set)
}

/// The types of a key or a value: one word, several joined by dots, or a list of words.
fn kinds(value: Option<&Value>) -> Vec<Kind> {
    let kind = |word: &str| match word {
        "ifname" => Kind::Link,
        "ipv4_addr" => Kind::Address,
        "inet_service" => Kind::Port,
        "mark" => Kind::Mark,
        "counter" => Kind::Counter,
        other => Kind::Foreign(echo(other)),
    };
    let words = value.map(words).unwrap_or_default();
    words.iter().flat_map(|word| word.split(" . ").map(kind)).collect()
}

/// One word, or a list of them; which of the two, versions of nftables differ about.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(word) => vec![word.clone()],
        Value::Array(list) => {
            list.iter().map(|word| word.as_str().map_or_else(|| echo(&word.to_string()), echo)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![echo(&value.to_string())],
    }
}

fn name(object: &Map<String, Value>, key: &'static str) -> Result<String, TableError> {
    object.get(key).and_then(Value::as_str).map(echo).ok_or(TableError::Missing(key))
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), TableError> {
    if count > max { Err(TableError::TooMany { what, count, max }) } else { Ok(()) }
}

/// The beginning of a foreign text.
fn echo(text: &str) -> String {
    text.chars().take(ECHO_MAX).collect()
}

/// The tables of a namespace, as `nft list tables` writes them: one `table FAMILY NAME` per line.
#[must_use]
pub(crate) fn tables(listing: &str) -> BTreeSet<String> {
    let lines = listing.lines().take(OBJECTS_MAX);
    lines.filter_map(|line| line.trim().strip_prefix("table ")).map(echo).collect()
}
