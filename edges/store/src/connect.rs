//! Connections: the page cipher first, then how durable and how large.

use crate::config::Database;
use crate::connection::{Connection, Failure};
use crate::error::OpenError;
use crate::link::Link;
use crate::sql::{Columns, sql};
use rusqlite::OpenFlags;
use secrecy::ExposeSecret as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use terms::KeyBytes;
use zeroize::Zeroizing;

/// The first bytes of a SQLite file without encryption (sqlite.org/fileformat.html, section 1.3).
const PLAINTEXT_MAGIC: &[u8] = b"SQLite format 3\0";

/// Bytes of a page; the first one says whether the key fits.
const PAGE: u64 = 4_096;

/// Most statements that a connection keeps prepared: every text of this crate, with room.
const STATEMENTS_MAX: usize = 256;

/// What the two engines do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    SqlCipher,
    Postgres,
}

impl Engine {
    /// The statement that begins a writing transaction.
    pub(crate) const fn begin(self) -> &'static str {
        match self {
            Self::SqlCipher => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }
}

/// How to connect: readers and the writer alike.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Target>);

enum Target {
    File { path: PathBuf, key: KeyBytes },
    Server { options: Box<PgConnectOptions>, link: Link },
}

impl Connector {
    /// Reads a configuration, before anything is opened.
    pub(crate) fn new(database: &Database) -> Result<Self, OpenError> {
        let target = match database {
            Database::File { path, key } => {
                check_file(path)?;
                Target::File { path: path.clone(), key: key.clone() }
            }
            Database::Postgres { url } => {
                let url = url.expose_secret();
                if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                    return Err(OpenError::Url);
                }
                let options: PgConnectOptions = url.parse().map_err(|_| OpenError::Url)?;
                let options = options.application_name("palisade").disable_statement_logging();
                Target::Server { link: Link::of(&options)?, options: Box::new(options) }
            }
        };
        Ok(Self(Arc::new(target)))
    }

    pub(crate) fn engine(&self) -> Engine {
        match self.0.as_ref() {
            Target::File { .. } => Engine::SqlCipher,
            Target::Server { .. } => Engine::Postgres,
        }
    }

    /// Opens a connection that may write.
    pub(crate) async fn writer(&self) -> Result<Connection, Failure> {
        match self.0.as_ref() {
            Target::File { path, key } => {
                let file = open(path, key).map_err(Failure::Sqlite)?;
                Ok(Connection::File(file))
            }
            Target::Server { options, link } => {
                let server = options.connect().await.map_err(Failure::Postgres)?;
                let mut connection = Connection::Server(Box::new(server));
                link.check(&mut connection).await?;
                connection.batch(POSTGRES_SETTINGS).await?;
                Ok(connection)
            }
        }
    }

    /// Opens a connection that may not: a reader that writes is a defect, and the engine refuses it.
    pub(crate) async fn reader(&self) -> Result<Connection, Failure> {
        let mut connection = self.writer().await?;
        let read_only = match self.engine() {
            Engine::SqlCipher => "PRAGMA query_only = ON",
            Engine::Postgres => "SET default_transaction_read_only = on",
        };
        connection.batch(read_only).await?;
        Ok(connection)
    }
}

/// SQLite calls itself initialised before its extension, the cipher, is (sqlite3_initialize, SQLITE_EXTRA_INIT): of
/// threads that open a first file at the same time, one would find no cipher.
static CIPHER: Once = Once::new();

/// Opens a file with its key. The key is raw, so that opening costs no derivation.
fn open(path: &Path, key: &KeyBytes) -> rusqlite::Result<rusqlite::Connection> {
    CIPHER.call_once(|| drop(rusqlite::Connection::open_in_memory()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = rusqlite::Connection::open_with_flags(path, flags)?;
    // Errors are ours to tell; the library would print them to whatever terminal there is.
    file.execute_batch("PRAGMA cipher_log_level = NONE")?;
    let hex = Zeroizing::new(hex::encode(key.expose()));
    file.execute_batch(&Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", hex.as_str())))?;
    file.execute_batch(PAGE_CIPHER)?;
    for setting in SQLCIPHER_SETTINGS {
        file.execute_batch(setting)?;
    }
    file.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(file)
}

/// Each page is AES-256-CBC under HMAC-SHA-256, which processors compute themselves; the library's own choice, SHA-512,
/// was a fifth of an execution's processor time.
pub const PAGE_CIPHER: &str = "PRAGMA cipher_hmac_algorithm = HMAC_SHA256";

/// For how long SQLite waits for another process that writes.
pub(crate) const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 10000";

const SQLCIPHER_SETTINGS: &[&str] = &[
    // The first to read the file: it fails here if the key is wrong.
    "SELECT count(*) FROM sqlite_master",
    BUSY_TIMEOUT,
    "PRAGMA journal_mode = WAL",
    // An acknowledged write is on disk, also after a power failure.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    // Pages: a checkpoint costs two more syncs, so there is one every 16 MiB rather than every 4.
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 33554432",
    // KiB: the pages that every write touches; the system caches the rest, encrypted.
    "PRAGMA cache_size = -4000",
];

/// Writers take turns at one row: neither a hung replica nor a lost network may hold it for ever.
const POSTGRES_SETTINGS: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'";

/// Opens a first connection and says in our words what is wrong with it.
pub(crate) async fn preflight(connector: &Connector, database: &Database) -> Result<Connection, OpenError> {
    let failed = |failure: Failure| open_error(&failure, database);
    let mut connection = connector.writer().await.map_err(failed)?;
    if connector.engine() == Engine::SqlCipher {
        let version = connection.one(&sql("PRAGMA cipher_version")).await.map_err(failed)?;
        version.and_then(|row| Columns::of(&row).text().ok()).ok_or(OpenError::NoCipher)?;
        let mode = connection.one(&sql("PRAGMA journal_mode")).await.map_err(failed)?;
        if mode.and_then(|row| Columns::of(&row).text().ok()).as_deref() != Some("wal") {
            let reason = "its medium keeps no write-ahead log; use a local disk";
            return Err(OpenError::Database(reason.to_owned()));
        }
    }
    Ok(connection)
}

/// Makes the file if there is none, for its owner alone; otherwise looks whether it can be one of ours at all.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().filter(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| OpenError::NoFolder(path.to_owned()))?;
    if !host::files::is_writable(folder) {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let not_ours = |reason| Err(OpenError::NotADatabase { path: path.to_owned(), reason });
    if length(path) == 0 && length(&log_of(path)) > 0 {
        // The engine would throw the log away and begin anew.
        return not_ours("it is empty or gone, but the log beside it is not");
    }
    let unusable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => OpenError::DiskFull,
        _ => OpenError::ReadOnly(path.to_owned()),
    };
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(unusable)?;
    let mut head = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 16), &mut head).map_err(unusable)?;
    if head == PLAINTEXT_MAGIC {
        return not_ours("it is not encrypted");
    }
    // The engine would take less than a page for an empty file and begin anew. A log beside it may still
    // hold what is missing: it is written first.
    if (1..PAGE).contains(&length(path)) && length(&log_of(path)) == 0 {
        return not_ours("it is cut short");
    }
    Ok(())
}

fn open_error(failure: &Failure, database: &Database) -> OpenError {
    let Database::File { path, .. } = database else {
        if let Failure::OldTls(spoken) = failure {
            return OpenError::OldTls(spoken.clone());
        }
        return OpenError::Unreachable(failure.to_string());
    };
    let not_ours = |reason| OpenError::NotADatabase { path: path.clone(), reason };
    match failure.sqlite_code() {
        Some(5 | 6) => OpenError::Locked,
        Some(8 | 14) => OpenError::ReadOnly(path.clone()),
        Some(11) => not_ours("it is cut short or damaged"),
        Some(13) => OpenError::DiskFull,
        // SQLITE_NOTADB: with a cipher, a first page that does not decrypt.
        Some(26) => OpenError::WrongKey(path.clone()),
        Some(_) | None => OpenError::Database(failure.to_string()),
    }
}

/// Where SQLite keeps a file's write-ahead log (sqlite.org/walformat.html).
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}
