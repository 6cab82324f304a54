//! Migrations: forward only, each once, none edited afterwards.

use crate::connect::Engine;
use crate::connection::{Connection, Failure};
use crate::error::{OpenError, StoreError};
use crate::sql::{Columns, sql};
use terms::Digest;

/// Every migration, in order; the first has version 1.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001_first.sql"),
    include_str!("schema/0002_plan_tokens.sql"),
    include_str!("schema/0003_networks.sql"),
];

const HISTORY: &str =
    "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, digest TEXT NOT NULL)";

/// Brings the schema to this release's version, or refuses a database that it does not know.
pub(crate) async fn migrate(connection: &mut Connection, engine: Engine) -> Result<(), OpenError> {
    let migrated = migrate_locked(connection, engine).await;
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.batch(end).await.map_err(failed);
    migrated.and(ended)
}

async fn migrate_locked(connection: &mut Connection, engine: Engine) -> Result<(), OpenError> {
    connection.batch(engine.begin()).await.map_err(failed)?;
    if engine == Engine::Postgres {
        // Replicas that start together take turns.
        connection.batch("SELECT pg_advisory_xact_lock(7266279)").await.map_err(failed)?;
    }
    connection.batch(HISTORY).await.map_err(failed)?;
    let applied = applied(connection).await?;
    for (at, text) in MIGRATIONS.iter().enumerate().skip(applied) {
        connection.batch(&translated(text, engine)).await.map_err(failed)?;
        let note = sql("INSERT INTO schema_migrations (version, digest) VALUES ($1, $2)")
            .bind(i64::try_from(at + 1).unwrap_or(i64::MAX))
            .bind(Digest::sha256(text.as_bytes()).to_string());
        connection.run(&note).await.map_err(failed)?;
    }
    Ok(())
}

/// How many of our migrations the database has; no other.
async fn applied(connection: &mut Connection) -> Result<usize, OpenError> {
    let query = sql("SELECT version, digest FROM schema_migrations ORDER BY version");
    let rows = connection.all(&query).await.map_err(failed)?;
    for (at, row) in rows.iter().enumerate() {
        let mut columns = Columns::of(row);
        let corrupt = |e: StoreError| OpenError::Database(e.to_string());
        let (version, digest) = (columns.integer().map_err(corrupt)?, columns.text().map_err(corrupt)?);
        let Some(text) = MIGRATIONS.get(at) else {
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            return Err(OpenError::NewerSchema { found: count(rows.len()), known: count(MIGRATIONS.len()) });
        };
        if Digest::sha256(text.as_bytes()).to_string() != digest {
            return Err(OpenError::EditedSchema(version));
        }
    }
    Ok(rows.len())
}

fn failed(failure: Failure) -> OpenError {
    StoreError::from(failure).into()
}

/// What our words are on each engine.
const fn words(engine: Engine) -> [(&'static str, &'static str); 4] {
    match engine {
        // `INTEGER PRIMARY KEY` is the row's own number there: no second tree (sqlite.org/rowidtable.html).
        Engine::SqlCipher => [
            (" BYTES", " BLOB"),
            ("CLUSTERED", "WITHOUT ROWID"),
            (" TEXT", " TEXT"),
            ("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY"),
        ],
        // Sorted by bytes whatever the server's locale, as SQLite does: cursors rely on it.
        Engine::Postgres => [
            (" BYTES", " BYTEA"),
            ("CLUSTERED", ""),
            (" TEXT", " TEXT COLLATE \"C\""),
            ("BIGINT PRIMARY KEY", "BIGINT PRIMARY KEY"),
        ],
    }
}

/// A migration in the words of one engine.
fn translated(text: &str, engine: Engine) -> String {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
    words(engine).iter().fold(code, |code, (ours, theirs)| code.replace(ours, theirs))
}
