//! What is left of tenant networks: a number is free of its last tenant only when nothing of it is.

use super::Found;
use crate::addresses::{Addresses, Namespace};
use crate::number::NetworkNumber;
use crate::ruleset::{Atom, Datum, Kind, Ruleset, Set, counter_received, counter_sent};
use crate::table::Table;
use std::collections::BTreeSet;

/// The numbers of which a namespace, a link, a counter or an element was found. All of them if the router's rules
/// cannot be read: nothing is proven then.
#[must_use]
pub fn remains(found: &Found) -> BTreeSet<NetworkNumber> {
    let router = found.actual.namespaces.get(&Namespace::Router);
    let firewall = router.and_then(|seen| seen.firewall.as_ref());
    let Some(Ok(table)) = firewall.map(|firewall| Table::read(&firewall.listings)) else {
        return NetworkNumber::all().collect();
    };
    let is_left = |number: &NetworkNumber| {
        let place = Namespace::Tenant(*number);
        let link = (Namespace::Router, number.link());
        found.names.contains_key(&place) || found.ends.contains_key(&link) || has(&table.ruleset, *number)
    };
    NetworkNumber::all().filter(is_left).collect()
}

/// Whether the table counts for the network, or an element of it names its link, its mark or an address in it.
fn has(ruleset: &Ruleset, number: NetworkNumber) -> bool {
    let counters = [counter_sent(number), counter_received(number)];
    let names = |(kind, atom): (&Kind, &Atom)| match (kind, atom) {
        (Kind::Link, Atom::Word(link)) => *link == number.link(),
        (Kind::Mark, Atom::Number(mark)) => *mark == number.mark(),
        _ => false,
    };
    // Addresses in keys may be others' that lie in the same block: a database that the control plane reaches.
    let leads = |(kind, atom): (&Kind, &Atom)| match (kind, atom) {
        (Kind::Address, Atom::Address(to)) => Addresses::of(number).network.contains(to),
        pair => names(pair),
    };
    let is_named = |set: &Set| {
        set.elements.iter().any(|(key, datum)| {
            let value = if let Datum::Maps(value) = datum { value.as_slice() } else { &[] };
            set.key.iter().zip(key).any(names) || set.value.iter().zip(value).any(leads)
        })
    };
    counters.iter().any(|counter| ruleset.counters.contains(counter)) || ruleset.sets.values().any(is_named)
}
