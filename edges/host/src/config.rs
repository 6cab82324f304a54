//! Configuration files: TOML, bounded, and wrong ones named by line and column.

use crate::files::{self, FileError};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The largest configuration file: a thousand tenants' worth of settings, far below what would cost memory.
pub const MAX_BYTES: usize = 1 << 20;

/// Says why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not UTF-8.
    #[error("`{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// It does not say what a configuration must say.
    #[error("`{}` line {line}, column {column}: {message}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong; never a value from the file.
        message: String,
    },
}

/// Reads a configuration from `path`. `T` refuses unknown keys by `deny_unknown_fields`.
///
/// # Errors
/// [`ConfigError`] when the file cannot be read, is larger than [`MAX_BYTES`], or does not fit `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let bytes = files::read_bounded(path, MAX_BYTES)?;
    let text = core::str::from_utf8(&bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
    toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        ConfigError::Invalid { path: path.to_owned(), line, column, message: error.message().to_owned() }
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        port: u16,
    }

    #[test]
    fn a_configuration_reads_into_its_type() {
        assert_eq!(loaded("port = 5678\n").unwrap().port, 5678);
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_column() {
        let error = loaded("port = 1\n  prot = 2\n").unwrap_err();
        let ConfigError::Invalid { line, column, message, .. } = error else { panic!("{error}") };
        assert_eq!((line, column), (2, 3));
        assert!(message.contains("prot"), "{message}");
    }

    #[test]
    fn a_wrong_type_a_broken_line_and_a_huge_file_are_refused() {
        assert!(matches!(loaded("port = \"x\""), Err(ConfigError::Invalid { line: 1, column: 8, .. })));
        assert!(matches!(loaded("port ="), Err(ConfigError::Invalid { .. })));
        assert!(matches!(
            loaded(&"#".repeat(MAX_BYTES + 1)),
            Err(ConfigError::File(FileError::TooLarge { .. }))
        ));
        assert!(matches!(loaded_bytes(b"port = 1 # \xff"), Err(ConfigError::NotText(_))));
    }

    fn loaded(text: &str) -> Result<Sample, ConfigError> {
        loaded_bytes(text.as_bytes())
    }

    fn loaded_bytes(bytes: &[u8]) -> Result<Sample, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("palisade.toml");
        std::fs::write(&path, bytes).unwrap();
        load(&path)
    }
}
