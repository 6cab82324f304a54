//! The check itself: leaves in, verdict out. Pure, so that it is the same online and offline.

use crate::failure::{Exit, Failure, Outcome};
use ledger::{Frontier, leaf_hash, verify_consistency, verify_inclusion};
use notary::{NoteKey, verify_note};
use terms::{Digest, Unverified};
use wire::checkpoint::{Checkpoint, Note};

/// What to do with a log that does not verify.
const EVIDENCE: &str = "treat the log as tampered with: keep the state directory, this checkpoint and every \
                        older one as evidence, and compare with a copy that you saved earlier";

/// Checks a log's leaves, one after the other, against its checkpoint and an older one.
#[derive(Debug)]
pub(crate) struct LogCheck {
    checkpoint: Checkpoint,
    older: Option<Checkpoint>,
    entry: Option<u64>,
    frontier: Frontier,
    older_root: Option<Digest>,
    entry_leaf: Option<Digest>,
}

/// What held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The checkpoint that the whole log leads to.
    pub checkpoint: Checkpoint,
    /// The older checkpoint that the log extends.
    pub older: Option<Checkpoint>,
    /// The entry that was asked for, with its leaf hash.
    pub entry: Option<(u64, Digest)>,
}

/// Reads a checkpoint whose note is signed by `key` and is of that key's log.
///
/// # Errors
/// A verification failure.
pub(crate) fn open_checkpoint(key: &NoteKey, note: &str, what: &str) -> Outcome<Checkpoint> {
    let refused = |why: &dyn core::fmt::Display| {
        Failure::unverified(format!("{what} does not verify: {why}"), EVIDENCE)
    };
    let note = Note::read(note).map_err(|error| refused(&error))?;
    let text = verify_note(key, Unverified::new(note)).map_err(|error| refused(&error))?;
    let checkpoint = Checkpoint::read(&text).map_err(|error| refused(&error))?;
    if checkpoint.origin != key.name() {
        let why = format!("it is of the log `{}`, the key of `{}`", checkpoint.origin, key.name());
        return Err(refused(&why));
    }
    Ok(checkpoint)
}

impl LogCheck {
    /// Begins the check of a log against `checkpoint`.
    ///
    /// # Errors
    /// When the older checkpoint is newer, or there is no such entry.
    pub(crate) fn begin(
        checkpoint: Checkpoint,
        older: Option<Checkpoint>,
        entry: Option<u64>,
    ) -> Outcome<Self> {
        if let Some(older) = &older
            && older.size > checkpoint.size
        {
            let cause = format!(
                "the log has {} entries, fewer than the {} of the older checkpoint: entries were dropped",
                checkpoint.size, older.size
            );
            return Err(Failure::unverified(cause, EVIDENCE));
        }
        if let Some(entry) = entry
            && entry >= checkpoint.size
        {
            let cause = format!("the log has {} entries; there is no number {entry}", checkpoint.size);
            return Err(Failure::new(
                Exit::NotFound,
                "not_found",
                cause,
                "palisade audit tail shows the newest",
            ));
        }
        let mut check =
            Self { checkpoint, older, entry, frontier: Frontier::new(), older_root: None, entry_leaf: None };
        check.take_older_root();
        Ok(check)
    }

    /// How many leaves are still to come.
    #[must_use]
    pub(crate) fn missing(&self) -> u64 {
        self.checkpoint.size.saturating_sub(self.frontier.size())
    }

    /// Takes the next leaf's sealed bytes; those beyond the checkpoint are not looked at.
    pub(crate) fn leaf(&mut self, sealed: &[u8]) {
        if self.missing() == 0 {
            return;
        }
        let leaf = leaf_hash(sealed);
        if self.entry == Some(self.frontier.size()) {
            self.entry_leaf = Some(leaf);
        }
        self.frontier.append(leaf);
        self.take_older_root();
    }

    fn take_older_root(&mut self) {
        if self.older.as_ref().is_some_and(|older| older.size == self.frontier.size()) {
            self.older_root = Some(self.frontier.root());
        }
    }

    /// Says what held.
    ///
    /// # Errors
    /// A verification failure that says what did not.
    pub(crate) fn verdict(self) -> Outcome<Verdict> {
        let missing = self.missing();
        if missing > 0 {
            let cause = format!(
                "the checkpoint covers {} entries, the log has {}: entries were dropped",
                self.checkpoint.size,
                self.frontier.size()
            );
            return Err(Failure::unverified(cause, EVIDENCE));
        }
        if self.frontier.root() != self.checkpoint.root {
            let cause =
                "the entries do not lead to the checkpoint's root: one was edited, dropped, added or moved";
            return Err(Failure::unverified(cause, EVIDENCE));
        }
        if let Some(older) = &self.older
            && self.older_root != Some(older.root)
        {
            let cause = format!(
                "the log does not extend the older checkpoint of {} entries: history was rewritten",
                older.size
            );
            return Err(Failure::unverified(cause, EVIDENCE));
        }
        let entry = self.entry.zip(self.entry_leaf);
        Ok(Verdict { checkpoint: self.checkpoint, older: self.older, entry })
    }
}

impl Verdict {
    /// Checks the server's own proof that the entry is in the log: what auditors without the whole log rely
    /// on.
    ///
    /// # Errors
    /// A verification failure.
    pub(crate) fn check_inclusion_proof(&self, proof: &[Digest]) -> Outcome {
        let Some((index, leaf)) = self.entry else { return Ok(()) };
        verify_inclusion(&leaf, index, self.checkpoint.size, proof, &self.checkpoint.root).map_err(|error| {
            Failure::unverified(
                format!("the server's inclusion proof of entry {index} does not hold: {error}"),
                EVIDENCE,
            )
        })
    }

    /// Checks the server's own proof that the log extends the older checkpoint.
    ///
    /// # Errors
    /// A verification failure.
    pub(crate) fn check_consistency_proof(&self, proof: &[Digest]) -> Outcome {
        let Some(older) = &self.older else { return Ok(()) };
        let new = &self.checkpoint;
        verify_consistency(older.size, &older.root, new.size, &new.root, proof).map_err(|error| {
            Failure::unverified(format!("the server's consistency proof does not hold: {error}"), EVIDENCE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::empty_root;
    use notary::NoteSigner;

    const ORIGIN: &str = "palisade.internal/audit";

    #[test]
    fn a_whole_log_verifies_with_an_entry_and_an_older_checkpoint() {
        for (size, old) in [(1, 0), (1, 1), (7, 3), (300, 256), (300, 300)] {
            let log = log(size);
            let verdict = check(&log, checkpoint(&log), Some(checkpoint(&log[..old])), Some(size as u64 - 1));
            let verdict = verdict.unwrap();
            assert_eq!(verdict.entry, Some((size as u64 - 1, leaf_hash(&log[size - 1]))));
            assert_eq!(verdict.older.map(|older| older.size), Some(old as u64));
        }
    }

    #[test]
    fn an_empty_log_verifies() {
        assert!(check(&[], checkpoint(&[]), None, None).is_ok());
        assert_eq!(checkpoint(&[]).root, empty_root());
    }

    #[test]
    fn an_edited_dropped_added_or_moved_entry_is_found() {
        let good = log(20);
        let mut edited = good.clone();
        edited[5][0] ^= 1;
        let mut dropped = good.clone();
        dropped.remove(5);
        let mut moved = good.clone();
        moved.swap(5, 6);
        let mut added = good.clone();
        added.insert(5, b"x".to_vec());
        for bad in [edited, dropped, moved, added] {
            let failure = check(&bad, checkpoint(&good), None, None).unwrap_err();
            assert_eq!(failure.exit, Exit::Unverified);
        }
    }

    #[test]
    fn a_log_that_was_rewritten_or_cut_since_the_older_checkpoint_is_found() {
        let (before, mut rewritten) = (log(10), log(20));
        rewritten[2][0] ^= 1;
        for now in [rewritten, log(9)] {
            let failure = check(&now, checkpoint(&now), Some(checkpoint(&before)), None).unwrap_err();
            assert_eq!(failure.exit, Exit::Unverified, "{failure}");
        }
    }

    #[test]
    fn entries_after_the_checkpoint_are_not_looked_at() {
        let mut log = log(20);
        let at_ten = checkpoint(&log[..10]);
        log[15][0] ^= 1;
        assert_eq!(check(&log, at_ten, None, None).unwrap().checkpoint.size, 10);
    }

    #[test]
    fn an_entry_that_is_not_there_is_not_found() {
        let failure = check(&log(3), checkpoint(&log(3)), None, Some(3)).unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
    }

    #[test]
    fn a_checkpoint_signed_by_another_key_or_changed_or_of_another_log_is_refused() {
        let (signer, _) = NoteSigner::generate(ORIGIN).unwrap();
        let (other, _) = NoteSigner::generate(ORIGIN).unwrap();
        let key = NoteKey::parse(&signer.verifier_key()).unwrap();
        let body = checkpoint(&log(3));
        let good = signer.sign(&body.to_text()).unwrap().to_text();
        assert_eq!(open_checkpoint(&key, &good, "it").unwrap(), body);
        let foreign = Checkpoint { origin: "elsewhere/audit".into(), ..body.clone() };
        for bad in [
            other.sign(&body.to_text()).unwrap().to_text(),
            good.replace("\n3\n", "\n2\n"),
            signer.sign(&foreign.to_text()).unwrap().to_text(),
            signer.sign("no checkpoint\n").unwrap().to_text(),
            String::new(),
        ] {
            let failure = open_checkpoint(&key, &bad, "it").unwrap_err();
            assert_eq!(failure.exit, Exit::Unverified, "{bad}");
        }
    }

    #[test]
    fn a_proof_that_does_not_hold_fails_even_if_the_log_does() {
        let log = log(5);
        let verdict = check(&log, checkpoint(&log), Some(checkpoint(&log[..2])), Some(1)).unwrap();
        let wrong = [Digest::sha256(b"wrong")];
        assert_eq!(verdict.check_inclusion_proof(&wrong).unwrap_err().exit, Exit::Unverified);
        assert_eq!(verdict.check_consistency_proof(&wrong).unwrap_err().exit, Exit::Unverified);
    }

    fn log(size: usize) -> Vec<Vec<u8>> {
        (0..size).map(|n| format!("entry {n}").into_bytes()).collect()
    }

    fn checkpoint(log: &[Vec<u8>]) -> Checkpoint {
        let mut frontier = Frontier::new();
        log.iter().for_each(|entry| frontier.append(leaf_hash(entry)));
        Checkpoint { origin: ORIGIN.into(), size: frontier.size(), root: frontier.root() }
    }

    fn check(
        log: &[Vec<u8>],
        checkpoint: Checkpoint,
        older: Option<Checkpoint>,
        entry: Option<u64>,
    ) -> Outcome<Verdict> {
        let mut check = LogCheck::begin(checkpoint, older, entry)?;
        log.iter().for_each(|entry| check.leaf(entry));
        check.verdict()
    }
}
