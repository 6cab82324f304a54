//! Reading and writing rows: what both engines have in common.

use crate::connection::{Connection, Failure};
use crate::error::StoreError;
use crate::keys::{Cached, Keys, OwnerKeys};
use core::str::FromStr;
use std::borrow::Cow;
use std::sync::Arc;
use terms::{Digest, Timestamp};
use vault::Owner;

/// Where statements run: a reader's connection, or the writer's inside its transaction.
pub trait Source: Send {
    /// The connection, ready for a statement.
    #[doc(hidden)]
    fn connection(&mut self) -> impl Future<Output = Result<&mut Connection, StoreError>> + Send;
    /// Takes note of a statement's failure.
    #[doc(hidden)]
    fn failed(&mut self, error: &StoreError);
    /// An owner's keys, if they are at hand.
    #[doc(hidden)]
    fn cached(&self, owner: Owner) -> Cached;
    /// Keeps an owner's keys at hand, as they were read after `seen`.
    #[doc(hidden)]
    fn keep(&mut self, owner: Owner, keys: Arc<OwnerKeys>, seen: u64);
    /// Unwraps keys.
    #[doc(hidden)]
    fn keys(&self) -> &Keys;
}

/// A statement in the SQL that both engines share, with `$1` placeholders, and its values.
#[derive(Debug)]
pub(crate) struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A value on its way into the database. Absent ones have a type too: PostgreSQL asks for it.
#[derive(Debug)]
pub(crate) enum Value {
    Integer(Option<i64>),
    Text(Option<Cow<'static, str>>),
    Bytes(Option<Vec<u8>>),
}

/// A row, out of the database.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Cell>);

/// A value, out of the database.
#[derive(Debug)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A column that holds something else than it was declared for.
const UNEXPECTED: StoreError = StoreError::Corrupt("of another type");

/// Begins a statement.
pub(crate) fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

// === impl Statement ===

impl Statement {
    /// Gives the next placeholder its value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }
}

macro_rules! values {
    ($($from:ty => $kind:ident;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind(Some(value.into()))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$kind(value.map(Into::into))
            }
        }
    )*};
}

values! {
    i64 => Integer;
    String => Text;
    &'static str => Text;
    Vec<u8> => Bytes;
}

/// Runs a statement; says how many rows it changed.
pub(crate) async fn run<S: Source>(source: &mut S, statement: Statement) -> Result<u64, StoreError> {
    let done = source.connection().await?.run(&statement).await;
    settled(source, done)
}

/// Runs a query for at most one row.
pub(crate) async fn one<S: Source>(source: &mut S, statement: Statement) -> Result<Option<Row>, StoreError> {
    let found = source.connection().await?.one(&statement).await;
    settled(source, found)
}

/// Runs a query for all its rows; every query has a limit or a bound by its nature.
pub(crate) async fn all<S: Source>(source: &mut S, statement: Statement) -> Result<Vec<Row>, StoreError> {
    let found = source.connection().await?.all(&statement).await;
    settled(source, found)
}

fn settled<S: Source, T>(source: &mut S, done: Result<T, Failure>) -> Result<T, StoreError> {
    done.map_err(|failure| {
        let error = StoreError::from(failure);
        source.failed(&error);
        error
    })
}

/// A time as it is stored.
pub(crate) const fn ms(time: Timestamp) -> i64 {
    time.unix_ms()
}

/// A count as it is stored.
pub(crate) fn count(value: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Range(what))
}

/// Columns of a row, by position, read into our types.
pub(crate) struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) const fn of(row: &'r Row) -> Self {
        Self { row, next: 0 }
    }

    fn take(&mut self) -> &'r Cell {
        let at = self.next;
        self.next += 1;
        self.row.0.get(at).unwrap_or(&Cell::Null)
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.text_or_none()?.ok_or(UNEXPECTED)
    }

    pub(crate) fn text_or_none(&mut self) -> Result<Option<String>, StoreError> {
        match self.take() {
            Cell::Text(text) => Ok(Some(text.clone())),
            Cell::Null => Ok(None),
            Cell::Integer(_) | Cell::Bytes(_) => Err(UNEXPECTED),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.bytes_or_none()?.ok_or(UNEXPECTED)
    }

    pub(crate) fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.take() {
            Cell::Bytes(bytes) => Ok(Some(bytes.clone())),
            Cell::Null => Ok(None),
            Cell::Integer(_) | Cell::Text(_) => Err(UNEXPECTED),
        }
    }

    fn integer_or_none(&mut self) -> Result<Option<i64>, StoreError> {
        match self.take() {
            Cell::Integer(value) => Ok(Some(*value)),
            Cell::Null => Ok(None),
            Cell::Text(_) | Cell::Bytes(_) => Err(UNEXPECTED),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<i64, StoreError> {
        self.integer_or_none()?.ok_or(UNEXPECTED)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.integer()? != 0)
    }

    pub(crate) fn count(&mut self, what: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.integer()?).map_err(|_| StoreError::Corrupt(what))
    }

    pub(crate) fn small(&mut self, what: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.integer()?).map_err(|_| StoreError::Corrupt(what))
    }

    pub(crate) fn byte_or_none(&mut self, what: &'static str) -> Result<Option<u8>, StoreError> {
        let value = self.integer_or_none()?;
        value.map(|value| u8::try_from(value).map_err(|_| StoreError::Corrupt(what))).transpose()
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.integer().map(Timestamp::from_unix_ms)
    }

    pub(crate) fn time_or_none(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.integer_or_none()?.map(Timestamp::from_unix_ms))
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, what: &'static str) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|_| StoreError::Corrupt(what))
    }

    pub(crate) fn parsed_or_none<T: FromStr>(&mut self, what: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(what))).transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(&self.text()?).map_err(|_| StoreError::Corrupt(what))
    }

    pub(crate) fn json_or_none<T: serde::de::DeserializeOwned>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text = self.text_or_none()?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Corrupt(what))).transpose()
    }

    pub(crate) fn digest(&mut self, what: &'static str) -> Result<Digest, StoreError> {
        let bytes = self.bytes()?.try_into().map_err(|_| StoreError::Corrupt(what))?;
        Ok(Digest::from_bytes(bytes))
    }

    pub(crate) fn digest_or_none(&mut self, what: &'static str) -> Result<Option<Digest>, StoreError> {
        let Some(bytes) = self.bytes_or_none()? else { return Ok(None) };
        let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt(what))?;
        Ok(Some(Digest::from_bytes(bytes)))
    }
}

/// Writes a value as JSON text.
pub(crate) fn json_text<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Range(what))
}
