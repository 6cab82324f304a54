//! Operator tokens: the secret stays in its file, the control plane's configuration gets its digest.

use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output};
use host::files;
use std::path::{Path, PathBuf};
use terms::Token;

/// The largest token file.
const FILE_MAX: usize = 1_024;

/// Makes operator tokens for a control plane that is configured by hand
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Mints an operator token into a new file (0600) and prints its SHA-256 for the configuration
    #[command(after_help = "Examples:\n  palisade token mint operator.token")]
    Mint {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Prints the SHA-256 of a token for the configuration's `operator_token_sha256`
    #[command(after_help = "Examples:\n  palisade token digest operator.token")]
    Digest {
        /// The token's file
        file: PathBuf,
    },
}

/// Runs a command about tokens.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(command: Command, output: &mut Output<'_>) -> Outcome {
    let token = match command {
        Command::Mint { file } => mint(&file)?,
        Command::Digest { file } => read(&file)?,
    };
    match output.format() {
        Format::Table => output.text(&format!("{}\n", token.digest())),
        Format::Json => output.json(&serde_json::json!({ "sha256": token.digest() })),
    }
}

/// Mints an operator token into `file`, which must not be there.
///
/// # Errors
/// When it is there, or cannot be written.
pub(crate) fn mint(file: &Path) -> Outcome<Token> {
    if file.symlink_metadata().is_ok() {
        return Err(Failure::bad_file(
            file,
            "it is there already",
            "name a new file, or remove this one first",
        ));
    }
    let token = Token::mint("operator", &host::entropy::bytes()?);
    files::write_private_atomically(file, format!("{}\n", token.expose()).as_bytes())
        .map_err(|error| Failure::of_file(&error, "check the folder and the disk's space"))?;
    Ok(token)
}

/// Reads the operator token in `file`.
///
/// # Errors
/// When it cannot be read, is open to others, or holds something else.
pub(crate) fn read(file: &Path) -> Outcome<Token> {
    const NEXT: &str =
        "run this as the user who ran `palisade up`, or name your own token's file (--token-file)";
    let bytes = files::read_private(file, FILE_MAX).map_err(|error| Failure::of_file(&error, NEXT))?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end().parse().map_err(|error| Failure::bad_file(file, error, NEXT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_minted_token_is_kept_in_its_file_and_only_its_digest_is_printed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("operator.token");
        let printed = printed(Command::Mint { file: file.clone() });
        let token = read(&file).unwrap();
        assert_eq!(printed, format!("{}\n", token.digest()));
        assert_eq!(printed, self::printed(Command::Digest { file: file.clone() }));
        assert_eq!(mint(&file).unwrap_err().code, "file_invalid", "a token is never overwritten");
    }

    #[test]
    fn a_token_file_that_others_may_read_is_refused_and_its_text_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = Token::mint("operator", &[7; 32]);
        std::fs::write(&path, secret.expose()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.cause.contains("chmod go-rwx") && !failure.to_text().contains(secret.expose()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().digest(), secret.digest());
        std::fs::write(&path, "hunter2").unwrap();
        assert!(!read(&path).unwrap_err().to_text().contains("hunter2"));
    }

    fn printed(command: Command) -> String {
        let mut sink = Vec::new();
        run(command, &mut Output::new(Format::Table, false, &mut sink)).unwrap();
        String::from_utf8(sink).unwrap()
    }
}
