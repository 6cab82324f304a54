//! How expressions reach into values and change them: `.a`, `.[0]`, `.[1:]`, `.[]`, and their updates.

use super::arithmetic::stopped;
use super::meter;
use super::value::{List, Map, Value, length, write_json};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Exn, ValR, ValT, ValX};
use std::sync::Arc;

type Error = jaq_core::Error<Value>;

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<isize> for Value {
    fn from(n: isize) -> Self {
        i64::try_from(n).map_or(Self::Null, Self::Int)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Range<Self>> for Value {
    fn from(range: Range<Self>) -> Self {
        let bound = |name: &str, bound: Option<Self>| bound.map(|bound| (Arc::from(name), bound));
        Self::map([bound("start", range.start), bound("end", range.end)].into_iter().flatten().collect())
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(iter: I) -> Self {
        Self::list(iter.into_iter().collect())
    }
}

impl ValT for Value {
    fn from_num(n: &str) -> ValR<Self> {
        if let Ok(n) = n.parse() {
            return Ok(Self::Int(n));
        }
        n.parse().map(Self::Float).map_err(Error::str)
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(iter: I) -> ValR<Self> {
        let mut map = Map::default();
        for (key, value) in iter {
            let Self::Text(key) = key else { return Err(Error::typ(key, "object key")) };
            if !map.insert(key, value) {
                return Err(stopped());
            }
        }
        Ok(Self::map(map))
    }

    fn key_values(self) -> Box<dyn Iterator<Item = ValR<(Self, Self), Self>>> {
        match self {
            Self::List(list) if meter::spend(1) => Box::new(
                (0..list.items().len())
                    .map(move |i| Ok((Self::count(i), list.items().get(i).cloned().unwrap_or_default()))),
            ),
            Self::Map(map) if meter::spend(1) => {
                Box::new((0..map.entries().len()).map(move |i| match map.entries().get_index(i) {
                    Some((key, value)) => Ok((Self::Text(Arc::clone(key)), value.clone())),
                    None => Err(stopped()),
                }))
            }
            other => Box::new(std::iter::once(Err(Error::typ(other, "array or object")))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self {
            Self::List(list) if meter::spend(1) => Box::new(
                (0..list.items().len()).map(move |i| Ok(list.items().get(i).cloned().unwrap_or_default())),
            ),
            Self::Map(map) if meter::spend(1) => Box::new((0..map.entries().len()).map(move |i| {
                Ok(map.entries().get_index(i).map(|(_, value)| value.clone()).unwrap_or_default())
            })),
            other => Box::new(std::iter::once(Err(Error::typ(other, "array or object")))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        match (&self, index) {
            (Self::Map(map), Self::Text(key)) => Ok(map.get(key).cloned().unwrap_or_default()),
            (Self::List(list), Self::Int(_) | Self::Float(_)) => {
                let at = absolute(index, list.items().len());
                Ok(at.and_then(|i| list.items().get(i)).cloned().unwrap_or_default())
            }
            (Self::Null, Self::Text(_) | Self::Int(_) | Self::Float(_) | Self::Null) => Ok(Self::Null),
            (Self::List(_) | Self::Text(_) | Self::Null, Self::Map(bounds)) => {
                self.clone().range(bounds.get("start")..bounds.get("end"))
            }
            _ => Err(Error::index(self, index.clone())),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        match &self {
            Self::Null => Ok(Self::Null),
            Self::List(list) => {
                let (skip, take) = window(range, list.items().len())?;
                Ok(list.items().iter().skip(skip).take(take).cloned().collect())
            }
            Self::Text(text) => {
                let (skip, take) = window(range, text.chars().count())?;
                Ok(Self::text(text.chars().skip(skip).take(take).collect::<String>()))
            }
            _ => Err(Error::typ(self, "array or string")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self {
            Self::List(list) => {
                let items = Arc::unwrap_or_clone(list).into_items();
                Ok(Self::list(items.into_iter().flat_map(f).collect::<Result<List, _>>()?))
            }
            Self::Map(map) => {
                let entries = map.entries().iter();
                let changed = entries.filter_map(|(key, value)| {
                    f(value.clone()).next().map(|value| Ok::<_, Exn<'a, Self>>((Arc::clone(key), value?)))
                });
                Ok(Self::map(changed.collect::<Result<Map, _>>()?))
            }
            other => opt.fail(other, |v| Exn::from(Error::typ(v, "array or object"))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match (self, index) {
            (this @ (Self::List(_) | Self::Text(_) | Self::Null), Self::Map(bounds)) => {
                this.map_range(bounds.get("start")..bounds.get("end"), opt, f)
            }
            (Self::Null, Self::Text(key)) => map_entry(Arc::new(Map::default()), key, f),
            (Self::Map(map), Self::Text(key)) => map_entry(map, key, f),
            (Self::Null, Self::Int(_) | Self::Float(_)) => map_item(Arc::new(List::default()), index, opt, f),
            (Self::List(list), Self::Int(_) | Self::Float(_)) => map_item(list, index, opt, f),
            (this, _) => opt.fail(this, |v| Exn::from(Error::index(v, index.clone()))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let list = match self {
            Self::List(list) => list,
            Self::Null => Arc::new(List::default()),
            other => return opt.fail(other, |v| Exn::from(Error::typ(v, "array"))),
        };
        let (skip, take) = window(range, list.items().len()).map_err(Exn::from)?;
        let part = list.items().iter().skip(skip).take(take).cloned().collect();
        let changed = match f(part).next().transpose()? {
            Some(Self::List(changed)) => changed,
            Some(other) => return Err(Exn::from(Error::typ(other, "array"))),
            None => Arc::new(List::default()),
        };
        let before = list.items().iter().take(skip);
        let after = list.items().iter().skip(skip.saturating_add(take));
        Ok(before.chain(changed.items()).chain(after).cloned().collect())
    }

    fn as_bool(&self) -> bool {
        self.is_true()
    }

    fn into_string(self) -> Self {
        match self {
            Self::Text(_) => self,
            other => other.to_json(),
        }
    }
}

impl Value {
    /// The value as JSON text. The budget bounds values by weight, and text is at most six times as long.
    pub(crate) fn to_json(&self) -> Self {
        let bytes = self.weight();
        if !meter::spend_bytes(bytes) {
            return Self::Null;
        }
        let mut out = String::new();
        write_json(self, &mut out, usize::try_from(bytes.saturating_mul(6)).unwrap_or(usize::MAX));
        Self::text(out)
    }
}

/// Changes the value at `key`; no output deletes it.
fn map_entry<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut map: Arc<Map>,
    key: &Arc<str>,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    if Arc::strong_count(&map) > 1 && !meter::spend(length(map.entries().len())) {
        return Err(Exn::from(stopped()));
    }
    let entries = Arc::make_mut(&mut map);
    let old = entries.take(key).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => {
            entries.insert(Arc::clone(key), new);
        }
        None => {
            meter::spend(length(entries.entries().len()) / 8);
            entries.remove(key);
        }
    }
    Ok(Value::Map(map))
}

/// Changes the item at `index`, after filling up with null; no output deletes it.
fn map_item<'a, I: Iterator<Item = ValX<'a, Value>>>(
    mut list: Arc<List>,
    index: &Value,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let length_now = list.items().len();
    if Arc::strong_count(&list) > 1 && !meter::spend(length(length_now) / 2) {
        return Err(Exn::from(stopped()));
    }
    let positive = index.as_int().and_then(|i| usize::try_from(i).ok());
    let Some(at) = positive.or_else(|| absolute(index, length_now)) else {
        let message = || Error::str(format_args!("index {index} is out of bounds"));
        return opt.fail(Value::List(list), |_| Exn::from(message()));
    };
    let items = Arc::make_mut(&mut list);
    while items.items().len() <= at {
        if !(items.push(Value::Null) && meter::spend(1)) {
            return Err(Exn::from(stopped()));
        }
    }
    let old = items.take(at).unwrap_or_default();
    match f(old).next().transpose()? {
        Some(new) => {
            items.put(at, new);
        }
        None => {
            meter::spend(length(length_now) / 8);
            items.remove(at);
        }
    }
    Ok(Value::List(list))
}

/// An index counted from the end if negative; none if it lies outside.
fn absolute(index: &Value, len: usize) -> Option<usize> {
    let i = index.as_int()?;
    let i = if i < 0 { i64::try_from(len).ok()?.checked_add(i)? } else { i };
    usize::try_from(i).ok().filter(|i| *i < len)
}

/// How many items a slice skips and takes.
fn window(range: Range<&Value>, len: usize) -> Result<(usize, usize), Error> {
    let bound = |value: Option<&Value>, default: usize, up: bool| match value {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            let x = value.as_f64().ok_or_else(|| Error::typ(value.clone(), "number"))?;
            let x = if up { x.ceil() } else { x.floor() };
            #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
            let from_start = if x < 0.0 { x + len as f64 } else { x };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates at the ends"
            )]
            let at = from_start.max(0.0) as usize;
            Ok(at.min(len))
        }
    };
    let (from, upto) = (bound(range.start, 0, false)?, bound(range.end, len, true)?);
    Ok((from, upto.saturating_sub(from)))
}
