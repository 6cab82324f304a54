//! One connection, to either engine: the same statements, the same rows.
//!
//! SQLite runs on the caller's thread: a statement costs microseconds, a hand-over to another thread and back ten
//! times that. The writer has a thread of its own; readers ask for bounded rows.

use crate::sql::{Cell, Row, Statement, Value};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection as _, PgConnection, Postgres, TypeInfo as _,
};
use sqlx::{Executor as _, Row as _};

/// A connection.
pub enum Connection {
    /// To a SQLCipher file.
    File(rusqlite::Connection),
    /// To a PostgreSQL server.
    Server(Box<PgConnection>),
}

/// What an engine said no with.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Postgres(sqlx::Error),
    /// A server on another host that speaks this, which is not TLS 1.3.
    OldTls(String),
    /// A column of a type that no schema of ours has, or text that is not UTF-8.
    Column,
}

impl Connection {
    /// Runs a statement; says how many rows it changed.
    pub(crate) async fn run(&mut self, statement: &Statement) -> Result<u64, Failure> {
        match self {
            Self::File(file) => Ok(on_file(file, statement, |bound| bound.raw_execute())? as u64),
            Self::Server(server) => {
                Ok(server.execute(on_server(statement)?).await.map_err(Failure::Postgres)?.rows_affected())
            }
        }
    }

    /// Runs a query for all its rows.
    pub(crate) async fn all(&mut self, statement: &Statement) -> Result<Vec<Row>, Failure> {
        match self {
            Self::File(file) => on_file(file, statement, |bound| rows(bound, usize::MAX)),
            Self::Server(server) => {
                let rows = server.fetch_all(on_server(statement)?).await.map_err(Failure::Postgres)?;
                rows.iter().map(read_row).collect()
            }
        }
    }

    /// Runs a query for its first row.
    pub(crate) async fn one(&mut self, statement: &Statement) -> Result<Option<Row>, Failure> {
        match self {
            Self::File(file) => Ok(on_file(file, statement, |bound| rows(bound, 1))?.pop()),
            Self::Server(server) => {
                let row = server.fetch_optional(on_server(statement)?).await.map_err(Failure::Postgres)?;
                row.map(|row| read_row(&row)).transpose()
            }
        }
    }

    /// Runs statements without values, and lets go of their rows.
    pub(crate) async fn batch(&mut self, statements: &str) -> Result<(), Failure> {
        match self {
            Self::File(file) => file.execute_batch(statements).map_err(Failure::Sqlite),
            Self::Server(server) => {
                let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
                server.execute(statements).await.map(drop).map_err(Failure::Postgres)
            }
        }
    }

    /// Whether the other side still answers.
    pub(crate) async fn answers(&mut self) -> bool {
        match self {
            // There is no other side.
            Self::File(_) => true,
            Self::Server(server) => server.ping().await.is_ok(),
        }
    }

    /// Closes it; a file is left whole and without a log.
    pub(crate) async fn close(self) {
        match self {
            Self::File(file) => drop(file),
            Self::Server(server) => drop(server.close().await),
        }
    }
}

// === SQLCipher ===

fn on_file<T>(
    file: &rusqlite::Connection,
    statement: &Statement,
    run: impl FnOnce(&mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<T>,
) -> Result<T, Failure> {
    let done = || {
        // `?1` is found by its number, `$1` by comparing names (sqlite.org/lang_expr.html, section 3).
        let mut bound = file.prepare_cached(&statement.text().replace('$', "?"))?;
        for (at, value) in (1..).zip(statement.values()) {
            bound.raw_bind_parameter(at, value)?;
        }
        run(&mut bound)
    };
    done().map_err(Failure::Sqlite)
}

fn rows(bound: &mut rusqlite::CachedStatement<'_>, most: usize) -> rusqlite::Result<Vec<Row>> {
    let columns = bound.column_count();
    let mut found = bound.raw_query();
    let mut rows = Vec::new();
    while rows.len() < most {
        let Some(row) = found.next()? else { break };
        let cell = |at| row.get::<_, Cell>(at);
        rows.push(Row((0..columns).map(cell).collect::<Result<_, _>>()?));
    }
    Ok(rows)
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Integer(value) => value.to_sql(),
            Self::Text(Some(text)) => text.to_sql(),
            Self::Bytes(Some(bytes)) => bytes.to_sql(),
            Self::Text(None) | Self::Bytes(None) => rusqlite::types::Null.to_sql(),
        }
    }
}

impl rusqlite::types::FromSql for Cell {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        use rusqlite::types::{FromSqlError, ValueRef};
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(value) => Ok(Self::Integer(value)),
            ValueRef::Text(value) => {
                let text = core::str::from_utf8(value).map_err(FromSqlError::other)?;
                Ok(Self::Text(text.to_owned()))
            }
            ValueRef::Blob(value) => Ok(Self::Bytes(value.to_vec())),
            ValueRef::Real(_) => Err(FromSqlError::InvalidType),
        }
    }
}

// === PostgreSQL ===

type OnServer = sqlx::query::Query<'static, Postgres, PgArguments>;

fn on_server(statement: &Statement) -> Result<OnServer, Failure> {
    let mut values = PgArguments::default();
    for value in statement.values() {
        let added = match value {
            Value::Integer(value) => values.add(*value),
            Value::Text(value) => values.add(value.as_deref()),
            Value::Bytes(value) => values.add(value.as_deref()),
        };
        added.map_err(|error| Failure::Postgres(sqlx::Error::Encode(error)))?;
    }
    Ok(sqlx::query_with(AssertSqlSafe(statement.text().to_owned()), values))
}

fn read_row(row: &PgRow) -> Result<Row, Failure> {
    let cell = |at: usize| {
        let kind = row.column(at).type_info().name();
        let failed = Failure::Postgres;
        Ok(match kind {
            "INT8" => row.try_get::<Option<i64>, _>(at).map_err(failed)?.map(Cell::Integer),
            "INT4" => row.try_get::<Option<i32>, _>(at).map_err(failed)?.map(|n| Cell::Integer(n.into())),
            "TEXT" | "VARCHAR" => row.try_get::<Option<String>, _>(at).map_err(failed)?.map(Cell::Text),
            "BYTEA" => row.try_get::<Option<Vec<u8>>, _>(at).map_err(failed)?.map(Cell::Bytes),
            "VOID" => None,
            _ => return Err(Failure::Column),
        }
        .unwrap_or(Cell::Null))
    };
    Ok(Row((0..row.len()).map(cell).collect::<Result<_, _>>()?))
}
