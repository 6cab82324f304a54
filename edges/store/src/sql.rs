//! Reading and writing rows: what both engines have in common.

use crate::error::StoreError;
use crate::keys::{Cached, Keys, OwnerKeys};
use core::str::FromStr;
use sqlx::AnyConnection;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _};
use std::sync::Arc;
use terms::{Digest, Timestamp};
use vault::Owner;

/// Where statements run: a reader's connection, or the writer's inside its transaction.
pub trait Source: Send {
    /// The connection, ready for a statement.
    #[doc(hidden)]
    fn connection(&mut self) -> impl Future<Output = Result<&mut AnyConnection, StoreError>> + Send;
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

/// A statement with its arguments.
pub(crate) type Statement<'q> = Query<'q, Any, AnyArguments>;

/// Begins a statement.
pub(crate) fn sql(text: &'static str) -> Statement<'static> {
    sqlx::query(text)
}

/// Runs a statement; says how many rows it changed.
pub(crate) async fn run<S: Source>(source: &mut S, statement: Statement<'_>) -> Result<u64, StoreError> {
    let done = statement.execute(source.connection().await?).await;
    settled(source, done).map(|done| done.rows_affected())
}

/// Runs a query for at most one row.
pub(crate) async fn one<S: Source>(
    source: &mut S,
    statement: Statement<'_>,
) -> Result<Option<AnyRow>, StoreError> {
    let found = statement.fetch_optional(source.connection().await?).await;
    settled(source, found)
}

/// Runs a query for all its rows; every query has a limit or a bound by its nature.
pub(crate) async fn all<S: Source>(
    source: &mut S,
    statement: Statement<'_>,
) -> Result<Vec<AnyRow>, StoreError> {
    let found = statement.fetch_all(source.connection().await?).await;
    settled(source, found)
}

fn settled<S: Source, T>(source: &mut S, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
    done.map_err(|error| {
        let error = StoreError::from(error);
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
    row: &'r AnyRow,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) const fn of(row: &'r AnyRow) -> Self {
        Self { row, next: 0 }
    }

    fn take<T>(&mut self) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
    {
        let at = self.next;
        self.next += 1;
        Ok(self.row.try_get(at)?)
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.take()
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.take()
    }

    pub(crate) fn bytes_or_none(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.take()
    }

    pub(crate) fn integer(&mut self) -> Result<i64, StoreError> {
        self.take()
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

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.integer().map(Timestamp::from_unix_ms)
    }

    pub(crate) fn time_or_none(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_unix_ms))
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, what: &'static str) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|_| StoreError::Corrupt(what))
    }

    pub(crate) fn parsed_or_none<T: FromStr>(&mut self, what: &'static str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.take()?;
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
        let text: Option<String> = self.take()?;
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
