//! Strict JSON (RFC 8259): bounded, and refusing duplicate names at any depth.
//!
//! Two readers may disagree about which of two members with one name counts; so such a document is no
//! document (RFC 8259 section 4 leaves the behaviour open).

use core::fmt;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;

/// How large a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes.
    pub bytes: usize,
    /// Most levels of arrays and objects.
    pub depth: usize,
    /// Most values, members and elements included.
    pub nodes: usize,
}

/// Says why bytes are not a strict JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the bound.
    #[error("the document has {size} bytes, more than {max}")]
    TooLarge {
        /// How many there are.
        size: usize,
        /// How many there may be.
        max: usize,
    },
    /// Not JSON, not of the expected shape, too deep, too many values, or a name twice.
    #[error("{0}")]
    Malformed(String),
}

/// Checks that `bytes` are one strict JSON document within `bounds`, building nothing.
///
/// # Errors
/// [`JsonError`] says what is wrong and where.
pub fn check(bytes: &[u8], bounds: &Bounds) -> Result<(), JsonError> {
    if bytes.len() > bounds.bytes {
        return Err(JsonError::TooLarge { size: bytes.len(), max: bounds.bytes });
    }
    let malformed = |e: serde_json::Error| JsonError::Malformed(e.to_string());
    let mut nodes_left = bounds.nodes;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth_left: bounds.depth, nodes_left: &mut nodes_left }
        .deserialize(&mut reader)
        .map_err(malformed)?;
    reader.end().map_err(malformed)
}

/// Checks `bytes` as [`check`] does, then reads a `T` from those same bytes.
///
/// # Errors
/// [`JsonError`] says what is wrong and where.
pub fn read<T: DeserializeOwned>(bytes: &[u8], bounds: &Bounds) -> Result<T, JsonError> {
    check(bytes, bounds)?;
    serde_json::from_slice(bytes).map_err(|e| JsonError::Malformed(e.to_string()))
}

/// Reads a member that may be `null` but must be there (serde takes an absent `Option` for `None`).
///
/// # Errors
/// Whatever reading the value gives.
pub fn required_nullable<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer)
}

struct Strict<'n> {
    depth_left: usize,
    nodes_left: &'n mut usize,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Strict<'_>, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Strict { depth_left, nodes_left: self.nodes_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.nodes_left =
            self.nodes_left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Strict { depth_left, nodes_left } = self.inner::<A::Error>()?;
        while seq.next_element_seed(Strict { depth_left, nodes_left })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Strict { depth_left, nodes_left } = self.inner::<A::Error>()?;
        let mut names: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            if names.contains(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("the name `{shown}` stands twice in one object")));
            }
            names.insert(name);
            map.next_value_seed(Strict { depth_left, nodes_left })?;
        }
        Ok(())
    }
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { bytes: 100, depth: 3, nodes: 8 };

    #[test]
    fn a_plain_document_within_bounds_passes() {
        for text in ["null", "[1,-2.5,\"x\",true]", "{\"a\":{\"b\":[1]}}", " {} "] {
            assert_eq!(check(text.as_bytes(), &SMALL), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in ["{\"a\":1,\"a\":1}", "{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}", "{\"a\":1,\"\\u0061\":2}"] {
            assert!(check(text.as_bytes(), &SMALL).unwrap_err().to_string().contains("twice"), "{text}");
        }
    }

    #[test]
    fn every_bound_is_held() {
        assert!(matches!(check(&[b' '; 101], &SMALL), Err(JsonError::TooLarge { size: 101, max: 100 })));
        assert!(check(b"[[[1]]]", &SMALL).is_ok());
        assert!(check(b"[[[[1]]]]", &SMALL).unwrap_err().to_string().contains("deeply"));
        assert!(check(b"[1,2,3,4,5,6,7]", &SMALL).is_ok());
        assert!(check(b"[1,2,3,4,5,6,7,8]", &SMALL).unwrap_err().to_string().contains("many"));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{a:1}", "[1,]", "nul", "1 2", "\"\\ud800\"", "NaN", "01", "{\"a\":1}x", "'a'"]
        {
            assert!(check(text.as_bytes(), &SMALL).is_err(), "{text}");
        }
        assert!(check(b"\"\xff\"", &SMALL).is_err());
    }
}
