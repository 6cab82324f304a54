//! Statements of rules, read from JSON. Where nftables writes one thing in two ways, by its version or by whether it
//! was asked for numbers, both are read.

use super::element::atom;
use super::{echo, words};
use crate::ruleset::{Atom, Comparison, Field, Operand, Statement, Verdict};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers that stand for words (`linux/netfilter/nf_conntrack_common.h`, `linux/in.h`, `linux/socket.h`, RFC 792).
const WORDS: [(Field, u64, &str); 12] = [
    (Field::State, 1, "invalid"),
    (Field::State, 2, "established"),
    (Field::State, 4, "related"),
    (Field::State, 8, "new"),
    (Field::State, 64, "untracked"),
    (Field::Protocol, 1, "icmp"),
    (Field::Protocol, 6, "tcp"),
    (Field::Protocol, 17, "udp"),
    (Field::Family, 2, "ipv4"),
    (Field::Family, 10, "ipv6"),
    (Field::IcmpType, 3, "destination-unreachable"),
    (Field::IcmpType, 8, "echo-request"),
];

/// The flags of TCP that are asked for, each with its bit (RFC 9293).
const FLAGS: [(u64, &str); 6] = [(1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack"), (32, "urg")];

/// Reads the statements of a rule.
pub(super) fn all(statements: &[Value]) -> Vec<Statement> {
    statements.iter().map(statement).collect()
}

fn statement(json: &Value) -> Statement {
    let foreign = || Statement::Foreign(echo(&json.to_string()));
    let Some(object) = json.as_object().filter(|object| object.len() == 1) else { return foreign() };
    let Some((name, body)) = object.iter().next() else { return foreign() };
    let read = match name.as_str() {
        "match" => matching(body),
        "vmap" => dispatch(body),
        "mangle" => mark(body),
        "counter" => count(body),
        "dnat" => translate(body),
        "masquerade" => body.is_null().then_some(Statement::Masquerade),
        "accept" | "drop" | "goto" => verdict(json).map(Statement::Decide),
        _ => None,
    };
    read.unwrap_or_else(foreign)
}

fn matching(body: &Value) -> Option<Statement> {
    let op = body.get("op").and_then(Value::as_str)?;
    let (left, right) = (body.get("left")?, body.get("right")?);
    special(op, left, right).or_else(|| {
        let comparison = match op {
            "==" => Comparison::Is,
            "!=" => Comparison::IsNot,
            _ => return None,
        };
        let fields = fields(left)?;
        let with = match right.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(set) => Operand::Set(echo(set)),
            None => Operand::Value(comparable(&fields, right)),
        };
        Some(Statement::Match { fields, comparison, with })
    })
}

/// Conditions on more than a field.
fn special(op: &str, left: &Value, right: &Value) -> Option<Statement> {
    if let Some(lookup) = left.get("fib") {
        let result = lookup.get("result").and_then(Value::as_str)?;
        let flags: BTreeSet<String> = lookup.get("flags").map(words)?.into_iter().collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let missing = *right == Value::Bool(false) || right.as_str() == Some("missing");
        return match (result, flags.as_slice(), op) {
            ("oif", ["iif", "saddr"], "==") if missing => Some(Statement::NoWayBack),
            ("type", ["daddr"], "==") if is(right, "local", 2) => Some(Statement::ForThisHost),
            _ => None,
        };
    }
    if let Some(masked) = left.get("&").and_then(Value::as_array) {
        let [field, mask] = masked.as_slice() else { return None };
        let mask = mask.get("|").unwrap_or(mask).as_array()?;
        let tested = |(bit, flag): &(u64, &str)| mask.iter().any(|part| is(part, flag, *bit));
        let bare = mask.len() == FLAGS.len() && FLAGS.iter().all(tested) && is_flags(field);
        return (bare && op == "!=" && is(right, "syn", 2)).then_some(Statement::NotBareSyn);
    }
    let status = left.get("ct").and_then(|ct| ct.get("key")).and_then(Value::as_str) == Some("status");
    let translated = status && matches!(op, "in" | "==") && is(right, "dnat", 32);
    translated.then_some(Statement::Translated)
}

/// Whether a value is that word, or the number that stands for it.
fn is(json: &Value, word: &str, number: u64) -> bool {
    json.as_str() == Some(word) || json.as_u64() == Some(number)
}

fn is_flags(field: &Value) -> bool {
    let part = |key| field.get("payload").and_then(|p| p.get(key)).and_then(Value::as_str);
    part("protocol") == Some("tcp") && part("field") == Some("flags")
}

/// A value as its field is compared: nftables writes some codes by name.
fn comparable(fields: &[Field], json: &Value) -> Atom {
    match (fields, json.as_str()) {
        ([Field::IcmpCode], Some("frag-needed")) => Atom::Number(4),
        ([field], None) => word(*field, json).map_or_else(|| atom(json), Atom::Word),
        _ => atom(json),
    }
}

/// A word of a field, or what stands for one.
fn word(field: Field, json: &Value) -> Option<String> {
    let number = json.as_u64();
    let known = WORDS.iter().find(|(of, value, _)| *of == field && Some(*value) == number);
    json.as_str().map(echo).or_else(|| known.map(|(_, _, word)| (*word).to_owned()))
}

fn dispatch(body: &Value) -> Option<Statement> {
    let [field] = *fields(body.get("key")?)?.as_slice() else { return None };
    let arms = body.get("data").and_then(|data| data.get("set")).and_then(Value::as_array)?;
    let arm = |pair: &Value| match pair.as_array()?.as_slice() {
        [value, to] => Some((word(field, value)?, verdict(to)?)),
        _ => None,
    };
    let verdicts = arms.iter().map(arm).collect::<Option<BTreeMap<_, _>>>()?;
    Some(Statement::Dispatch { field, verdicts })
}

fn mark(body: &Value) -> Option<Statement> {
    let [field] = *fields(body.get("key")?)?.as_slice() else { return None };
    let value = body.get("value")?;
    let number = || value.as_u64().and_then(|mark| u32::try_from(mark).ok());
    match (field, value.get("map")) {
        (Field::Mark, Some(map)) => one_lookup(map).map(|(field, map)| Statement::SetMarkFrom { field, map }),
        (Field::Mark, None) => number().map(Statement::SetMark),
        (Field::PacketMark, None) => number().map(Statement::MarkPacket),
        _ => None,
    }
}

fn count(body: &Value) -> Option<Statement> {
    match body.get("map") {
        Some(lookup) => one_lookup(lookup).map(|(field, map)| Statement::CountFrom { field, map }),
        None => body.as_str().map(|counter| Statement::Count(echo(counter))),
    }
}

fn translate(body: &Value) -> Option<Statement> {
    let only_these = body.as_object()?.keys().all(|key| matches!(key.as_str(), "family" | "addr"));
    let ipv4 = body.get("family").and_then(Value::as_str) == Some("ip");
    let (fields, map) = lookup(body.get("addr")?.get("map")?)?;
    (only_these && ipv4).then_some(Statement::Translate { fields, map })
}

fn one_lookup(json: &Value) -> Option<(Field, String)> {
    let (fields, map) = lookup(json)?;
    let [field] = *fields.as_slice() else { return None };
    Some((field, map))
}

/// Fields that are looked up in a map that has a name.
fn lookup(json: &Value) -> Option<(Vec<Field>, String)> {
    let map = json.get("data").and_then(Value::as_str)?.strip_prefix('@')?;
    Some((fields(json.get("key")?)?, echo(map)))
}

fn verdict(json: &Value) -> Option<Verdict> {
    let (name, body) = json.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    match name.as_str() {
        "accept" => Some(Verdict::Accept),
        "drop" => Some(Verdict::Drop),
        "goto" => body.get("target").and_then(Value::as_str).map(|chain| Verdict::Goto(echo(chain))),
        _ => None,
    }
}

/// One field, or several side by side.
fn fields(json: &Value) -> Option<Vec<Field>> {
    match json.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(field).collect(),
        None => field(json).map(|field| vec![field]),
    }
}

fn field(json: &Value) -> Option<Field> {
    let (kind, body) = json.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    let part = |key| body.get(key).and_then(Value::as_str);
    let exactly = |count| body.as_object().is_some_and(|object| object.len() == count);
    match (kind.as_str(), part("protocol"), part("field"), part("key")) {
        ("meta", None, None, Some(key)) if exactly(1) => match key {
            "iifname" => Some(Field::InLink),
            "oifname" => Some(Field::OutLink),
            "nfproto" => Some(Field::Family),
            "l4proto" => Some(Field::Protocol),
            "mark" => Some(Field::PacketMark),
            _ => None,
        },
        ("ct", None, None, Some(key)) if exactly(1) => match key {
            "state" => Some(Field::State),
            "mark" => Some(Field::Mark),
            _ => None,
        },
        ("payload", Some(protocol), Some(field), None) if exactly(2) => match (protocol, field) {
            ("ip", "saddr") => Some(Field::Source),
            ("ip", "daddr") => Some(Field::Destination),
            ("tcp", "dport") => Some(Field::Port),
            ("icmp", "type") => Some(Field::IcmpType),
            ("icmp", "code") => Some(Field::IcmpCode),
            _ => None,
        },
        _ => None,
    }
}
