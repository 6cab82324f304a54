//! How values compare: null, false, true, numbers, strings, arrays, objects, as in jq.

use super::meter;
use super::value::{Map, Value};
use std::cmp::Ordering;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        if is_nan(self) || is_nan(other) {
            return false;
        }
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        if !meter::spend_bytes(self.weight().min(other.weight())) {
            return Ordering::Equal;
        }
        compare(self, other)
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(x) if x.is_nan())
}

/// Compares without paying: sorting pays beforehand, because an order that changes midway breaks it.
pub(crate) fn compare(l: &Value, r: &Value) -> Ordering {
    match (l, r) {
        (Value::Bool(l), Value::Bool(r)) => l.cmp(r),
        (Value::Int(l), Value::Int(r)) => l.cmp(r),
        (Value::Float(l), Value::Float(r)) => compare_floats(*l, *r),
        (Value::Int(l), Value::Float(r)) => compare_mixed(*l, *r),
        (Value::Float(l), Value::Int(r)) => compare_mixed(*r, *l).reverse(),
        (Value::Text(l), Value::Text(r)) => l.cmp(r),
        (Value::List(l), Value::List(r)) => {
            let pairs = l.items().iter().zip(r.items());
            first_difference(pairs.map(|(l, r)| compare(l, r)))
                .unwrap_or_else(|| l.items().len().cmp(&r.items().len()))
        }
        (Value::Map(l), Value::Map(r)) => compare_maps(l, r),
        _ => rank(l).cmp(&rank(r)),
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Option<Ordering> {
    orders.find(|order| order.is_ne())
}

/// NaN is smaller than every number, as in jq.
fn compare_floats(l: f64, r: f64) -> Ordering {
    l.partial_cmp(&r).unwrap_or_else(|| r.is_nan().cmp(&l.is_nan()))
}

/// Compares exactly: rounding the integer would make three numbers compare in a circle, which sorting
/// does not survive.
fn compare_mixed(l: i64, r: f64) -> Ordering {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if r.is_nan() || r < -BEYOND {
        return Ordering::Greater;
    }
    if r >= BEYOND {
        return Ordering::Less;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range of i64")]
    let whole = r.trunc() as i64;
    l.cmp(&whole).then_with(|| compare_floats(0.0, r.fract()))
}

/// First the sorted keys, then the values in the keys' order.
fn compare_maps(l: &Map, r: &Map) -> Ordering {
    let (l, r) = (sorted(l), sorted(r));
    let keys = l.iter().map(|(key, _)| key).cmp(r.iter().map(|(key, _)| key));
    if keys.is_ne() {
        return keys;
    }
    first_difference(l.iter().zip(&r).map(|((_, l), (_, r))| compare(l, r))).unwrap_or(Ordering::Equal)
}

fn sorted(map: &Map) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = map.entries().iter().map(|(key, value)| (&**key, value)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::List(_) => 4,
        Value::Map(_) => 5,
    }
}
