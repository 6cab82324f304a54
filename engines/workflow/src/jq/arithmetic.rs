//! `+`, `-`, `*`, `/`, `%` and negation, as jq defines them for each type.

use super::meter;
use super::value::{List, Map, Value, length};
use jaq_core::ops::Math;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::sync::Arc;

type Error = jaq_core::Error<Value>;
type Outcome = Result<Value, Error>;

fn undefined(l: Value, op: Math, r: Value) -> Outcome {
    Err(Error::math(l, op, r))
}

/// The error of an operator after the evaluation was stopped; nobody sees it.
pub(crate) fn stopped() -> Error {
    Error::new(Value::Null)
}

/// Numbers: exactly as integers where both are and the result fits, else as floats.
fn numbers(
    l: &Value,
    r: &Value,
    ints: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Option<Value> {
    if let (Value::Int(l), Value::Int(r)) = (l, r)
        && let Some(exact) = ints(*l, *r)
    {
        return Some(Value::Int(exact));
    }
    Some(Value::number(floats(l.as_f64()?, r.as_f64()?)))
}

impl Add for Value {
    type Output = Outcome;

    fn add(self, rhs: Self) -> Outcome {
        if let Some(sum) = numbers(&self, &rhs, i64::checked_add, |l, r| l + r) {
            return Ok(sum);
        }
        match (self, rhs) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Text(l), Self::Text(r)) => {
                let bytes = length(l.len()).saturating_add(length(r.len()));
                if !(meter::admit(bytes, 1) && meter::spend_bytes(bytes)) {
                    return Err(stopped());
                }
                Ok(Self::text([&*l, &*r].concat()))
            }
            (Self::List(mut l), Self::List(r)) => {
                let copied = if Arc::strong_count(&l) > 1 { l.items().len() } else { 0 };
                if !meter::spend(length(copied.saturating_add(r.items().len())) / 2) {
                    return Err(stopped());
                }
                Arc::make_mut(&mut l).append(&r);
                Ok(Self::List(l))
            }
            (Self::Map(mut l), Self::Map(r)) => {
                let copied = if Arc::strong_count(&l) > 1 { l.entries().len() } else { 0 };
                if !meter::spend(length(copied.saturating_add(r.entries().len()))) {
                    return Err(stopped());
                }
                let map = Arc::make_mut(&mut l);
                r.entries().iter().all(|(key, value)| map.insert(Arc::clone(key), value.clone()));
                Ok(Self::Map(l))
            }
            (l, r) => undefined(l, Math::Add, r),
        }
    }
}

impl Sub for Value {
    type Output = Outcome;

    fn sub(self, rhs: Self) -> Outcome {
        if let Some(difference) = numbers(&self, &rhs, i64::checked_sub, |l, r| l - r) {
            return Ok(difference);
        }
        match (self, rhs) {
            (Self::List(l), Self::List(r)) => {
                let pairs = length(l.items().len()).saturating_mul(length(r.items().len()));
                if !meter::spend(pairs / 4) {
                    return Err(stopped());
                }
                let kept = l.items().iter().filter(|item| !r.items().contains(item)).cloned();
                Ok(Self::list(kept.collect()))
            }
            (l, r) => undefined(l, Math::Sub, r),
        }
    }
}

impl Mul for Value {
    type Output = Outcome;

    fn mul(self, rhs: Self) -> Outcome {
        if let Some(product) = numbers(&self, &rhs, i64::checked_mul, |l, r| l * r) {
            return Ok(product);
        }
        match (self, rhs) {
            (Self::Text(text), n @ (Self::Int(_) | Self::Float(_)))
            | (n @ (Self::Int(_) | Self::Float(_)), Self::Text(text)) => repeat(&text, &n),
            (Self::Map(l), Self::Map(r)) => {
                let bytes =
                    Self::Map(Arc::clone(&l)).weight().saturating_add(Self::Map(Arc::clone(&r)).weight());
                if !meter::spend_bytes(bytes) {
                    return Err(stopped());
                }
                Ok(Self::Map(merge(l, &r)))
            }
            (l, r) => undefined(l, Math::Mul, r),
        }
    }
}

/// `"ab" * 3` is `"ababab"`; with a factor of zero or less, null.
fn repeat(text: &str, times: &Value) -> Outcome {
    let times = times.as_f64().unwrap_or(0.0);
    if times.is_nan() || times <= 0.0 {
        return Ok(Value::Null);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturates")]
    let times = times.ceil() as u64;
    let bytes = length(text.len()).saturating_mul(times);
    let Ok(times) = usize::try_from(times) else { return Err(stopped()) };
    if !(meter::admit(bytes, 1) && meter::spend_bytes(bytes)) {
        return Err(stopped());
    }
    Ok(Value::text(if text.is_empty() { String::new() } else { text.repeat(times) }))
}

/// Merges `r` into `l`, and maps within maps likewise.
fn merge(mut l: Arc<Map>, r: &Map) -> Arc<Map> {
    let map = Arc::make_mut(&mut l);
    for (key, theirs) in r.entries() {
        let merged = match (map.take(key), theirs) {
            (Some(Value::Map(ours)), Value::Map(theirs)) => Value::Map(merge(ours, theirs)),
            _ => theirs.clone(),
        };
        if !map.insert(Arc::clone(key), merged) {
            break;
        }
    }
    l
}

impl Div for Value {
    type Output = Outcome;

    fn div(self, rhs: Self) -> Outcome {
        match (&self, &rhs) {
            (Self::Int(_) | Self::Float(_), Self::Int(_) | Self::Float(_)) => {
                if rhs.as_f64() == Some(0.0) {
                    return Err(Error::str(format_args!("{self} cannot be divided by zero")));
                }
                let exact = |l: i64, r: i64| if l.checked_rem(r)? == 0 { l.checked_div(r) } else { None };
                numbers(&self, &rhs, exact, |l, r| l / r).ok_or_else(stopped)
            }
            (Self::Text(text), Self::Text(separator)) => Ok(split(text, separator)),
            _ => undefined(self, Math::Div, rhs),
        }
    }
}

/// Splits `text` at every `separator`; with an empty one, into characters.
pub(crate) fn split(text: &str, separator: &str) -> Value {
    let list: List = if text.is_empty() {
        List::default()
    } else if separator.is_empty() {
        text.chars().map(|c| Value::text(c.to_string())).collect()
    } else {
        text.split(separator).map(Value::text).collect()
    };
    Value::list(list)
}

impl Rem for Value {
    type Output = Outcome;

    fn rem(self, rhs: Self) -> Outcome {
        match (self.as_int(), rhs.as_int()) {
            (Some(_), Some(0)) => Err(Error::str(format_args!("{self} cannot be divided by zero"))),
            (Some(l), Some(r)) => Ok(Self::Int(l.checked_rem(r).unwrap_or(0))),
            _ => undefined(self, Math::Rem, rhs),
        }
    }
}

impl Neg for Value {
    type Output = Outcome;

    fn neg(self) -> Outcome {
        match self {
            Self::Int(n) => {
                Ok(n.checked_neg().map_or_else(|| Self::number(9.223_372_036_854_776e18), Self::Int))
            }
            Self::Float(x) => Ok(Self::Float(-x)),
            other => Err(Error::typ(other, "number")),
        }
    }
}
