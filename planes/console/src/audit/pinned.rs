//! The log's verifier key: pinned at its first use, compared from then on.

use crate::failure::{Failure, Outcome};
use crate::state_dir::StateDir;
use host::files::{self, Owner};
use notary::NoteKey;
use std::path::Path;

/// The largest file that holds a verifier key.
const KEY_MAX: usize = 1_024;

/// Where a verifier key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A file that the caller named.
    Named,
    /// The pin of an earlier use.
    Pinned,
    /// The server, this first time; it is pinned now.
    FirstUse,
    /// The server; there is nowhere to pin it.
    Unpinned,
}

impl Trust {
    /// In words.
    #[must_use]
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Named => "the key file that was named",
            Self::Pinned => "the same as at its first use",
            Self::FirstUse => "first use; pinned from now on",
            Self::Unpinned => "the server's own word; name a key that you kept with --key FILE",
        }
    }
}

/// Reads a verifier key from a file.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn read(file: &Path) -> Outcome<NoteKey> {
    const NEXT: &str =
        "name a file with the log's verifier key, `name+hash+key` (audit.vkey in a state directory)";
    let bytes = files::read_bounded(file, KEY_MAX).map_err(|error| Failure::of_file(&error, NEXT))?;
    let text = String::from_utf8_lossy(&bytes);
    NoteKey::parse(text.trim_end()).map_err(|error| Failure::bad_file(file, error, NEXT))
}

/// The key to trust when the server shows `shown`: the pinned one, which must be the same, or this one from
/// now on.
///
/// # Errors
/// A verification failure if the server shows another key than the pinned one.
pub(crate) fn trust(shown: &str, state: Option<&StateDir>) -> Outcome<(NoteKey, Trust)> {
    let key = NoteKey::parse(shown).map_err(|error| {
        Failure::unverified(format!("the server's verifier key is refused: {error}"), "check the URL")
    })?;
    let Some(state) = state else { return Ok((key, Trust::Unpinned)) };
    let pin = state.audit_key();
    if pin.exists() {
        let pinned = read(&pin)?;
        if pinned.to_string() == key.to_string() {
            return Ok((pinned, Trust::Pinned));
        }
        let cause = format!("the server signs the log with `{key}`, which is not the pinned `{pinned}`");
        let next = format!(
            "find out who changed the key before you trust this log; `{}` holds the pinned one",
            pin.display()
        );
        return Err(Failure::unverified(cause, next));
    }
    // Whoever may read the state directory but not write it verifies all the same, only without a pin.
    let written = files::write_atomically(&pin, format!("{key}\n").as_bytes(), 0o644, Owner::This);
    Ok((key, if written.is_ok() { Trust::FirstUse } else { Trust::Unpinned }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use notary::NoteSigner;

    #[test]
    fn a_key_is_pinned_at_its_first_use_and_another_one_refused_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let (first, second) = (key(), key());
        assert_eq!(trust(&first, Some(&state)).unwrap().1, Trust::FirstUse);
        assert_eq!(trust(&first, Some(&state)).unwrap().1, Trust::Pinned);
        assert_eq!(trust(&second, Some(&state)).unwrap_err().exit, Exit::Unverified);
        assert_eq!(trust(&first, Some(&state)).unwrap().1, Trust::Pinned);
        assert_eq!(read(&state.audit_key()).unwrap().to_string(), first);
    }

    #[test]
    fn without_a_state_directory_there_is_no_pin_and_nonsense_is_no_key() {
        assert_eq!(trust(&key(), None).unwrap().1, Trust::Unpinned);
        assert_eq!(trust("nonsense", None).unwrap_err().exit, Exit::Unverified);
    }

    fn key() -> String {
        NoteSigner::generate("palisade.internal/audit").unwrap().0.verifier_key()
    }
}
