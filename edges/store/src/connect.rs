//! Connections: the page cipher first, then how durable and how large.

use crate::config::Database;
use crate::error::{OpenError, sqlite_code};
use libsqlite3_sys as _;
use secrecy::ExposeSecret as _;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use terms::KeyBytes;
use zeroize::Zeroizing;

/// The first bytes of a SQLite file without encryption (sqlite.org/fileformat.html, section 1.3).
const PLAINTEXT_MAGIC: &[u8] = b"SQLite format 3\0";

/// Bytes of a page; the first one says whether the key fits.
const PAGE: u64 = 4_096;

/// How long a reader waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);

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
pub(crate) struct Connector {
    engine: Engine,
    options: AnyConnectOptions,
    /// SQLCipher's first statement, which holds the key.
    unlock: Option<Zeroizing<String>>,
}

impl Connector {
    /// Reads a configuration, before anything is opened.
    pub(crate) fn new(database: &Database) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let (engine, url, unlock) = match database {
            Database::File { path, key } => {
                check_file(path)?;
                (Engine::SqlCipher, format!("sqlite://{}?mode=rw", escaped(path)), Some(unlock(key)))
            }
            Database::Postgres { url } => {
                let url = url.expose_secret();
                if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                    return Err(OpenError::Url);
                }
                (Engine::Postgres, url.to_owned(), None)
            }
        };
        let options: AnyConnectOptions = url.parse().map_err(|_| OpenError::Url)?;
        // At debug level the library would log the statement that holds the key.
        Ok(Self { engine, options: options.disable_statement_logging(), unlock })
    }

    pub(crate) const fn engine(&self) -> Engine {
        self.engine
    }

    /// Opens one connection.
    pub(crate) async fn connect(&self) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        self.prepare(&mut connection).await?;
        Ok(connection)
    }

    /// Opens the readers' pool; connections are made when they are needed.
    pub(crate) fn pool(&self, readers: u32) -> AnyPool {
        let connector = self.clone();
        AnyPoolOptions::new()
            .max_connections(readers.max(1))
            .acquire_timeout(ACQUIRE)
            // A file does not go away; asking it each time would double the cost of a look-up.
            .test_before_acquire(self.engine == Engine::Postgres)
            .after_connect(move |connection, _| {
                let connector = connector.clone();
                Box::pin(async move {
                    connector.prepare(connection).await?;
                    connection.execute(connector.read_only()).await.map(drop)
                })
            })
            .connect_lazy_with(self.options.clone())
    }

    async fn prepare(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        if let Some(unlock) = &self.unlock {
            // Errors are ours to tell; the library would print them to whatever terminal there is.
            connection.execute("PRAGMA cipher_log_level = NONE").await?;
            connection.execute(sqlx::AssertSqlSafe(unlock.as_str().to_owned())).await?;
        }
        let settings = match self.engine {
            Engine::SqlCipher => SQLCIPHER_SETTINGS,
            Engine::Postgres => POSTGRES_SETTINGS,
        };
        for setting in settings {
            connection.execute(*setting).await?;
        }
        Ok(())
    }

    /// A reader that writes is a defect: the engine refuses it.
    const fn read_only(&self) -> &'static str {
        match self.engine {
            Engine::SqlCipher => "PRAGMA query_only = ON",
            Engine::Postgres => "SET default_transaction_read_only = on",
        }
    }
}

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
    // KiB: the pages that every write touches; the system caches the rest, encrypted.
    "PRAGMA cache_size = -4000",
];

const POSTGRES_SETTINGS: &[&str] = &[
    // Writers take turns at one row: neither a hung replica nor a lost network may hold it for ever.
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '30s'",
];

/// Opens a first connection and says in our words what is wrong with it.
pub(crate) async fn preflight(
    connector: &Connector,
    database: &Database,
) -> Result<AnyConnection, OpenError> {
    let failed = |error: sqlx::Error| open_error(&error, database);
    let mut connection = connector.connect().await.map_err(failed)?;
    if connector.engine == Engine::SqlCipher {
        let version = connection.fetch_optional("PRAGMA cipher_version").await.map_err(failed)?;
        version.and_then(|row| row.try_get::<String, _>(0).ok()).ok_or(OpenError::NoCipher)?;
        let mode = connection.fetch_one("PRAGMA journal_mode").await.map_err(failed)?;
        if mode.try_get::<String, _>(0).map_err(failed)? != "wal" {
            let reason = "its medium keeps no write-ahead log; use a local disk";
            return Err(OpenError::Database(reason.to_owned()));
        }
    }
    Ok(connection)
}

/// The key is raw, so that opening costs no derivation.
fn unlock(key: &KeyBytes) -> Zeroizing<String> {
    let hex = Zeroizing::new(hex::encode(key.expose()));
    Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", hex.as_str()))
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

fn open_error(error: &sqlx::Error, database: &Database) -> OpenError {
    let Database::File { path, .. } = database else {
        return OpenError::Unreachable(error.to_string());
    };
    let not_ours = |reason| OpenError::NotADatabase { path: path.clone(), reason };
    match sqlite_code(error) {
        Some(5 | 6) => OpenError::Locked,
        Some(8 | 14) => OpenError::ReadOnly(path.clone()),
        Some(11) => not_ours("it is cut short or damaged"),
        Some(13) => OpenError::DiskFull,
        // SQLITE_NOTADB: with a cipher, a first page that does not decrypt.
        Some(26) => OpenError::WrongKey(path.clone()),
        Some(_) | None => OpenError::Database(error.to_string()),
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

/// A path inside a URL.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}
