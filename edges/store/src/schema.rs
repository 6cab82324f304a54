//! Migrations: forward only, each once, none edited afterwards.

use crate::connect::Engine;
use crate::error::{OpenError, StoreError};
use crate::sql::Columns;
use sqlx::AnyConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use terms::Digest;

/// Every migration, in order; the first has version 1.
pub(crate) const MIGRATIONS: &[&str] = &[include_str!("schema/0001_first.sql")];

const HISTORY: &str =
    "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, digest TEXT NOT NULL)";

/// Brings the schema to this release's version, or refuses a database that it does not know.
pub(crate) async fn migrate(connection: &mut AnyConnection, engine: Engine) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| match StoreError::from(error) {
        StoreError::DiskFull => OpenError::DiskFull,
        other => OpenError::Database(other.to_string()),
    };
    let mut tx = connection.begin().await.map_err(failed)?;
    if engine == Engine::Postgres {
        // Replicas that start together take turns.
        tx.execute("SELECT pg_advisory_xact_lock(7266279)").await.map_err(failed)?;
    }
    tx.execute(HISTORY).await.map_err(failed)?;
    let rows = tx.fetch_all("SELECT version, digest FROM schema_migrations ORDER BY version").await;
    let rows = rows.map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut applied = 0_usize;
    for row in &rows {
        let mut columns = Columns::of(row);
        let corrupt = |e: StoreError| OpenError::Database(e.to_string());
        let (version, digest) = (columns.integer().map_err(corrupt)?, columns.text().map_err(corrupt)?);
        let Some(text) = MIGRATIONS.get(applied) else {
            let found = known.max(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            return Err(OpenError::NewerSchema { found, known });
        };
        if Digest::sha256(text.as_bytes()).to_string() != digest {
            return Err(OpenError::EditedSchema(version));
        }
        applied += 1;
    }
    for (at, text) in MIGRATIONS.iter().enumerate().skip(applied) {
        for statement in statements(text, engine) {
            tx.execute(AssertSqlSafe(statement)).await.map_err(failed)?;
        }
        let version = i64::try_from(at + 1).unwrap_or(i64::MAX);
        let note = sqlx::query("INSERT INTO schema_migrations (version, digest) VALUES ($1, $2)")
            .bind(version)
            .bind(Digest::sha256(text.as_bytes()).to_string());
        note.execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
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

/// A migration's statements in the words of one engine.
fn statements(text: &str, engine: Engine) -> Vec<String> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
    let translated = words(engine).iter().fold(code, |code, (ours, theirs)| code.replace(ours, theirs));
    translated.split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}
