//! Ways to make a table weaker or wrong, one at a time: the proofs show that each is seen.

use super::{Atom, Chain, Datum, Rule, Ruleset, Set, Statement, Verdict};
use std::collections::BTreeMap;

/// The chains of one of the two tables.
type Chains = fn(&mut Ruleset) -> &mut BTreeMap<String, Chain>;

/// A table with one thing wrong.
#[derive(Debug, Clone)]
pub struct Weakened {
    /// What is wrong.
    pub what: String,
    /// The table.
    pub ruleset: Ruleset,
}

impl Ruleset {
    /// Every table that is this one but for one rule, condition, element or policy that is gone or turned round.
    #[must_use]
    pub fn weakened(&self) -> Vec<Weakened> {
        let mut all = self.with_weaker_chains("", &self.chains, |table| &mut table.chains);
        all.extend(self.with_weaker_chains("floor ", &self.floor, |table| &mut table.floor));
        for (name, set) in &self.sets {
            all.extend(self.without_each_element(name, set));
        }
        all
    }

    fn with_weaker_chains(
        &self,
        table: &str,
        chains: &BTreeMap<String, Chain>,
        part: Chains,
    ) -> Vec<Weakened> {
        let mut all = Vec::new();
        for (name, chain) in chains {
            if let Some(hook) = &chain.hook {
                let flipped = if hook.policy == Verdict::Drop { Verdict::Accept } else { Verdict::Drop };
                all.push(self.with(format!("{table}{name}: policy {flipped}"), |table| {
                    let hook = part(table).get_mut(name).and_then(|chain| chain.hook.as_mut());
                    if let Some(hook) = hook {
                        hook.policy = flipped.clone();
                    }
                }));
            }
            for (place, rule) in chain.rules.iter().enumerate() {
                all.push(self.with(format!("{table}{name}: without `{rule}`"), |table| {
                    if let Some(chain) = part(table).get_mut(name) {
                        chain.rules.remove(place);
                    }
                }));
                for changed in weaker(rule) {
                    all.push(self.with(format!("{table}{name}: `{changed}` for `{rule}`"), |table| {
                        let chain = part(table).get_mut(name);
                        if let Some(slot) = chain.and_then(|chain| chain.rules.get_mut(place)) {
                            *slot = changed.clone();
                        }
                    }));
                }
            }
        }
        all
    }

    fn without_each_element(&self, name: &str, set: &Set) -> Vec<Weakened> {
        let mut all = Vec::new();
        for (key, datum) in &set.elements {
            all.push(self.with(format!("{name}: without `{}`", set.element(key, datum)), |table| {
                if let Some(set) = table.sets.get_mut(name) {
                    set.elements.remove(key);
                }
            }));
            if let Some(other) = raised(datum) {
                all.push(self.with(format!("{name}: `{}`", set.element(key, &other)), |table| {
                    if let Some(set) = table.sets.get_mut(name) {
                        set.elements.insert(key.clone(), other.clone());
                    }
                }));
            }
        }
        all
    }

    fn with(&self, what: String, change: impl FnOnce(&mut Self)) -> Weakened {
        let mut ruleset = self.clone();
        change(&mut ruleset);
        Weakened { what, ruleset }
    }
}

/// The rule without each of its conditions, ways and counts, and with the opposite verdict.
fn weaker(rule: &Rule) -> Vec<Rule> {
    let Rule(statements) = rule;
    let mut all = Vec::new();
    for (place, statement) in statements.iter().enumerate() {
        match statement {
            Statement::Decide(Verdict::Drop) => {
                let mut open = statements.clone();
                open.truncate(place);
                open.push(Statement::Decide(Verdict::Accept));
                all.push(Rule(open));
            }
            Statement::Decide(Verdict::Accept | Verdict::Goto(_)) => (),
            Statement::Dispatch { field, verdicts } => {
                for (value, verdict) in verdicts {
                    let mut others = verdicts.clone();
                    others.remove(value);
                    // A dispatch to nowhere is no rule.
                    if !others.is_empty() {
                        all.push(Rule(vec![Statement::Dispatch { field: *field, verdicts: others.clone() }]));
                    }
                    if *verdict != Verdict::Accept {
                        others.insert(value.clone(), Verdict::Accept);
                        all.push(Rule(vec![Statement::Dispatch { field: *field, verdicts: others }]));
                    }
                }
            }
            Statement::Match { .. }
            | Statement::NoWayBack
            | Statement::ForThisHost
            | Statement::Translated
            | Statement::NotBareSyn
            | Statement::SetMark(_)
            | Statement::SetMarkFrom { .. }
            | Statement::MarkPacket(_)
            | Statement::Count(_)
            | Statement::CountFrom { .. }
            | Statement::Translate { .. }
            | Statement::Masquerade
            | Statement::Foreign(_) => {
                if statements.len() > 1 {
                    let mut fewer = statements.clone();
                    fewer.remove(place);
                    all.push(Rule(fewer));
                }
            }
        }
    }
    all
}

/// The same element with more behind it: a higher cap, or another's mark.
fn raised(datum: &Datum) -> Option<Datum> {
    match datum {
        Datum::Cap(max) => Some(Datum::Cap(max.saturating_mul(2))),
        Datum::Maps(value) => {
            let other = |atom: &Atom| match atom {
                Atom::Number(number) => Atom::Number(number.wrapping_add(1)),
                Atom::Word(_) | Atom::Address(_) | Atom::Foreign(_) => atom.clone(),
            };
            let changed: Vec<Atom> = value.iter().map(other).collect();
            (changed != *value).then_some(Datum::Maps(changed))
        }
        Datum::Present | Datum::Foreign(_) => None,
    }
}
