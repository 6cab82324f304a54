//! `audit verify`: the whole log against its signed checkpoint, online or from saved files.

use super::check::{LogCheck, Verdict, open_checkpoint};
use super::pinned::{self, Trust};
use super::source;
use crate::client::{Call, Client};
use crate::connection;
use crate::failure::{Failure, Outcome};
use crate::output::{Card, Output};
use crate::state_dir::DISK;
use api::audit::{CheckpointView, ConsistencyQuery, InclusionQuery, Proof};
use host::files::{self, Owner};
use notary::NoteKey;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::Digest;

/// Verifies the whole log against its signed checkpoint
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade audit verify
  palisade audit verify --save monday.checkpoint
  palisade audit verify --against monday.checkpoint --entry 42
  palisade audit verify --save today.checkpoint --save-leaves today.leaves
  palisade audit verify --leaves today.leaves --checkpoint today.checkpoint --key audit.vkey

The first use pins the log's verifier key in the state directory; from then on another key is
refused. Exits with 7 if the log does not verify.")]
pub(crate) struct Options {
    /// Saves the verified checkpoint, to be compared with a later one
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Saves the sealed leaves, to verify them offline
    #[arg(long, value_name = "FILE", conflicts_with = "leaves")]
    save_leaves: Option<PathBuf>,
    /// Checks that the log extends this older checkpoint
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Checks that the log holds the entry with this number
    #[arg(long, value_name = "INDEX")]
    entry: Option<u64>,
    /// Verifies these saved leaves offline
    #[arg(long, value_name = "FILE", requires_all = ["checkpoint", "key"])]
    leaves: Option<PathBuf>,
    /// The saved checkpoint to verify them against
    #[arg(long, value_name = "FILE", requires = "leaves")]
    checkpoint: Option<PathBuf>,
    /// The log's verifier key, instead of the pinned one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Report {
    verified: bool,
    log: String,
    entries: u64,
    root: Digest,
    key: String,
    trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_leaf: Option<Digest>,
}

/// Verifies the log.
///
/// # Errors
/// A verification failure, or why there was nothing to verify.
pub(crate) async fn run(options: Options, at: &connection::Options, output: &mut Output<'_>) -> Outcome {
    let (verdict, note, key, trust) = match (&options.leaves, &options.checkpoint, &options.key) {
        (Some(leaves), Some(checkpoint), Some(key)) => offline(&options, leaves, checkpoint, key)?,
        _ => online(&options, at).await?,
    };
    if let Some(path) = &options.save {
        files::write_atomically(path, note.as_bytes(), 0o644, Owner::This)
            .map_err(|error| Failure::of_file(&error, DISK))?;
    }
    output.one(&report(&verdict, &key, trust))
}

type Verified = (Verdict, String, NoteKey, Trust);

fn offline(options: &Options, leaves: &Path, checkpoint: &Path, key: &Path) -> Outcome<Verified> {
    let key = pinned::read(key)?;
    let note = read_note(checkpoint)?;
    let mut check = begin(options, &key, &note)?;
    source::read(leaves, &mut check)?;
    Ok((check.verdict()?, note, key, Trust::Named))
}

async fn online(options: &Options, at: &connection::Options) -> Outcome<Verified> {
    let client = at.connect()?;
    let shown: CheckpointView = client.send(Call::to("audit_checkpoint")).await?;
    let (key, trust) = match &options.key {
        Some(file) => (pinned::read(file)?, Trust::Named),
        None => pinned::trust(&shown.verifier_key, at.state()?.as_ref())?,
    };
    let mut check = begin(options, &key, &shown.note)?;
    let mut copy = source::copy_to(options.save_leaves.as_deref())?;
    source::fetch(&client, &mut check, &mut *copy).await?;
    let verdict = check.verdict()?;
    check_proofs(&client, &verdict).await?;
    Ok((verdict, shown.note, key, trust))
}

fn begin(options: &Options, key: &NoteKey, note: &str) -> Outcome<LogCheck> {
    let checkpoint = open_checkpoint(key, note, "the checkpoint")?;
    let older = match &options.against {
        Some(path) => Some(open_checkpoint(key, &read_note(path)?, "the older checkpoint")?),
        None => None,
    };
    LogCheck::begin(checkpoint, older, options.entry)
}

/// The whole log holds by now; the proofs that the server gives to others must hold too.
async fn check_proofs(client: &Client, verdict: &Verdict) -> Outcome {
    let size = verdict.checkpoint.size;
    if let Some((index, _)) = verdict.entry {
        let query = InclusionQuery { index, size };
        let proof: Proof = client.send(Call::to("audit_inclusion").query(&query)).await?;
        verdict.check_inclusion_proof(&proof.hashes)?;
    }
    if let Some(older) = &verdict.older {
        let query = ConsistencyQuery { old: older.size, new: size };
        let proof: Proof = client.send(Call::to("audit_consistency").query(&query)).await?;
        verdict.check_consistency_proof(&proof.hashes)?;
    }
    Ok(())
}

fn read_note(path: &Path) -> Outcome<String> {
    const NEXT: &str = "name a file that `palisade audit verify --save FILE` wrote";
    let bytes = files::read_bounded(path, wire::checkpoint::BYTES_MAX);
    let bytes = bytes.map_err(|error| Failure::of_file(&error, NEXT))?;
    String::from_utf8(bytes).map_err(|error| Failure::bad_file(path, error, NEXT))
}

fn report(verdict: &Verdict, key: &NoteKey, trust: Trust) -> Report {
    Report {
        verified: true,
        log: verdict.checkpoint.origin.clone(),
        entries: verdict.checkpoint.size,
        root: verdict.checkpoint.root,
        key: key.to_string(),
        trust: trust.text(),
        extends: verdict.older.as_ref().map(|older| older.size),
        entry: verdict.entry.map(|(index, _)| index),
        entry_leaf: verdict.entry.map(|(_, leaf)| leaf),
    }
}

impl Card for Report {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("verified", "yes: every entry is as it was signed".to_owned()),
            ("log", self.log.clone()),
            ("entries", self.entries.to_string()),
            ("root", self.root.to_string()),
            ("key", self.key.clone()),
            ("trust in the key", self.trust.to_owned()),
        ];
        if let Some(size) = self.extends {
            fields.push(("extends", format!("the older checkpoint of {size} entries")));
        }
        if let (Some(index), Some(leaf)) = (self.entry, self.entry_leaf) {
            fields.push(("holds entry", format!("{index}, leaf {leaf}")));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::output::Format;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ledger::{Frontier, leaf_hash};
    use notary::NoteSigner;
    use wire::checkpoint::Checkpoint;

    struct Saved {
        dir: tempfile::TempDir,
        signer: NoteSigner,
    }

    impl Saved {
        fn new() -> Self {
            let (signer, _) = NoteSigner::generate("palisade.internal/audit").unwrap();
            let saved = Self { dir: tempfile::tempdir().unwrap(), signer };
            saved.write("key", &saved.signer.verifier_key());
            saved.log("now", 9);
            saved.log("before", 4);
            saved
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn log(&self, name: &str, size: u32) {
            let mut frontier = Frontier::new();
            let mut lines = String::new();
            for n in 0..size {
                frontier.append(leaf_hash(&n.to_be_bytes()));
                lines.push_str(&format!("{}\n", STANDARD.encode(n.to_be_bytes())));
            }
            let origin = "palisade.internal/audit".to_owned();
            let checkpoint = Checkpoint { origin, size: frontier.size(), root: frontier.root() };
            self.write(&format!("{name}.leaves"), &lines);
            self.write(
                &format!("{name}.checkpoint"),
                &self.signer.sign(&checkpoint.to_text()).unwrap().to_text(),
            );
        }

        fn options(&self) -> Options {
            Options {
                save: None,
                save_leaves: None,
                against: Some(self.path("before.checkpoint")),
                entry: Some(3),
                leaves: Some(self.path("now.leaves")),
                checkpoint: Some(self.path("now.checkpoint")),
                key: Some(self.path("key")),
            }
        }
    }

    async fn verify(options: Options) -> Outcome<serde_json::Value> {
        let mut sink = Vec::new();
        let mut output = Output::new(Format::Json, false, &mut sink);
        run(options, &connection::Options::default(), &mut output).await?;
        Ok(serde_json::from_slice(&sink).unwrap())
    }

    #[tokio::test]
    async fn a_saved_log_verifies_without_a_server() {
        let saved = Saved::new();
        let report = verify(saved.options()).await.unwrap();
        assert_eq!((report["verified"].as_bool(), report["entries"].as_u64()), (Some(true), Some(9)));
        assert_eq!((report["extends"].as_u64(), report["entry"].as_u64()), (Some(4), Some(3)));
    }

    #[tokio::test]
    async fn a_saved_log_that_was_changed_does_not_verify() {
        let saved = Saved::new();
        let leaves = std::fs::read_to_string(saved.path("now.leaves")).unwrap();
        let first = leaves.lines().next().unwrap();
        for bad in [
            leaves.replacen(first, &STANDARD.encode(b"forged"), 1),
            leaves.replacen(first, "not base64!", 1),
            leaves.lines().skip(1).map(|line| format!("{line}\n")).collect(),
            String::new(),
        ] {
            saved.write("now.leaves", &bad);
            let failure = verify(saved.options()).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Unverified, "{failure}");
        }
    }

    #[tokio::test]
    async fn a_checkpoint_of_another_key_does_not_verify() {
        let saved = Saved::new();
        let (stranger, _) = NoteSigner::generate("palisade.internal/audit").unwrap();
        saved.write("key", &stranger.verifier_key());
        assert_eq!(verify(saved.options()).await.unwrap_err().exit, Exit::Unverified);
    }
}
