//! Connections: the page cipher first, then how durable and how large.

use crate::config::Database;
use crate::error::{OpenError, StoreError};
use libsqlite3_sys as _;
use secrecy::ExposeSecret as _;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use std::path::Path;
use std::time::Duration;
use terms::KeyBytes;
use zeroize::Zeroizing;

/// The first bytes of a SQLite file without encryption (sqlite.org/fileformat.html, section 1.3).
const PLAINTEXT_MAGIC: &[u8] = b"SQLite format 3\0";

/// How long a reader waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// What the two engines do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    SqlCipher,
    Postgres,
}

/// How to connect: readers and the writer alike.
#[derive(Clone)]
pub(crate) struct Connector {
    options: AnyConnectOptions,
    setup: Option<Zeroizing<String>>,
}

impl Connector {
    /// Reads a configuration, before anything is opened.
    pub(crate) fn new(database: &Database) -> Result<(Self, Engine), OpenError> {
        sqlx::any::install_default_drivers();
        let (url, setup, engine) = match database {
            Database::File { path, key } => {
                check_file(path)?;
                let mut url = String::from("sqlite://");
                url.push_str(&escaped(path));
                url.push_str("?mode=rwc");
                (url, Some(setup(key)), Engine::SqlCipher)
            }
            Database::Postgres { url } => {
                let url = url.expose_secret();
                if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                    return Err(OpenError::Url);
                }
                (url.to_owned(), None, Engine::Postgres)
            }
        };
        let options: AnyConnectOptions = url.parse().map_err(|_| OpenError::Url)?;
        // At debug level the library would log the statement that holds the key.
        Ok((Self { options: options.disable_statement_logging(), setup }, engine))
    }

    /// Opens one connection.
    pub(crate) async fn connect(&self) -> Result<AnyConnection, sqlx::Error> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        if let Some(setup) = &self.setup {
            prepare(&mut connection, setup).await?;
        }
        Ok(connection)
    }

    /// Opens the readers' pool; connections are made when they are needed.
    pub(crate) fn pool(&self, readers: u32) -> AnyPool {
        let setup = self.setup.clone();
        AnyPoolOptions::new()
            .max_connections(readers.max(1))
            .acquire_timeout(ACQUIRE)
            .after_connect(move |connection, _| {
                let setup = setup.clone();
                Box::pin(async move {
                    match setup {
                        Some(setup) => prepare(connection, &setup).await,
                        None => Ok(()),
                    }
                })
            })
            .connect_lazy_with(self.options.clone())
    }
}

/// Opens a first connection and says in our words what is wrong with it.
pub(crate) async fn preflight(
    connector: &Connector,
    database: &Database,
) -> Result<AnyConnection, OpenError> {
    let mut connection = connector.connect().await.map_err(|error| open_error(&error, database))?;
    if let Database::File { .. } = database {
        let version = connection.fetch_optional("PRAGMA cipher_version").await;
        let version = version.map_err(|error| open_error(&error, database))?;
        version.and_then(|row| row.try_get::<String, _>(0).ok()).ok_or(OpenError::NoCipher)?;
    }
    Ok(connection)
}

/// The statements that a SQLCipher connection begins with. The key is raw, so that opening costs no derivation.
fn setup(key: &KeyBytes) -> Zeroizing<String> {
    let hex = Zeroizing::new(hex::encode(key.expose()));
    Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", hex.as_str()))
}

async fn prepare(connection: &mut AnyConnection, setup: &str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::AssertSqlSafe(setup.to_owned())).await?;
    for pragma in [
        // The first to read the file: it fails here if the key is wrong.
        "SELECT count(*) FROM sqlite_master",
        "PRAGMA busy_timeout = 10000",
        "PRAGMA journal_mode = WAL",
        // An acknowledged write is on disk, also after a power failure.
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA secure_delete = ON",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -8000",
    ] {
        connection.execute(pragma).await?;
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().filter(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| OpenError::NoFolder(path.to_owned()))?;
    if !host::files::is_writable(folder) {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let Ok(file) = std::fs::File::open(path) else { return Ok(()) };
    let mut head = Vec::new();
    let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, 16), &mut head);
    read.map_err(|_| OpenError::ReadOnly(path.to_owned()))?;
    let not_ours = |reason| Err(OpenError::NotADatabase { path: path.to_owned(), reason });
    match head.len() {
        0 => Ok(()),
        16 if head == PLAINTEXT_MAGIC => not_ours("it is not encrypted"),
        16 => Ok(()),
        _ => not_ours("it is cut short"),
    }
}

fn open_error(error: &sqlx::Error, database: &Database) -> OpenError {
    match (StoreError::code_of(error).as_deref(), database) {
        // SQLITE_NOTADB: with a cipher, a page that does not decrypt.
        (Some("26"), Database::File { path, .. }) => OpenError::WrongKey(path.clone()),
        (Some("8" | "14"), Database::File { path, .. }) => OpenError::ReadOnly(path.clone()),
        (Some("13" | "53100"), _) => OpenError::DiskFull,
        (Some("5" | "6"), _) => OpenError::Locked,
        (_, Database::Postgres { .. }) => OpenError::Unreachable(error.to_string()),
        (_, Database::File { .. }) => OpenError::Database(error.to_string()),
    }
}

/// A path inside a URL.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}
