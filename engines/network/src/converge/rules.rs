//! The tables: what has to be loaded so that they are as they should be.

use super::{Draft, Step};
use crate::addresses::Namespace;
use crate::drift::Firewall;
use crate::ruleset::{self, Change, FLOOR_TABLE, Ruleset, TABLE};
use crate::table::{Table, is_of_floor, tables};
use std::collections::BTreeSet;

impl Draft<'_> {
    /// Both namespaces' tables, before anything else.
    pub(super) fn rules(&mut self) {
        let host = ruleset::write_host(self.desired);
        let router = ruleset::write(self.desired);
        for (at, expected) in [(Namespace::Router, router), (Namespace::Host, host)] {
            let seen = self.found.actual.namespaces.get(&at).and_then(|seen| seen.firewall.as_ref());
            let loads = loads(&expected, seen).into_iter();
            self.plan.steps.extend(loads.map(|(text, recounts)| Step::Load { at, text, recounts }));
            if let Some(seen) = seen.filter(|_| at == Namespace::Router) {
                let foreign = tables(&seen.tables).into_iter();
                let foreign = foreign.filter(|table| !matches!(table.as_str(), TABLE | FLOOR_TABLE));
                self.plan.steps.extend(foreign.map(|table| Step::Untable { table }));
            }
        }
    }
}

/// What is to be loaded: nothing, a change of elements that keeps every count, the floor alone, or all of it, with
/// which every count begins anew.
fn loads(expected: &Ruleset, seen: Option<&Firewall>) -> Vec<(String, bool)> {
    let whole = || vec![(expected.to_nft(), true)];
    let Some(seen) = seen else { return whole() };
    let there = tables(&seen.tables);
    let read = Table::read(&seen.listings).ok();
    let Some(actual) = read.filter(|_| there.contains(TABLE) && seen.owned_by_keeper) else { return whole() };
    let (odd, foreign) = actual.ruleset.foreign.into_iter().partition(|what| is_of_floor(what));
    let is_floor_sound =
        there.contains(FLOOR_TABLE) && actual.ruleset.floor == expected.floor && BTreeSet::is_empty(&odd);
    let floor = (!is_floor_sound).then(|| (expected.floor_to_nft(), false));
    let before = Ruleset { floor: expected.floor.clone(), foreign, ..actual.ruleset };
    match expected.change_from(&before) {
        Change::Whole => whole(),
        Change::Nothing => floor.into_iter().collect(),
        Change::Elements(text) => floor.into_iter().chain([(text, false)]).collect(),
    }
}
