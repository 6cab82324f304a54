//! The database: SQLCipher by default, PostgreSQL by URL.
