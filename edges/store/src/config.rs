//! Where the data is, and how much the database may take.

use secrecy::SecretString;
use std::path::PathBuf;
use terms::KeyBytes;

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLCipher file. Its folder must exist and be writable, for the files that SQLite keeps beside it.
    File {
        /// The file; made if it is not there.
        path: PathBuf,
        /// The page key.
        key: KeyBytes,
    },
    /// A PostgreSQL server.
    Postgres {
        /// `postgres://user:password@host/database?sslmode=verify-full`.
        url: SecretString,
    },
}

/// How to open the store.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the data is.
    pub url: Database,
    /// Most connections that read at once; the writer has its own.
    pub readers: u32,
}

impl Config {
    /// Enough readers to keep a few cores busy, few enough to keep idle memory small.
    pub const READERS: u32 = 4;

    /// The configuration with the usual number of readers.
    #[must_use]
    pub const fn new(url: Database) -> Self {
        Self { url, readers: Self::READERS }
    }
}
