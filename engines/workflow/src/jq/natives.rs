//! The natives of expressions: what jq can't define in terms of itself. No clock, environment, file or log.

use super::arithmetic::stopped;
use super::meter;
use super::order::compare;
use super::program::Jq;
use super::value::{List, Value, length};
use super::{math, pattern, text};
use jaq_core::box_iter::box_once;
use jaq_core::native::{Fun, bome, v};
use jaq_core::{Bind, Cv, Error, Exn, Native, RunPtr, ValX, ValXs};
use std::sync::Arc;

/// The result of a native.
pub(crate) type Outcome = Result<Value, Error<Value>>;
/// One or more natives that turn their input, and their arguments, into one output.
pub(crate) type Entry = (&'static str, usize, RunPtr<Jq>);

/// Spends one step; put where outputs multiply, and where functions and their arguments begin.
pub(crate) const TICK: &str = "!tick";
/// Spends the steps of a call; put where recursion passes.
pub(crate) const CALL: &str = "!call";
/// Collects the ids of the compiled expressions.
pub(crate) const COLLECT: &str = "_collect";

/// The longest path that `path(f)` may build; paths are linked lists, and dropping one recurses.
const PATH_MAX: usize = 512;

/// A native with one output, made from `fn(input) -> Outcome`. It pays for reading its input.
macro_rules! reads {
    ($name:literal, $f:expr) => {
        ($name, 0, |cv| {
            if !$crate::jq::meter::spend_bytes(cv.1.weight()) {
                return jaq_core::native::bome(Err($crate::jq::arithmetic::stopped()));
            }
            jaq_core::native::bome($f(cv.1))
        })
    };
}
pub(crate) use reads;

/// A native with one output, made from `fn(input, argument) -> Outcome`. It pays for reading both.
macro_rules! reads_with {
    ($name:literal, $f:expr) => {
        ($name, 1, |mut cv| {
            let argument = cv.0.pop_var();
            if !$crate::jq::meter::spend_bytes(cv.1.weight().saturating_add(argument.weight())) {
                return jaq_core::native::bome(Err($crate::jq::arithmetic::stopped()));
            }
            jaq_core::native::bome($f(cv.1, argument))
        })
    };
}
pub(crate) use reads_with;

/// The identity, for `$steps` steps. It stops the evaluation in a way that `try` can't catch.
macro_rules! pays {
    ($steps:expr) => {
        Native::<Jq>::new(|cv| if meter::spend_call($steps) { box_once(Ok(cv.1)) } else { halted() })
            .with_paths(|cv| {
                if cv.1.1.get(PATH_MAX).is_some() {
                    meter::nested_too_deeply();
                }
                if meter::spend_call($steps) { box_once(Ok(cv.1)) } else { halted() }
            })
            .with_update(|cv, f| if meter::spend_call($steps) { f(cv.1) } else { halted() })
    };
}

/// Every native, for a program of `expressions` expressions.
pub(crate) fn all(expressions: usize) -> impl Iterator<Item = Fun<Jq>> {
    let core = jaq_core::funs::<Jq>().filter(|(name, _, _)| !matches!(*name, "range" | "error_empty"));
    let plain = [structure(), text::natives(), math::natives(), pattern::natives()].into_iter().flatten();
    let plain = plain.map(|(name, arity, run)| (name, v(arity), Native::<Jq>::new(run)));
    let filters = [
        ("_sort_by", sort_by as RunPtr<Jq>),
        ("_group_by", group_by),
        ("_min_by", |cv| extreme_by(cv, std::cmp::Ordering::is_lt)),
        ("_max_by", |cv| extreme_by(cv, std::cmp::Ordering::is_ge)),
    ];
    let filters =
        filters.into_iter().map(|(name, run)| (name, Box::from([Bind::Fun(())]), Native::<Jq>::new(run)));
    core.chain(plain).chain(filters).chain(control(expressions))
}

/// Whether a workflow may call the native `name`.
pub(crate) fn is_public(name: &str) -> bool {
    !name.starts_with(['_', '!']) && !matches!(name, "path_value" | "keys_unsorted_by")
}

/// Steps, and the natives that choose what runs.
fn control(expressions: usize) -> [Fun<Jq>; 4] {
    let collected = std::iter::repeat_n(Bind::Fun(()), expressions).collect();
    [
        (TICK, v(0), pays!(1)),
        (CALL, v(0), pays!(meter::CALL_STEPS)),
        (
            "empty",
            v(0),
            Native::<Jq>::new(|_| Box::new(std::iter::empty()))
                .with_paths(|_| Box::new(std::iter::empty()))
                .with_update(|cv, _| box_once(Ok(cv.1))),
        ),
        (COLLECT, collected, Native::<Jq>::new(collect)),
    ]
}

fn halted<'a, T: 'a>() -> ValXs<'a, T, Value> {
    box_once(Err(Exn::halt(1)))
}

fn collect<'a>(mut cv: Cv<'a, Jq>) -> ValXs<'a, Value> {
    let env = cv.0.data().clone();
    if let Some(ids) = env.collected {
        for _ in 0..env.expressions {
            let (id, _) = cv.0.pop_fun();
            ids.borrow_mut().push(id);
        }
    }
    Box::new(std::iter::empty())
}

fn structure() -> Vec<Entry> {
    vec![
        ("true", 0, |_| bome(Ok(Value::Bool(true)))),
        ("false", 0, |_| bome(Ok(Value::Bool(false)))),
        ("null", 0, |_| bome(Ok(Value::Null))),
        ("not", 0, |cv| bome(Ok(Value::Bool(!cv.1.is_true())))),
        ("error", 0, |cv| bome(Err(Error::new(cv.1)))),
        ("type", 0, |cv| bome(Ok(Value::text(cv.1.type_name())))),
        ("length", 0, |cv| bome(length_of(&cv.1))),
        ("has", 1, |mut cv| {
            let key = cv.0.pop_var();
            bome(has(&cv.1, &key))
        }),
        ("range", 3, range),
        reads!("keys", |value| keys(&value)),
        reads!("_sum", sum),
        reads!("reverse", reverse),
        reads_with!("flatten", |value: Value, depth: Value| flatten(value, &depth)),
        reads_with!("contains", |whole: Value, part: Value| Ok(Value::Bool(contains(&whole, &part)))),
        reads_with!("bsearch", |list: Value, x: Value| search(&list, &x)),
    ]
}

fn length_of(value: &Value) -> Outcome {
    match value {
        Value::Null => Ok(Value::Int(0)),
        Value::Int(n) => Ok(n.checked_abs().map_or(Value::Float(9.223_372_036_854_776e18), Value::Int)),
        Value::Float(x) => Ok(Value::Float(x.abs())),
        Value::Text(text) => {
            meter::spend_bytes(length(text.len()));
            Ok(Value::count(text.chars().count()))
        }
        Value::List(list) => Ok(Value::count(list.items().len())),
        Value::Map(map) => Ok(Value::count(map.entries().len())),
        Value::Bool(_) => Err(Error::str(format_args!("{value} has no length"))),
    }
}

fn has(value: &Value, key: &Value) -> Outcome {
    match (value, key) {
        (Value::Map(map), Value::Text(key)) => Ok(Value::Bool(map.get(key).is_some())),
        (Value::List(list), Value::Int(i)) => {
            Ok(Value::Bool(usize::try_from(*i).is_ok_and(|i| i < list.items().len())))
        }
        _ => Err(Error::index(value.clone(), key.clone())),
    }
}

fn range(mut cv: Cv<'_, Jq>) -> ValXs<'_, Value> {
    let (by, upto, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
    let numbers = (from.as_f64(), upto.as_f64(), by.as_f64());
    let (Some(_), Some(_), Some(step)) = numbers else {
        return bome(Err(Error::str("the bounds of a range are numbers")));
    };
    let mut next = Some(from);
    Box::new(std::iter::from_fn(move || {
        let now = next.take()?;
        let inside = match step {
            step if step > 0.0 => compare(&now, &upto).is_lt(),
            step if step < 0.0 => compare(&now, &upto).is_gt(),
            _ => compare(&now, &upto).is_ne(),
        };
        if !inside {
            return None;
        }
        if !meter::spend(1) {
            return Some(Err(Exn::halt(1)));
        }
        next = (now.clone() + by.clone()).ok();
        Some(Ok(now))
    }))
}

pub(crate) fn into_list(value: Value) -> Result<Arc<List>, Error<Value>> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(Error::typ(other, "array")),
    }
}

fn keys(value: &Value) -> Outcome {
    match value {
        Value::Map(map) => {
            let mut keys: Vec<_> = map.entries().keys().collect();
            keys.sort_unstable();
            Ok(keys.into_iter().map(|key| Value::Text(Arc::clone(key))).collect())
        }
        Value::List(list) => Ok((0..list.items().len()).map(Value::count).collect()),
        other => Err(Error::typ(other.clone(), "array or object")),
    }
}

/// Adds up a list. Texts and lists are joined in one go, since joining pairwise takes quadratic time.
fn sum(value: Value) -> Outcome {
    let list = into_list(value)?;
    let items = list.items();
    if items.len() > 1 && items.iter().all(|item| matches!(item, Value::Text(_))) {
        let texts: Vec<&str> = items.iter().filter_map(Value::as_text).collect();
        return Ok(Value::text(texts.concat()));
    }
    items.iter().cloned().try_fold(Value::Null, |sum, item| sum + item)
}

fn reverse(value: Value) -> Outcome {
    match value {
        Value::Null => Ok(Value::list(List::default())),
        Value::Text(text) => Ok(Value::text(text.chars().rev().collect::<String>())),
        other => Ok(into_list(other)?.items().iter().rev().cloned().collect()),
    }
}

fn flatten(value: Value, depth: &Value) -> Outcome {
    fn into(list: &List, depth: i64, out: &mut List) -> bool {
        list.items().iter().all(|item| match item {
            Value::List(inner) if depth > 0 => into(inner, depth.saturating_sub(1), out),
            other => out.push(other.clone()),
        })
    }
    let Some(depth) = depth.as_int().filter(|depth| *depth >= 0) else {
        return Err(Error::str("the depth of flatten is a number, not negative"));
    };
    let mut out = List::default();
    into(&*into_list(value)?, depth, &mut out);
    Ok(Value::list(out))
}

/// Whether `whole` has everything that `part` asks for.
fn contains(whole: &Value, part: &Value) -> bool {
    if !meter::spend(1) {
        return false;
    }
    match (whole, part) {
        (Value::Text(whole), Value::Text(part)) => whole.contains(&**part),
        (Value::List(whole), Value::List(part)) => {
            part.items().iter().all(|part| whole.items().iter().any(|whole| contains(whole, part)))
        }
        (Value::Map(whole), Value::Map(part)) => {
            part.entries().iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        (whole, part) => compare(whole, part).is_eq(),
    }
}

fn search(list: &Value, x: &Value) -> Outcome {
    let Value::List(list) = list else { return Err(Error::typ(list.clone(), "array")) };
    Ok(match list.items().binary_search_by(|item| compare(item, x)) {
        Ok(at) => Value::count(at),
        Err(at) => (Value::Int(-1) - Value::count(at))?,
    })
}

/// Each item with its key under the filter argument, after paying for sorting them.
fn keyed<'a>(mut cv: Cv<'a, Jq>) -> Result<Vec<(Value, Value)>, Exn<'a, Value>> {
    let (f, ctx) = cv.0.pop_fun();
    let list = into_list(cv.1)?;
    let mut pairs = Vec::new();
    let mut bytes = 0_u64;
    for item in list.items() {
        let key = f.run((ctx.clone(), item.clone())).next().transpose()?.unwrap_or_default();
        bytes = bytes.saturating_add(key.weight());
        pairs.push((key, item.clone()));
    }
    let rounds = u64::from(pairs.len().checked_ilog2().unwrap_or(0)) + 1;
    if !meter::spend_bytes(bytes.saturating_mul(rounds)) {
        return Err(Exn::halt(1));
    }
    Ok(pairs)
}

fn sorted<'a>(cv: Cv<'a, Jq>) -> Result<Vec<(Value, Value)>, Exn<'a, Value>> {
    let mut pairs = keyed(cv)?;
    pairs.sort_by(|(l, _), (r, _)| compare(l, r));
    Ok(pairs)
}

fn sort_by<'a>(cv: Cv<'a, Jq>) -> ValXs<'a, Value> {
    box_once(sorted(cv).map(|pairs| pairs.into_iter().map(|(_, item)| item).collect()))
}

fn group_by<'a>(cv: Cv<'a, Jq>) -> ValXs<'a, Value> {
    let groups = |pairs: Vec<(Value, Value)>| {
        pairs
            .chunk_by(|(l, _), (r, _)| compare(l, r).is_eq())
            .map(|group| group.iter().map(|(_, item)| item.clone()).collect::<Value>())
            .collect()
    };
    box_once(sorted(cv).map(groups))
}

/// The item whose key is smaller (or not smaller) than the best so far; null for an empty list.
fn extreme_by<'a>(cv: Cv<'a, Jq>, better: fn(std::cmp::Ordering) -> bool) -> ValXs<'a, Value> {
    let best = |pairs: Vec<(Value, Value)>| {
        let best = pairs.into_iter().reduce(
            |best, next| {
                if better(compare(&next.0, &best.0)) { next } else { best }
            },
        );
        best.map(|(_, item)| item).unwrap_or_default()
    };
    let found: ValX<'a, Value> = keyed(cv).map(best);
    box_once(found)
}

/// The output of a native that may be stopped while it works.
pub(crate) fn unless_stopped(value: Value) -> Outcome {
    if meter::tripped() { Err(stopped()) } else { Ok(value) }
}
