//! Everything that nftables has in a namespace, as one document of libnftables-json(5).
//!
//! The library would give it in one go, were it not for its versions before 1.1.0 (Debian 12, Ubuntu 24.04): they
//! read freed memory when they write a table that has a flag, as every table with an owner does. So tables come
//! from the kernel, and from the library only what lies in them.

use super::library::{Nft, NftError};
use super::name::is_plain;
use serde_json::{Map, Value, json};
use std::io;

/// What can be listed for all tables together; never tables themselves. Their names are asked for one by one where
/// `true`, because only that shows all of them in every version.
const KINDS: [(&str, &str, bool); 7] = [
    ("chains", "chain", true),
    ("sets", "set", true),
    ("maps", "map", true),
    ("counters", "counter", false),
    ("quotas", "quota", false),
    ("limits", "limit", false),
    ("flowtables", "flowtable", false),
];

/// Most entries of a listing: far above what our tables have, and a bound to what another could add.
const ENTRIES_MAX: usize = 20_000;

impl Nft<'_> {
    /// Every table of the namespace with its chains, sets, maps, counters, quotas, limits and flowtables; with rules
    /// and elements for the tables of the family `inet` that are named.
    ///
    /// # Errors
    /// When the library was built without JSON, or there is too much.
    pub fn list(&mut self, whole: &[&str]) -> Result<String, NftError> {
        let mut entries = Vec::new();
        for table in self.kernel.tables()? {
            let mut about = Map::from_iter([
                ("family".to_owned(), json!(table.family)),
                ("name".to_owned(), json!(table.name)),
            ]);
            let flags = [table.dormant.then_some("dormant"), table.owner.map(|_| "owner")];
            match flags.into_iter().flatten().collect::<Vec<_>>().as_slice() {
                [] => None,
                [one] => about.insert("flags".to_owned(), json!(one)),
                several => about.insert("flags".to_owned(), json!(several)),
            };
            entries.push(json!({ "table": about }));
        }
        for (many, one, by_name) in KINDS {
            for entry in self.entries(&format!("list {many}"))? {
                match entry.get(one) {
                    Some(about) if by_name && is_within(about, whole) => {
                        entries.extend(self.by_name(one, about)?);
                    }
                    Some(_) => entries.push(entry),
                    // What the library says of itself, once per answer.
                    None => {}
                }
                if entries.len() > ENTRIES_MAX {
                    return Err(NftError::OutputTooLong);
                }
            }
        }
        Ok(json!({ "nftables": entries }).to_string())
    }

    /// One thing with all that is in it.
    fn by_name(&mut self, kind: &str, about: &Value) -> Result<Vec<Value>, NftError> {
        let text = |key| about.get(key).and_then(Value::as_str).unwrap_or_default();
        let (table, name) = (text("table"), text("name"));
        // Another root may have named it, in a table without an owner: it must not become a command.
        if !is_plain(name) {
            return Ok(vec![json!({ kind: about })]);
        }
        let found = self.entries(&format!("list {kind} inet {table} {name}"))?;
        Ok(found.into_iter().filter(|entry| entry.get("metainfo").is_none()).collect())
    }

    fn entries(&mut self, command: &str) -> Result<Vec<Value>, NftError> {
        let answer = self.ask(command)?;
        let mut document: Value = serde_json::from_str(&answer).map_err(io::Error::from)?;
        match document.get_mut("nftables").map(Value::take) {
            Some(Value::Array(entries)) => Ok(entries),
            _ => Err(NftError::Unreadable(io::ErrorKind::InvalidData.into())),
        }
    }
}

fn is_within(about: &Value, tables: &[&str]) -> bool {
    let is = |key, text: &str| about.get(key).and_then(Value::as_str) == Some(text);
    is("family", "inet") && tables.iter().any(|table| is("table", table))
}
