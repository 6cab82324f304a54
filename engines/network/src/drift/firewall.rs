//! Compares a table with the rules that it should hold.

use super::{Differences, DriftKind, Firewall};
use crate::addresses::Namespace;
use crate::ruleset::{Chain, FLOOR_TABLE, Hook, Rule, Ruleset, Set, TABLE};
use crate::table::{Table, tables};
use std::collections::{BTreeMap, BTreeSet};

/// Compares `seen` with `expected`.
pub(super) fn compare(expected: &Ruleset, seen: Option<&Firewall>, found: &mut Differences) {
    let Some(seen) = seen else {
        return found.missing(DriftKind::FirewallMissing, "firewall", TABLE);
    };
    let tables = tables(&seen.tables);
    // Other tables of the host are the host's own affair; the router's namespace is all ours.
    if found.namespace == Namespace::Router {
        for table in tables.iter().filter(|table| !matches!(table.as_str(), TABLE | FLOOR_TABLE)) {
            found.foreign(DriftKind::TableForeign, "firewall", table);
        }
    }
    if !expected.floor.is_empty() && !tables.contains(FLOOR_TABLE) {
        found.missing(DriftKind::TableMissing, "firewall", FLOOR_TABLE);
    }
    if !tables.contains(TABLE) {
        return found.missing(DriftKind::TableMissing, "firewall", TABLE);
    }
    if !seen.owned_by_keeper {
        found.changed(DriftKind::TableUnowned, TABLE, "the keeper's", "open to others");
    }
    match Table::read(&seen.listings) {
        Ok(table) => {
            rulesets(expected, &table.ruleset, found);
            if tables.contains(FLOOR_TABLE) {
                all_chains(FLOOR_TABLE, &expected.floor, &table.ruleset.floor, found);
            }
        }
        Err(error) => found.changed(DriftKind::FirewallUnreadable, TABLE, "a listing", error),
    }
}

fn rulesets(expected: &Ruleset, actual: &Ruleset, found: &mut Differences) {
    for foreign in &actual.foreign {
        found.foreign(DriftKind::ObjectForeign, TABLE, foreign);
    }
    names(DriftKind::Counter, TABLE, &expected.counters, &actual.counters, found);
    names(DriftKind::Set, TABLE, &keys(&expected.sets), &keys(&actual.sets), found);
    all_chains(TABLE, &expected.chains, &actual.chains, found);
    for (name, set) in &expected.sets {
        if let Some(actual) = actual.sets.get(name) {
            sets(name, set, actual, found);
        }
    }
}

/// Compares the chains of a table.
fn all_chains(
    table: &str,
    expected: &BTreeMap<String, Chain>,
    actual: &BTreeMap<String, Chain>,
    found: &mut Differences,
) {
    names(DriftKind::Chain, table, &keys(expected), &keys(actual), found);
    for (name, chain) in expected {
        let subject = if table == TABLE { name.clone() } else { format!("{table} {name}") };
        if let Some(actual) = actual.get(name) {
            chains(&subject, chain, actual, found);
        }
    }
}

fn keys<T>(named: &BTreeMap<String, T>) -> BTreeSet<String> {
    named.keys().cloned().collect()
}

/// Compares which of a kind there are.
fn names(
    kind: DriftKind,
    table: &str,
    expected: &BTreeSet<String>,
    actual: &BTreeSet<String>,
    found: &mut Differences,
) {
    for name in expected.difference(actual) {
        found.missing(kind, table, name);
    }
    for name in actual.difference(expected) {
        found.foreign(kind, table, name);
    }
}

fn chains(name: &str, expected: &Chain, actual: &Chain, found: &mut Differences) {
    if expected.hook != actual.hook {
        found.changed(DriftKind::Chain, name, written(&expected.hook), written(&actual.hook));
    }
    let before = found.all.len();
    for (rule, missing) in surplus(&expected.rules, &actual.rules) {
        (0..missing).for_each(|_| found.missing(DriftKind::RuleMissing, name, &rule));
    }
    for (rule, foreign) in surplus(&actual.rules, &expected.rules) {
        (0..foreign).for_each(|_| found.foreign(DriftKind::RuleForeign, name, &rule));
    }
    if found.all.len() == before && expected.rules != actual.rules {
        let order = |rules: &[Rule]| rules.iter().map(Rule::to_string).collect::<Vec<_>>().join("; ");
        found.changed(DriftKind::RuleOrder, name, order(&expected.rules), order(&actual.rules));
    }
}

/// The rules of which `these` have more than `those`, and how many more.
fn surplus(these: &[Rule], those: &[Rule]) -> Vec<(String, usize)> {
    let count = |rules: &[Rule]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for rule in rules {
            *counts.entry(rule.to_string()).or_default() += 1;
        }
        counts
    };
    let other = count(those);
    let more = count(these).into_iter().map(|(rule, count)| {
        let there = other.get(&rule).copied().unwrap_or_default();
        (rule, count.saturating_sub(there))
    });
    more.filter(|(_, more)| *more > 0).collect()
}

fn written(hook: &Option<Hook>) -> String {
    match hook {
        Some(Hook { kind, at, priority, policy }) => {
            format!("{kind} at {at}, priority {priority}, policy {policy}")
        }
        None => "entered from other chains only".to_owned(),
    }
}

fn sets(name: &str, expected: &Set, actual: &Set, found: &mut Differences) {
    let declared = |set: &Set| Set { elements: BTreeMap::new(), ..set.clone() };
    let declaration = |set: &Set| {
        let Set { key, value, intervals, caps, foreign, elements: _ } = set;
        format!("{key:?} : {value:?}, intervals {intervals}, caps {caps}, {foreign:?}")
    };
    if declared(expected) != declared(actual) {
        found.changed(DriftKind::Set, name, declaration(expected), declaration(actual));
    }
    for (key, datum) in &expected.elements {
        match actual.elements.get(key) {
            None => found.missing(DriftKind::ElementMissing, name, expected.element(key, datum)),
            Some(other) if other != datum => {
                let (should, is) = (expected.element(key, datum), actual.element(key, other));
                found.changed(DriftKind::ElementChanged, name, should, is);
            }
            Some(_) => (),
        }
    }
    for (key, datum) in actual.elements.iter().filter(|(key, _)| !expected.elements.contains_key(*key)) {
        found.foreign(DriftKind::ElementForeign, name, actual.element(key, datum));
    }
}
