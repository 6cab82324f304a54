//! Checkpoints of the audit log: C2SP tlog-checkpoint inside a C2SP signed note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terms::Digest;

/// Most bytes of a signed note that is read.
pub const BYTES_MAX: usize = 16 * 1024;

/// Most signatures on one note.
pub const SIGNATURES_MAX: usize = 16;

/// The state of a log: how many leaves, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, such as `palisade.internal/audit`.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: Digest,
}

/// A note: text and the signatures under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with its final newline: the bytes that are signed.
    pub text: String,
    /// The signatures.
    pub signatures: Vec<NoteSignature>,
}

/// One line under a note: `— name base64(key hash || signature)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The first four bytes of the key's hash.
    pub key_hash: [u8; 4],
    /// The signature.
    pub signature: Vec<u8>,
}

/// Says why a text is not a checkpoint or note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// More than [`BYTES_MAX`] bytes.
    #[error("the note is too large")]
    TooLarge,
    /// Not text, a blank line and signature lines.
    #[error("not a signed note")]
    Note,
    /// The text is not origin, size and root.
    #[error("not a checkpoint")]
    Body,
}

impl Checkpoint {
    /// Writes the body: three lines, each with its newline.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads a body whose signature was checked. Extension lines are allowed and ignored.
    ///
    /// # Errors
    /// [`CheckpointError::Body`] for anything else.
    pub fn read(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Body)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Body);
        };
        let canonical = |s: &str| s == "0" || (!s.starts_with('0') && s.bytes().all(|b| b.is_ascii_digit()));
        if origin.is_empty() || !canonical(size) || lines.any(str::is_empty) {
            return Err(CheckpointError::Body);
        }
        let size = size.parse().map_err(|_| CheckpointError::Body)?;
        let root = STANDARD.decode(root).map_err(|_| CheckpointError::Body)?;
        let root = Digest::from_bytes(root.try_into().map_err(|_| CheckpointError::Body)?);
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl Note {
    /// Writes text, a blank line and the signature lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.text);
        for s in &self.signatures {
            let bytes = [s.key_hash.as_slice(), &s.signature].concat();
            out.push_str(&format!("\u{2014} {} {}\n", s.name, STANDARD.encode(bytes)));
        }
        out
    }

    /// Takes a note apart; checks no signature.
    ///
    /// # Errors
    /// [`CheckpointError`] for anything but a bounded note with at least one signature.
    pub fn read(note: &str) -> Result<Self, CheckpointError> {
        if note.len() > BYTES_MAX {
            return Err(CheckpointError::TooLarge);
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(CheckpointError::Note);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(CheckpointError::Note)?;
        let lines = lines.strip_suffix('\n').ok_or(CheckpointError::Note)?;
        let signatures = lines.split('\n').map(read_signature).collect::<Option<Vec<_>>>();
        let signatures = signatures.ok_or(CheckpointError::Note)?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(CheckpointError::TooLarge);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

fn read_signature(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (key_hash, signature) = bytes.split_first_chunk::<4>()?;
    if name.is_empty() || name.contains('+') || signature.is_empty() {
        return None;
    }
    Some(NoteSignature { name: name.to_owned(), key_hash: *key_hash, signature: signature.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_from_its_own_text() {
        let body = Checkpoint { origin: "d/audit".into(), size: 7, root: Digest::sha256(b"x") };
        let signature =
            NoteSignature { name: "d/audit".into(), key_hash: [1, 2, 3, 4], signature: vec![9; 64] };
        let note = Note { text: body.to_text(), signatures: vec![signature] };
        let read = Note::read(&note.to_text()).unwrap();
        assert_eq!(read, note);
        assert_eq!(Checkpoint::read(&read.text), Ok(body));
    }

    #[test]
    fn texts_that_are_not_notes_are_refused() {
        for bad in [
            "",
            "a",
            "a\n\n",
            "a\n\n— b\n",
            "a\n\n— b !!\n",
            "a\n\n- b AQIDBAU=\n",
            "a\n— b AQIDBAU=\n",
            "a\n\n— b AQIDBAU=",
        ] {
            assert!(Note::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bodies_that_are_not_checkpoints_are_refused() {
        let root = STANDARD.encode([0; 32]);
        for bad in [
            format!("o\n01\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("o\n1\n{root}"),
            "o\n1\nAA==\n".into(),
            format!("o\n+1\n{root}\n"),
            format!("o\n1\n{root}\n\n"),
        ] {
            assert_eq!(Checkpoint::read(&bad), Err(CheckpointError::Body), "{bad:?}");
        }
    }
}
