//! Reads a map key by key; what nobody asked for is refused by name.

use crate::fault::{Faults, Place};
use crate::node::{Entry, Kind};

/// The keys of a map that are still unread.
pub(crate) struct Fields<'n> {
    place: Place<'n>,
    left: Vec<&'n Entry>,
}

impl<'n> Fields<'n> {
    /// Opens the map at `place`; anything else is a fault.
    pub(crate) fn open(place: &Place<'n>, what: &str, faults: &mut Faults) -> Option<Self> {
        let Kind::Map(entries) = &place.node.kind else {
            let found = place.node.type_name();
            faults.add("type", place, format!("{what} is a map, not {found}"));
            return None;
        };
        Some(Self { place: place.clone(), left: entries.iter().collect() })
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|entry| entry.key == key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Place<'n>> {
        let at = self.left.iter().position(|entry| entry.key == key)?;
        let entry = self.left.remove(at);
        Some(self.place.child(&entry.key, &entry.value))
    }

    pub(crate) fn require(&mut self, key: &str, what: &str, faults: &mut Faults) -> Option<Place<'n>> {
        let found = self.take(key);
        if found.is_none() {
            faults.add("missing", &self.place, format!("{what} needs `{key}`"));
        }
        found
    }

    /// Refuses what is left: keys of the language that this platform does not run, and keys of no language.
    pub(crate) fn finish(self, what: &str, unsupported: &[&str], faults: &mut Faults) {
        for entry in self.left {
            let pointer = self.place.child(&entry.key, &entry.value).pointer;
            let shown: String = entry.key.chars().take(60).collect();
            let (code, message) = if unsupported.contains(&entry.key.as_str()) {
                ("unsupported", format!("`{shown}` is not supported here; remove it"))
            } else {
                ("unknown-key", format!("`{shown}` is not a key of {what}"))
            };
            faults.add_at(code, &pointer, entry.line, entry.column, message);
        }
    }
}

/// The items of a list; anything else is a fault.
pub(crate) fn items<'n>(place: &Place<'n>, what: &str, faults: &mut Faults) -> Option<Vec<Place<'n>>> {
    let Kind::List(items) = &place.node.kind else {
        let found = place.node.type_name();
        faults.add("type", place, format!("{what} is a list, not {found}"));
        return None;
    };
    Some(items.iter().enumerate().map(|(i, item)| place.child(&i.to_string(), item)).collect())
}

/// The entries of a map; anything else is a fault.
pub(crate) fn entries<'n>(
    place: &Place<'n>,
    what: &str,
    faults: &mut Faults,
) -> Option<Vec<(&'n str, Place<'n>)>> {
    let Kind::Map(entries) = &place.node.kind else {
        let found = place.node.type_name();
        faults.add("type", place, format!("{what} is a map, not {found}"));
        return None;
    };
    Some(entries.iter().map(|entry| (entry.key.as_str(), place.child(&entry.key, &entry.value))).collect())
}

/// A list of maps with one entry each: how the language writes ordered names.
pub(crate) fn named_items<'n>(
    place: &Place<'n>,
    what: &str,
    faults: &mut Faults,
) -> Option<Vec<(&'n str, Place<'n>)>> {
    let mut named: Vec<(&'n str, Place<'n>)> = Vec::new();
    let items = items(place, what, faults)?;
    if items.is_empty() {
        faults.add("missing", place, format!("{what} is empty"));
    }
    for item in items {
        match entries(&item, "each item", faults)?.as_slice() {
            [(name, place)] if named.iter().any(|(known, _)| known == name) => {
                faults.add("duplicate-name", place, format!("the name `{name}` is there twice"));
            }
            [(name, place)] => named.push((name, place.clone())),
            _ => faults.add("type", &item, "each item is a map with one entry: its name"),
        }
    }
    Some(named)
}

/// A text; anything else is a fault.
pub(crate) fn text<'n>(place: &Place<'n>, what: &str, faults: &mut Faults) -> Option<&'n str> {
    let found = place.node.as_text();
    if found.is_none() {
        let hint = match place.node.kind {
            Kind::Bool(_) | Kind::Number(_) | Kind::Null => "; quote it",
            Kind::Text(_) | Kind::List(_) | Kind::Map(_) => "",
        };
        faults.add("type", place, format!("{what} is a text, not {}{hint}", place.node.type_name()));
    }
    found
}

/// A whole number of zero or more; anything else is a fault.
pub(crate) fn count(place: &Place<'_>, what: &str, faults: &mut Faults) -> Option<u64> {
    let found = match &place.node.kind {
        Kind::Number(n) => n.as_u64(),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
    };
    if found.is_none() {
        faults.add("type", place, format!("{what} is a whole number"));
    }
    found
}
