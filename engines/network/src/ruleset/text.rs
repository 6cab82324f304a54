//! A table as text for nftables: whole, or as the change from another.

use super::{Atom, Chain, Datum, FLOOR_TABLE, Kind, Ruleset, Set, TABLE, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a table becomes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is that table.
    Nothing,
    /// By this change of elements, in one transaction. What stays keeps its counts.
    Elements(String),
    /// Only by being replaced ([`Ruleset::to_nft`]): its rules or its declarations differ.
    Whole,
}

// Writing to a String cannot fail, so the results of `write!` are let go.

impl Ruleset {
    /// The table as one transaction that puts it in place of whatever has its name. Counters begin at zero. The
    /// table belongs to the process that loads it, and ends with it; the floor, which comes in the same transaction,
    /// ends with its namespace.
    #[must_use]
    pub fn to_nft(&self) -> String {
        let mut text = format!("add table {TABLE} {{ flags owner; }}\ndelete table {TABLE}\n");
        let _ = writeln!(text, "table {TABLE} {{\n\tflags owner;");
        for counter in &self.counters {
            let _ = writeln!(text, "\tcounter {counter} {{ }}");
        }
        for (name, set) in &self.sets {
            set.declare(name, &mut text);
        }
        for (name, chain) in &self.chains {
            chain.declare(name, &mut text);
        }
        text.push_str("}\n");
        text.push_str(&self.floor_to_nft());
        text
    }

    /// The floor alone, as one transaction that puts it in place of whatever has its name. The table above it, and
    /// its counts, stay as they are.
    #[must_use]
    pub fn floor_to_nft(&self) -> String {
        if self.floor.is_empty() {
            return String::new();
        }
        let mut text =
            format!("add table {FLOOR_TABLE}\ndelete table {FLOOR_TABLE}\ntable {FLOOR_TABLE} {{\n");
        for (name, chain) in &self.floor {
            chain.declare(name, &mut text);
        }
        text.push_str("}\n");
        text
    }

    /// How a table that is `before` becomes this one.
    #[must_use]
    pub fn change_from(&self, before: &Self) -> Change {
        let declared = |set: &Set| Set { elements: BTreeMap::new(), ..set.clone() };
        let declarations = |sets: &BTreeMap<String, Set>| -> BTreeMap<String, Set> {
            sets.iter().map(|(name, set)| (name.clone(), declared(set))).collect()
        };
        let same_rules =
            self.chains == before.chains && self.floor == before.floor && self.foreign == before.foreign;
        if !same_rules || declarations(&self.sets) != declarations(&before.sets) {
            return Change::Whole;
        }
        let mut text = String::new();
        // Elements go before the counters that they name, and come after them.
        for (name, set) in &before.sets {
            let after = self.sets.get(name).map(|set| &set.elements);
            let gone =
                set.elements.iter().filter(|(key, datum)| after.and_then(|a| a.get(*key)) != Some(*datum));
            let keys: Vec<String> = gone.map(|(key, _)| set.written(key)).collect();
            element_line("delete", name, &keys, &mut text);
        }
        for counter in before.counters.difference(&self.counters) {
            let _ = writeln!(text, "delete counter {TABLE} {counter}");
        }
        for counter in self.counters.difference(&before.counters) {
            let _ = writeln!(text, "add counter {TABLE} {counter}");
        }
        for (name, set) in &self.sets {
            let earlier = before.sets.get(name).map(|set| &set.elements);
            let new =
                set.elements.iter().filter(|(key, datum)| earlier.and_then(|e| e.get(*key)) != Some(*datum));
            let written: Vec<String> = new.map(|(key, datum)| set.element(key, datum)).collect();
            element_line("add", name, &written, &mut text);
        }
        if text.is_empty() { Change::Nothing } else { Change::Elements(text) }
    }
}

fn element_line(verb: &str, set: &str, elements: &[String], text: &mut String) {
    if !elements.is_empty() {
        let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", elements.join(", "));
    }
}

// === impl Set ===

impl Set {
    fn declare(&self, name: &str, text: &mut String) {
        let word = if self.value.is_empty() { "set" } else { "map" };
        let _ = write!(text, "\t{word} {name} {{\n\t\ttype {}", kinds(&self.key));
        if !self.value.is_empty() {
            let _ = write!(text, " : {}", kinds(&self.value));
        }
        text.push('\n');
        if self.intervals {
            text.push_str("\t\tflags interval\n");
        }
        if self.caps {
            // Not `flags dynamic`: there, the kernel clears away elements that count nothing, and with an idle
            // tenant's element goes its cap. The count declared here is only the one of new elements.
            text.push_str("\t\tct count over 1\n");
        }
        if !self.elements.is_empty() {
            let elements: Vec<String> =
                self.elements.iter().map(|(key, datum)| self.element(key, datum)).collect();
            let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t"));
        }
        text.push_str("\t}\n");
    }

    pub(crate) fn element(&self, key: &[Atom], datum: &Datum) -> String {
        let key = self.written(key);
        match datum {
            Datum::Present => key,
            Datum::Maps(value) => format!("{key} : {}", atoms(&self.value, value)),
            Datum::Cap(max) => format!("{key} ct count over {max}"),
            Datum::Foreign(what) => format!("{key} {what}"),
        }
    }

    pub(crate) fn written(&self, key: &[Atom]) -> String {
        atoms(&self.key, key)
    }
}

/// Values side by side, each as its type is written: names stand in quotes.
fn atoms(kinds: &[Kind], atoms: &[Atom]) -> String {
    let written = atoms.iter().enumerate().map(|(place, atom)| match kinds.get(place) {
        Some(Kind::Link | Kind::Counter) => format!("\"{atom}\""),
        Some(Kind::Address | Kind::Port | Kind::Mark | Kind::Foreign(_)) | None => atom.to_string(),
    });
    written.collect::<Vec<_>>().join(" . ")
}

fn kinds(kinds: &[Kind]) -> String {
    let names = kinds.iter().map(|kind| match kind {
        Kind::Link => "ifname",
        Kind::Address => "ipv4_addr",
        Kind::Port => "inet_service",
        Kind::Mark => "mark",
        Kind::Counter => "counter",
        Kind::Foreign(name) => name,
    });
    names.collect::<Vec<_>>().join(" . ")
}

// === impl Chain ===

impl Chain {
    fn declare(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "\tchain {name} {{");
        if let Some(hook) = &self.hook {
            let policy = if hook.policy == Verdict::Drop { "drop" } else { "accept" };
            let (kind, at, priority) = (&hook.kind, &hook.at, hook.priority);
            let _ = writeln!(text, "\t\ttype {kind} hook {at} priority {priority}; policy {policy};");
        }
        for rule in &self.rules {
            let _ = writeln!(text, "\t\t{rule}");
        }
        text.push_str("\t}\n");
    }
}
