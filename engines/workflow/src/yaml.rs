//! Reads YAML 1.2 (core schema) and JSON into a tree, refusing what is ambiguous or can grow.
//!
//! `on`, `yes` and `off` are text, as YAML 1.2 says. Anchors, aliases, tags, merge keys, several documents and
//! duplicate keys are refused: each has been a way to make a document mean two things, or a gigabyte.

use crate::fault::{Fault, Faults};
use crate::json;
use crate::node::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::Number;
use std::collections::HashSet;

/// The largest document, in bytes: a plan carries it to the data plane.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Reads `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Node, Vec<Fault>> {
    let refuse = |code, line, column, message: String| {
        let mut faults = Faults::default();
        faults.add_at(code, "", line, column, message);
        faults.into_vec()
    };
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let message =
            format!("the document has {} bytes; at most {DOCUMENT_BYTES_MAX} are read", bytes.len());
        return Err(refuse("too-large", 1, 1, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count().saturating_add(1);
        refuse("yaml-encoding", line, 1, "the document is not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The JSON reader passes over what it can't read, and over duplicate keys, so that both get a place here.
    if let Some(node) = json::read(text)
        && !has_duplicates(&node)
    {
        return Ok(node);
    }
    Loader::default().load(text).map_err(|refusal| {
        let Refusal { code, at, message } = refusal;
        refuse(code, at.line(), at.col().saturating_add(1), message)
    })
}

fn has_duplicates(node: &Node) -> bool {
    match &node.kind {
        Kind::Map(entries) => {
            let mut keys = HashSet::new();
            entries.iter().any(|entry| !keys.insert(entry.key.as_str()) || has_duplicates(&entry.value))
        }
        Kind::List(items) => items.iter().any(has_duplicates),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => false,
    }
}

/// Why reading stopped: the first fault of form ends it.
struct Refusal {
    code: &'static str,
    at: Marker,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, at: Marker, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into() }
    }
}

/// A list or map that is being read.
enum Open {
    List { items: Vec<Node>, at: Marker },
    Map { entries: Vec<Entry>, keys: HashSet<String>, pending: Option<(String, Marker)>, at: Marker },
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Loader {
    fn load(mut self, text: &str) -> Result<Node, Refusal> {
        let mut last = Marker::new(0, 1, 0);
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                Refusal::new("yaml-syntax", *error.marker(), format!("not YAML: {}", error.info()))
            })?;
            last = span.start;
            self.event(event, span)?;
        }
        self.root.ok_or_else(|| Refusal::new("yaml-empty", last, "the document is empty"))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let at = span.start;
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    return Err(Refusal::new(
                        "yaml-documents",
                        at,
                        "a file holds one document; remove `---`",
                    ));
                }
                Ok(())
            }
            Event::Alias(_) => {
                Err(Refusal::new("yaml-anchor", at, "aliases are not read; write the value again"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                plain_node(at, anchor, tag.is_some())?;
                self.scalar(&text, style, at)
            }
            Event::SequenceStart(anchor, tag) => {
                plain_node(at, anchor, tag.is_some())?;
                self.begin(Open::List { items: Vec::new(), at }, at)
            }
            Event::MappingStart(anchor, tag) => {
                plain_node(at, anchor, tag.is_some())?;
                let keys = HashSet::new();
                self.begin(Open::Map { entries: Vec::new(), keys, pending: None, at }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
        }
    }

    fn begin(&mut self, open: Open, at: Marker) -> Result<(), Refusal> {
        if let Some(Open::Map { pending: None, .. }) = self.open.last() {
            return Err(Refusal::new("yaml-key", at, "a key is a text"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Refusal::new(
                "too-deep",
                at,
                format!("the document nests deeper than {DEPTH_MAX} levels"),
            ));
        }
        self.count(at)?;
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, at: Marker) -> Result<(), Refusal> {
        let (kind, start) = match self.open.pop() {
            Some(Open::List { items, at }) => (Kind::List(items), at),
            Some(Open::Map { entries, at, .. }) => (Kind::Map(entries), at),
            None => return Err(Refusal::new("yaml-syntax", at, "not YAML: nothing to end here")),
        };
        self.place(kind, start);
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Marker) -> Result<(), Refusal> {
        if let Some(Open::Map { keys, pending: pending @ None, .. }) = self.open.last_mut() {
            let key = key(text, style, at)?;
            if !keys.insert(key.clone()) {
                return Err(Refusal::new(
                    "yaml-duplicate-key",
                    at,
                    format!("the key `{}` is there twice", echo(&key)),
                ));
            }
            *pending = Some((key, at));
            return Ok(());
        }
        self.count(at)?;
        let kind = if style == ScalarStyle::Plain { plain(text, at)? } else { Kind::Text(text.to_owned()) };
        self.place(kind, at);
        Ok(())
    }

    fn count(&mut self, at: Marker) -> Result<(), Refusal> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            return Err(Refusal::new(
                "too-large",
                at,
                format!("the document has more than {NODES_MAX} values"),
            ));
        }
        Ok(())
    }

    fn place(&mut self, kind: Kind, at: Marker) {
        let node = Node { kind, line: at.line(), column: at.col().saturating_add(1) };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, pending, .. }) => {
                if let Some((key, at)) = pending.take() {
                    let (line, column) = (at.line(), at.col().saturating_add(1));
                    entries.push(Entry { key, line, column, value: node });
                }
            }
        }
    }
}

fn echo(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Refuses anchors and tags, which no part of the workflow language needs.
fn plain_node(at: Marker, anchor: usize, tagged: bool) -> Result<(), Refusal> {
    if anchor != 0 {
        return Err(Refusal::new(
            "yaml-anchor",
            at,
            "anchors are not read; write the value where it is used",
        ));
    }
    if tagged {
        return Err(Refusal::new("yaml-tag", at, "tags are not read; quote the value if it is a text"));
    }
    Ok(())
}

fn key(text: &str, style: ScalarStyle, at: Marker) -> Result<String, Refusal> {
    if style == ScalarStyle::Plain {
        if text == "<<" {
            return Err(Refusal::new("yaml-key", at, "merge keys are not YAML 1.2; write the entries out"));
        }
        if !matches!(plain(text, at), Ok(Kind::Text(_))) {
            return Err(Refusal::new(
                "yaml-key",
                at,
                format!("a key is a text; quote it: \"{}\"", echo(text)),
            ));
        }
    }
    Ok(text.to_owned())
}

/// What a plain scalar means (YAML 1.2.2, section 10.3.2).
fn plain(text: &str, at: Marker) -> Result<Kind, Refusal> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_special_float(text) => {
            return Err(Refusal::new(
                "yaml-number",
                at,
                "infinity and NaN are not JSON; quote them if they are text",
            ));
        }
        _ if is_number(text) => Kind::Number(number(text).ok_or_else(|| {
            Refusal::new("yaml-number", at, format!("the number `{}` is out of range; quote it", echo(text)))
        })?),
        _ => Kind::Text(text.to_owned()),
    })
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// `0o7`, `0xF`, or a decimal with optional fraction and exponent.
fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = !whole.is_empty() || !fraction.is_empty();
    some && digits(whole) && digits(fraction) && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.contains(['.', 'e', 'E']) {
        let signed = text.parse::<i64>().ok().map(Number::from);
        return signed.or_else(|| text.parse::<u64>().ok().map(Number::from));
    }
    Number::from_f64(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_of(text: &str) -> serde_json::Value {
        read(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e:?}")).to_json()
    }

    #[test]
    fn scalars_mean_what_yaml_1_2_says() {
        let cases = [
            ("on: yes", json!({"on": "yes"})),
            ("[no, off, y, n, Off, NO]", json!(["no", "off", "y", "n", "Off", "NO"])),
            ("[true, True, TRUE, false, null, ~, ]", json!([true, true, true, false, null, null])),
            ("[1, -1, +1, 007, 0o17, 0x1F]", json!([1, -1, 1, 7, 15, 31])),
            ("[1.5, .5, 5., 1e3, 1.5E-1]", json!([1.5, 0.5, 5.0, 1000.0, 0.15])),
            (
                "[1_000, 12:30, 1.2.3, 0b1, 2026-11-24, 1e, .]",
                json!(["1_000", "12:30", "1.2.3", "0b1", "2026-11-24", "1e", "."]),
            ),
            ("[18446744073709551615]", json!([u64::MAX])),
            ("['1', \"true\", 'null']", json!(["1", "true", "null"])),
            ("a: |\n  x\n  y\nb: >\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y\n"})),
            ("\u{feff}a: 1", json!({"a": 1})),
            ("a: 1\r\nb: 2\r\n", json!({"a": 1, "b": 2})),
            ("---\na: 1\n...\n", json!({"a": 1})),
            ("# note\na: 1 # note", json!({"a": 1})),
            ("{\"a\":1,\"b\":[true,null,\"\\u00e4\\/\"]}", json!({"a": 1, "b": [true, null, "ä/"]})),
            ("{\n\t\"a\":\t1\n}", json!({"a": 1})),
            ("{\"a\": \"\\ud83d\\ude00\", \"b\": -0.5e1}", json!({"a": "😀", "b": -5.0})),
        ];
        for (text, expected) in cases {
            assert_eq!(json_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn ambiguous_and_growing_documents_are_refused_with_their_place() {
        let deep = "[".repeat(60);
        let wide = format!("[{}]", "1,".repeat(NODES_MAX + 1));
        let long = format!("a: {}", "x".repeat(DOCUMENT_BYTES_MAX));
        let cases = [
            ("a: 1\na: 2", "yaml-duplicate-key", (2, 1)),
            ("{\"a\": 1, \"a\": 2}", "yaml-duplicate-key", (1, 10)),
            ("a: 1\n\"a\": 2", "yaml-duplicate-key", (2, 1)),
            ("a: &x 1\nb: *x", "yaml-anchor", (1, 4)),
            ("a: &x [1]", "yaml-anchor", (1, 4)),
            ("a: !!str 1", "yaml-tag", (1, 4)),
            ("a: !custom {b: 1}", "yaml-tag", (1, 4)),
            ("a: 1\n---\nb: 2", "yaml-documents", (2, 1)),
            ("<<: {a: 1}", "yaml-key", (1, 1)),
            ("true: 1", "yaml-key", (1, 1)),
            ("200: 1", "yaml-key", (1, 1)),
            ("~: 1", "yaml-key", (1, 1)),
            ("? [a]\n: 1", "yaml-key", (1, 3)),
            ("a: .inf", "yaml-number", (1, 4)),
            ("a: 99999999999999999999", "yaml-number", (1, 4)),
            ("a: 1e999", "yaml-number", (1, 4)),
            ("", "yaml-empty", (1, 1)),
            ("# only a note\n", "yaml-empty", (2, 1)),
            (&deep, "too-deep", (1, 49)),
            (&wide, "too-large", (1, 40_000)),
            (&long, "too-large", (1, 1)),
        ];
        for (text, code, place) in cases {
            let shown: String = text.chars().take(40).collect();
            let faults = read(text.as_bytes()).expect_err(&shown);
            let fault = &faults[0];
            assert_eq!((fault.code, (fault.line, fault.column)), (code, place), "{shown:?}: {fault}");
        }
    }

    #[test]
    fn bytes_that_are_not_yaml_are_refused() {
        let cases: [&[u8]; 10] = [
            b"a:\n\tb: 1",
            b"a: [1",
            b"a: {b: 1",
            b"a: \"x",
            b"a: 'x",
            b"a: 1\n b: 2",
            b"- a\nb: 1",
            b"a: %x",
            b"a: @x",
            b"\"a\": \"\\q\"",
        ];
        for bytes in cases {
            let faults = read(bytes).expect_err(&String::from_utf8_lossy(bytes));
            assert_eq!(faults[0].code, "yaml-syntax", "{}", String::from_utf8_lossy(bytes));
            assert!(faults[0].line >= 1);
        }
        assert_eq!(read(b"a: \xff").unwrap_err()[0].code, "yaml-encoding");
        assert_eq!(read(b"a: 1\nb: \xc3").unwrap_err()[0].line, 2);
    }
}
