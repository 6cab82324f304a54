//! Elements of sets and maps, read from JSON.

use super::echo;
use crate::ruleset::{Atom, Datum};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::net::Ipv4Addr;

/// Reads one element: a key, or a pair of key and value; either may stand in an envelope with more about it.
pub(super) fn element(json: &Value) -> (Vec<Atom>, Datum) {
    match json.as_array().map(Vec::as_slice) {
        Some([key, value]) => match enveloped(key) {
            (key, Datum::Present) => (key, Datum::Maps(atoms(value))),
            (key, more) => (key, more),
        },
        Some(_) => (vec![Atom::Foreign(echo(&json.to_string()))], Datum::Present),
        None => enveloped(json),
    }
}

/// A key, and what its envelope says about it.
fn enveloped(json: &Value) -> (Vec<Atom>, Datum) {
    let Some(envelope) = json.get("elem").and_then(Value::as_object) else {
        return (atoms(json), Datum::Present);
    };
    let key = envelope.get("val").map(atoms).unwrap_or_default();
    let mut rest = envelope.iter().filter(|(name, _)| !matches!(name.as_str(), "val" | "comment"));
    let datum = match (rest.next(), rest.next()) {
        (None, _) => Datum::Present,
        (Some((name, value)), None) => {
            cap(name, value).map_or_else(|| Datum::Foreign(echo(&format!("{name} {value}"))), Datum::Cap)
        }
        (Some(_), Some(_)) => Datum::Foreign(echo(&json.to_string())),
    };
    (key, datum)
}

/// `ct count over N`, by itself or as the one statement of a list.
fn cap(name: &str, value: &Value) -> Option<u32> {
    let count = match (name, value.as_array().map(Vec::as_slice)) {
        ("ct count", _) => value,
        ("stmt", Some([statement])) => statement.get("ct count")?,
        _ => return None,
    };
    let over = count.get("inv").and_then(Value::as_bool)?;
    let max = count.get("val").and_then(Value::as_u64).and_then(|max| u32::try_from(max).ok())?;
    over.then_some(max)
}

/// Whether a set's declared statements are the one count that ours declare, `ct count over 1`.
pub(super) fn counts_connections(statements: &Value) -> bool {
    cap("stmt", statements) == Some(1)
}

/// Values side by side.
pub(super) fn atoms(json: &Value) -> Vec<Atom> {
    match json.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(atom).collect(),
        None => vec![atom(json)],
    }
}

/// One value.
pub(super) fn atom(json: &Value) -> Atom {
    let foreign = || Atom::Foreign(echo(&json.to_string()));
    match json {
        Value::Number(number) => {
            number.as_u64().and_then(|n| u32::try_from(n).ok()).map_or_else(foreign, Atom::Number)
        }
        Value::String(text) => match text.parse::<Ipv4Addr>() {
            Ok(address) => Atom::address(address),
            Err(_) => Atom::Word(echo(text)),
        },
        Value::Object(object) => match (object.get("prefix"), object.get("range")) {
            (Some(prefix), None) => block(prefix).map_or_else(foreign, Atom::Address),
            (None, Some(range)) => range_as_block(range).map_or_else(foreign, Atom::Address),
            (Some(_), Some(_)) | (None, None) => foreign(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) => foreign(),
    }
}

fn block(prefix: &Value) -> Option<Ipv4Net> {
    let address = prefix.get("addr").and_then(Value::as_str)?.parse().ok()?;
    let length = prefix.get("len").and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok())?;
    Ipv4Net::new(address, length).ok()
}

/// Some versions write a block as the range of its addresses.
fn range_as_block(range: &Value) -> Option<Ipv4Net> {
    let [first, last] = range.as_array()?.as_slice() else { return None };
    let address = |value: &Value| value.as_str()?.parse::<Ipv4Addr>().ok();
    let (first, last) = (address(first)?, address(last)?);
    let differing = (first.to_bits() ^ last.to_bits()).leading_zeros();
    let net = Ipv4Net::new(first, u8::try_from(differing).ok()?).ok()?;
    (net.network() == first && net.broadcast() == last).then_some(net)
}
