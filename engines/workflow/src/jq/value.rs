//! The values that expressions work on: JSON, with each value's size and depth known without a walk.
//!
//! Values are shared by reference. `[., .]` repeated sixty times is sixty nodes in memory and 2^60 when
//! compared, printed or sorted. So every list and map knows the size of the tree it stands for, and one that
//! would exceed the budget never comes to be.

use super::meter;
use indexmap::IndexMap;
use std::sync::Arc;

/// What a value without content weighs, in bytes.
const NODE_BYTES: u64 = 32;
/// What an entry of a map weighs besides its key and value, in bytes.
const ENTRY_BYTES: u64 = 32;
/// Whole numbers up to this size are exact as 64-bit floats, so arithmetic may return them as integers.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A JSON value.
#[derive(Debug, Clone, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<List>),
    Map(Arc<Map>),
}

/// The items of a list, and what they weigh.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    items: Vec<Value>,
    weight: u64,
    depth: u16,
}

/// The entries of a map in their order, and what they weigh.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    entries: IndexMap<Arc<str>, Value>,
    weight: u64,
    depth: u16,
}

// === impl List ===

impl List {
    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }

    /// Appends `value`; false once the evaluation must stop.
    pub(crate) fn push(&mut self, value: Value) -> bool {
        self.weight = self.weight.saturating_add(value.weight());
        self.depth = self.depth.max(value.depth().saturating_add(1));
        self.items.push(value);
        meter::admit(self.weight.saturating_add(NODE_BYTES), self.depth)
    }

    /// Appends copies of `other`'s items; false once the evaluation must stop.
    pub(crate) fn append(&mut self, other: &Self) -> bool {
        self.weight = self.weight.saturating_add(other.weight);
        self.depth = self.depth.max(other.depth);
        if !meter::admit(self.weight.saturating_add(NODE_BYTES), self.depth) {
            return false;
        }
        self.items.extend_from_slice(&other.items);
        true
    }

    /// Takes the item at `index` out, leaving null.
    pub(crate) fn take(&mut self, index: usize) -> Option<Value> {
        let item = std::mem::take(self.items.get_mut(index)?);
        self.weight = self.weight.saturating_sub(item.weight()).saturating_add(NODE_BYTES);
        Some(item)
    }

    /// Puts `value` where [`List::take`] left null.
    pub(crate) fn put(&mut self, index: usize, value: Value) -> bool {
        self.weight = self.weight.saturating_sub(NODE_BYTES).saturating_add(value.weight());
        self.depth = self.depth.max(value.depth().saturating_add(1));
        if let Some(slot) = self.items.get_mut(index) {
            *slot = value;
        }
        meter::admit(self.weight.saturating_add(NODE_BYTES), self.depth)
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if index < self.items.len() {
            let item = self.items.remove(index);
            self.weight = self.weight.saturating_sub(item.weight());
        }
    }

    pub(crate) fn into_items(self) -> Vec<Value> {
        self.items
    }
}

impl FromIterator<Value> for List {
    /// Collects items until the evaluation must stop.
    fn from_iter<I: IntoIterator<Item = Value>>(iter: I) -> Self {
        let mut list = Self::default();
        for value in iter {
            if !(list.push(value) && meter::spend(1)) {
                break;
            }
        }
        list
    }
}

// === impl Map ===

impl Map {
    pub(crate) fn entries(&self) -> &IndexMap<Arc<str>, Value> {
        &self.entries
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Sets `key` to `value`; false once the evaluation must stop.
    pub(crate) fn insert(&mut self, key: Arc<str>, value: Value) -> bool {
        let added = value.weight();
        let key_weight = entry_weight(&key);
        self.depth = self.depth.max(value.depth().saturating_add(1));
        match self.entries.insert(key, value) {
            Some(old) => self.weight = self.weight.saturating_sub(old.weight()).saturating_add(added),
            None => self.weight = self.weight.saturating_add(added).saturating_add(key_weight),
        }
        meter::admit(self.weight.saturating_add(NODE_BYTES), self.depth)
    }

    /// Takes the value of `key` out, leaving null.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        let value = std::mem::take(self.entries.get_mut(key)?);
        self.weight = self.weight.saturating_sub(value.weight()).saturating_add(NODE_BYTES);
        Some(value)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(value) = self.entries.shift_remove(key) {
            self.weight = self.weight.saturating_sub(value.weight()).saturating_sub(entry_weight(key));
        }
    }
}

fn entry_weight(key: &str) -> u64 {
    length(key.len()).saturating_add(ENTRY_BYTES)
}

impl FromIterator<(Arc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(iter: I) -> Self {
        let mut map = Self::default();
        for (key, value) in iter {
            if !(map.insert(key, value) && meter::spend(1)) {
                break;
            }
        }
        map
    }
}

// === impl Value ===

impl Value {
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        meter::spend_bytes(length(text.len()));
        meter::admit(length(text.len()).saturating_add(NODE_BYTES), 1);
        Self::Text(text)
    }

    pub(crate) fn list(list: List) -> Self {
        Self::List(Arc::new(list))
    }

    pub(crate) fn map(map: Map) -> Self {
        Self::Map(Arc::new(map))
    }

    pub(crate) fn object<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::map(entries.into_iter().map(|(key, value)| (Arc::from(key), value)).collect())
    }

    /// A computed number: an integer when it is whole and exact.
    pub(crate) fn number(x: f64) -> Self {
        if x.fract() == 0.0 && x.abs() < EXACT_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            let whole = x as i64;
            Self::Int(whole)
        } else {
            Self::Float(x)
        }
    }

    pub(crate) fn count(n: usize) -> Self {
        i64::try_from(n).map_or(Self::Null, Self::Int)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "jq's numbers are floats beyond 2^53")]
            Self::Int(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The number as an integer, rounded down.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            #[expect(clippy::cast_possible_truncation, reason = "saturates, as an index should")]
            Self::Float(x) if !x.is_nan() => Some(x.floor() as i64),
            _ => None,
        }
    }

    /// Neither null nor false.
    pub(crate) fn is_true(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }

    /// The size of the tree that this value stands for, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => NODE_BYTES,
            Self::Text(text) => NODE_BYTES.saturating_add(length(text.len())),
            Self::List(list) => NODE_BYTES.saturating_add(list.weight),
            Self::Map(map) => NODE_BYTES.saturating_add(map.weight),
        }
    }

    /// How many levels of lists and maps this value has.
    pub(crate) fn depth(&self) -> u16 {
        match self {
            Self::List(list) => list.depth.max(1),
            Self::Map(map) => map.depth.max(1),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => 0,
        }
    }
}

pub(crate) fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl From<&serde_json::Value> for Value {
    /// Takes a JSON value over. Numbers beyond 64-bit integers become floats, as in jq.
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(n) => Self::Int(n),
                None => n.as_f64().map_or(Self::Null, Self::Float),
            },
            serde_json::Value::String(text) => Self::Text(text.as_str().into()),
            serde_json::Value::Array(items) => {
                let mut list = List { items: Vec::with_capacity(items.len()), ..List::default() };
                for item in items {
                    list.push(item.into());
                }
                Self::list(list)
            }
            serde_json::Value::Object(entries) => {
                let mut map = Map::default();
                for (key, value) in entries {
                    map.insert(key.as_str().into(), value.into());
                }
                Self::map(map)
            }
        }
    }
}

impl From<&Value> for serde_json::Value {
    /// Gives a JSON value out. JSON has no NaN and no infinity: null and the largest float stand for them.
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::from(*n),
            Value::Float(x) if x.is_nan() => Self::Null,
            Value::Float(x) => Self::from(x.clamp(f64::MIN, f64::MAX)),
            Value::Text(text) => Self::from(&**text),
            Value::List(list) => list.items.iter().map(Self::from).collect(),
            Value::Map(map) => {
                Self::Object(map.entries.iter().map(|(k, v)| (k.to_string(), v.into())).collect())
            }
        }
    }
}

/// Writes `value` as JSON into `out`, up to `max` bytes; false if it was longer.
pub(crate) fn write_json(value: &Value, out: &mut String, max: usize) -> bool {
    if out.len() > max {
        return false;
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(_) => out.push_str(&serde_json::Value::from(value).to_string()),
        Value::Text(text) => write_text(text, out),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if !write_json(item, out, max) {
                    return false;
                }
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (key, item)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                if !write_json(item, out, max) {
                    return false;
                }
            }
            out.push('}');
        }
    }
    out.len() <= max
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// How much of a value a message shows, in bytes.
const SHOWN_BYTES: usize = 60;

impl std::fmt::Display for Value {
    /// Shows the beginning of the value, for messages.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Text(text) = self
            && text.len() > SHOWN_BYTES
        {
            let head: String = text.chars().take(SHOWN_BYTES).collect();
            return write!(f, "\"{head}...");
        }
        let mut shown = String::new();
        if write_json(self, &mut shown, SHOWN_BYTES) {
            return f.write_str(&shown);
        }
        let head: String = shown.chars().take(SHOWN_BYTES).collect();
        write!(f, "{head}...")
    }
}
