//! What can go wrong, each with its next step, and the engines' codes behind it.

use crate::connection::Failure;
use std::path::PathBuf;

/// Says why the store does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The page key does not open the file.
    #[error(
        "the key does not open `{0}`: restore the key file that belongs to it, or restore both from a backup"
    )]
    WrongKey(PathBuf),
    /// The root key does not open the stored tenant keys.
    #[error("the stored keys belong to another root key: restore the root key file of this database")]
    WrongRoot,
    /// The file is cut short, unencrypted, or something else altogether.
    #[error(
        "`{path}` is not one of our databases ({reason}): restore it from a backup, or move it away to start anew"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        reason: &'static str,
    },
    /// A newer release has been here.
    #[error("the database has schema {found}, this release knows {known}: start the newer release again")]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version that this release knows.
        known: i64,
    },
    /// A migration in the database is not the one in this binary.
    #[error("schema {0} of the database differs from this release's: start the release that made it")]
    EditedSchema(i64),
    /// SQLite without encryption was linked in.
    #[error("this build has no page cipher and would write plaintext: install a release build")]
    NoCipher,
    /// The file or its folder cannot be written.
    #[error("`{0}` cannot be written: check owner, mode and mount of the file and its folder")]
    ReadOnly(PathBuf),
    /// The folder is not there.
    #[error("the folder of `{0}` is not there: create it first")]
    NoFolder(PathBuf),
    /// No space is left.
    #[error("the database's disk is full: free space and start again")]
    DiskFull,
    /// Another process holds the database.
    #[error("the database is locked by another process: stop it first")]
    Locked,
    /// The server cannot be reached.
    #[error(
        "the database server cannot be reached ({0}): check its address, its credentials and that it runs"
    )]
    Unreachable(String),
    /// The server on another host need not prove who it is.
    #[error(
        "`{0}` is another host, whose server must prove its name: add `sslmode=verify-full` to the database URL"
    )]
    UnverifiedServer(String),
    /// The server on another host does not speak TLS 1.3.
    #[error("the database server speaks {0}, and data go to another host over TLS 1.3 only: enable it there")]
    OldTls(String),
    /// The URL is not one of PostgreSQL.
    #[error("the database URL is not understood: it begins with `postgres://`")]
    Url,
    /// Anything else that the engine said.
    #[error("the database said: {0}")]
    Database(String),
}

/// Says why a read or write failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The permit does not reach that far.
    #[error("the permit does not reach these data")]
    Denied,
    /// There is no such row.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Something of that name or id exists.
    #[error("such a {0} exists already")]
    Conflict(&'static str),
    /// Not a cursor that this list gave.
    #[error("`{0}` is not a cursor of this list: begin at the first page")]
    Cursor(String),
    /// A value that the database cannot hold.
    #[error("`{0}` is out of range")]
    Range(&'static str),
    /// A column, or the file itself, holds what cannot be read.
    #[error("`{0}` cannot be read: restore the database from a backup")]
    Corrupt(&'static str),
    /// A sealed value or key does not open.
    #[error("a sealed {what} does not open ({source}): restore the database from a backup")]
    Sealed {
        /// Which value.
        what: &'static str,
        /// Why.
        source: vault::OpenError,
    },
    /// The owner's keys are not there: it was deleted.
    #[error("the keys of these data were destroyed")]
    KeyDestroyed,
    /// The kernel gave no entropy.
    #[error("the kernel gave no entropy")]
    Entropy,
    /// No space is left; writing goes on by itself once there is.
    #[error("the database's disk is full: free space; writing goes on by itself")]
    DiskFull,
    /// The file or its folder became read-only.
    #[error("the database cannot be written: check owner, mode and mount of its folder")]
    ReadOnly,
    /// Another process held the database for too long.
    #[error("the database is locked by another process: stop it")]
    Locked,
    /// The server or the disk did not answer. Whether the last write is there is unknown; it is safe to repeat.
    #[error("the database cannot be reached ({0}): check that it runs; the connection comes back by itself")]
    Unreachable(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The closure of a write panicked; nothing of it was kept.
    #[error("the write failed by a defect of this program; nothing of it was kept")]
    Panicked,
    /// Anything else that the engine said.
    #[error("the database said: {0}")]
    Database(String),
}

/// Says why a write was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The closure said no; nothing of it was kept.
    #[error("{0}")]
    Work(E),
    /// The store could not keep it.
    #[error("{0}")]
    Store(StoreError),
}

// === impl OpenError ===

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Locked => Self::Locked,
            StoreError::Unreachable(why) => Self::Unreachable(why),
            other => Self::Database(other.to_string()),
        }
    }
}

// === impl StoreError ===

impl StoreError {
    /// Whether the transaction as a whole is lost, not just the statement: SQLite may have rolled it back by
    /// itself (sqlite.org/lang_transaction.html, section 3.1), and a lost connection always has.
    pub(crate) const fn is_fatal(&self) -> bool {
        match self {
            Self::DiskFull | Self::ReadOnly | Self::Locked | Self::Unreachable(_) | Self::Closed => true,
            Self::Denied
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::Cursor(_)
            | Self::Range(_)
            | Self::Corrupt(_)
            | Self::Sealed { .. }
            | Self::KeyDestroyed
            | Self::Entropy
            | Self::Panicked
            | Self::Database(_) => false,
        }
    }
}

impl Failure {
    /// SQLite's primary result code (sqlite.org/rescode.html): the low byte of the extended one.
    pub(crate) const fn sqlite_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(said, _)) => Some(said.extended_code & 0xff),
            Self::Sqlite(_) | Self::Postgres(_) | Self::OldTls(_) | Self::Column => None,
        }
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Postgres(error) => error.fmt(f),
            Self::OldTls(spoken) => write!(f, "the server speaks {spoken}, not TLS 1.3"),
            Self::Column => f.write_str("a column of an unknown type"),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let known = match &failure {
            Failure::Sqlite(rusqlite::Error::SqliteFailure(said, _)) => of_sqlite(said.extended_code),
            Failure::Postgres(sqlx::Error::Database(said)) => of_sqlstate(&said.code().unwrap_or_default()),
            Failure::Postgres(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                Some(Self::Unreachable(failure.to_string()))
            }
            Failure::OldTls(_) => Some(Self::Unreachable(failure.to_string())),
            Failure::Sqlite(_) | Failure::Postgres(_) | Failure::Column => None,
        };
        known.unwrap_or_else(|| Self::Database(failure.to_string()))
    }
}

/// Reads a SQLite result code (sqlite.org/rescode.html).
fn of_sqlite(extended: i32) -> Option<StoreError> {
    match (extended & 0xff, extended) {
        // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE.
        (_, 1_555 | 2_067) => Some(StoreError::Conflict("row")),
        // SQLITE_CONSTRAINT_FOREIGNKEY: the tenant was deleted meanwhile.
        (_, 787) => Some(StoreError::NotFound("owner")),
        (5 | 6, _) => Some(StoreError::Locked),
        (8, _) => Some(StoreError::ReadOnly),
        (13, _) => Some(StoreError::DiskFull),
        // Damaged pages: nothing comes back by itself.
        (11 | 26, _) => Some(StoreError::Corrupt("pages of the file")),
        // No memory, interrupted, input or output failed, cannot be opened.
        (7 | 9 | 10 | 14, _) => Some(StoreError::Unreachable(format!("SQLite code {extended}"))),
        _ => None,
    }
}

/// Reads a SQLSTATE (PostgreSQL, appendix A).
fn of_sqlstate(code: &str) -> Option<StoreError> {
    match (code, code.get(..2)) {
        ("23505", _) => Some(StoreError::Conflict("row")),
        ("23503", _) => Some(StoreError::NotFound("owner")),
        ("25006", _) => Some(StoreError::ReadOnly),
        ("53100", _) => Some(StoreError::DiskFull),
        ("55P03", _) => Some(StoreError::Locked),
        (_, Some("08" | "28" | "3D" | "53" | "57" | "58")) => {
            Some(StoreError::Unreachable(format!("SQLSTATE {code}")))
        }
        _ => None,
    }
}

// === impl WriteError ===

impl<E> From<StoreError> for WriteError<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError<Self>> for StoreError {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::Work(error) | WriteError::Store(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_engines_say_the_same_things() {
        assert_eq!(of_sqlite(13), Some(StoreError::DiskFull));
        assert_eq!(of_sqlstate("53100"), Some(StoreError::DiskFull));
        assert_eq!(of_sqlite(1_032), Some(StoreError::ReadOnly), "SQLITE_READONLY_DBMOVED");
        assert_eq!(of_sqlstate("25006"), Some(StoreError::ReadOnly));
        assert_eq!(of_sqlite(517), Some(StoreError::Locked), "SQLITE_BUSY_SNAPSHOT");
        assert_eq!(of_sqlstate("55P03"), Some(StoreError::Locked));
        assert_eq!(of_sqlite(2_067), Some(StoreError::Conflict("row")));
        assert_eq!(of_sqlstate("23505"), Some(StoreError::Conflict("row")));
        assert_eq!(of_sqlite(787), Some(StoreError::NotFound("owner")));
        assert_eq!(of_sqlstate("23503"), Some(StoreError::NotFound("owner")));
        assert!(of_sqlstate("57P01").unwrap().is_fatal(), "the server shuts down");
        assert!(of_sqlite(778).unwrap().is_fatal(), "SQLITE_IOERR_WRITE");
        assert_eq!(of_sqlite(267), Some(StoreError::Corrupt("pages of the file")), "SQLITE_CORRUPT_VTAB");
        assert_eq!(of_sqlite(1), None);
        assert_eq!(of_sqlite(275), None, "SQLITE_CONSTRAINT_CHECK");
        assert_eq!(of_sqlstate("42601"), None);
    }
}
