//! A document as a tree whose nodes know their line and column.

use crate::fault::{Fault, Faults};
use serde_json::Number;

/// How deep a document may nest. Tasks within tasks take three levels each.
pub(crate) const DEPTH_MAX: usize = 48;
/// How many nodes a document may have: far more than a person writes.
pub(crate) const NODES_MAX: usize = 20_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) const fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes a JSON document over, within the bounds that text has too.
    pub(crate) fn from_json(json: &serde_json::Value) -> Result<Self, Vec<Fault>> {
        let mut nodes = 0;
        let bounded = build(json, 0, &mut nodes);
        bounded.ok_or_else(|| {
            let mut faults = Faults::default();
            let message =
                format!("the document nests deeper than {DEPTH_MAX} or has over {NODES_MAX} values");
            faults.add_at("too-large", "", 0, 0, message);
            faults.into_vec()
        })
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(b) => (*b).into(),
            Kind::Number(n) => n.clone().into(),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect(),
            ),
        }
    }
}

fn build(json: &serde_json::Value, depth: usize, nodes: &mut usize) -> Option<Node> {
    *nodes = nodes.saturating_add(1);
    if depth > DEPTH_MAX || *nodes > NODES_MAX {
        return None;
    }
    let depth = depth.saturating_add(1);
    let kind = match json {
        serde_json::Value::Null => Kind::Null,
        serde_json::Value::Bool(b) => Kind::Bool(*b),
        serde_json::Value::Number(n) => Kind::Number(n.clone()),
        serde_json::Value::String(text) => Kind::Text(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::List(items.iter().map(|item| build(item, depth, nodes)).collect::<Option<_>>()?)
        }
        serde_json::Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                Some(Entry { key: key.clone(), line: 0, column: 0, value: build(value, depth, nodes)? })
            });
            Kind::Map(entries.collect::<Option<_>>()?)
        }
    };
    Some(Node { kind, line: 0, column: 0 })
}
