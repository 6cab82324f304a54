//! Where the sealed leaves come from: the server, or a file that was saved.

use super::check::LogCheck;
use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;
use crate::state_dir::DISK;
use api::audit::{LEAVES_MAX, LeafQuery, Leaves};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

/// The longest leaf in base64: an audit entry has bounded texts and is far below it.
const LINE_MAX: u64 = 64 * 1024;

/// Fetches leaves from the server until `check` has them all, and writes each to `copy`.
///
/// # Errors
/// When the server does not give them.
pub(crate) async fn fetch(client: &Client, check: &mut LogCheck, copy: &mut dyn Write) -> Outcome {
    let size = check.missing();
    let progress = Progress::bar("fetching the log", size);
    while check.missing() > 0 {
        let start = size - check.missing();
        let query = LeafQuery { start, end: size.min(start.saturating_add(LEAVES_MAX)) };
        let leaves: Leaves = client.send(Call::to("audit_leaves").query(&query)).await?;
        let wanted = query.end - query.start;
        let got = leaves.leaves.len() as u64;
        if leaves.start != start || got == 0 || got > wanted {
            let cause =
                format!("the server gave {got} leaves from {}, not {wanted} from {start}", leaves.start);
            return Err(Failure::unverified(cause, "try again; if it stays, the log is not whole"));
        }
        for leaf in &leaves.leaves {
            check.leaf(&decoded(leaf)?);
            writeln!(copy, "{leaf}").map_err(|error| Failure::of_output(&error))?;
        }
        progress.advance(got);
    }
    copy.flush().map_err(|error| Failure::of_output(&error))
}

/// Reads leaves that were saved, one in base64 on each line.
///
/// # Errors
/// When the file cannot be read, or a line is no leaf.
pub(crate) fn read(path: &Path, check: &mut LogCheck) -> Outcome {
    const NEXT: &str = "name a file that `palisade audit verify --save-leaves FILE` wrote";
    let refused = |error: &dyn core::fmt::Display| Failure::bad_file(path, error, NEXT);
    let file = File::open(path).map_err(|error| refused(&error))?;
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while check.missing() > 0 {
        line.clear();
        let read = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| refused(&error))? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        check.leaf(&decoded(text.trim_end_matches('\n'))?);
    }
    Ok(())
}

/// A file for a copy of the leaves, or nowhere.
///
/// # Errors
/// When the file cannot be made.
pub(crate) fn copy_to(path: Option<&Path>) -> Outcome<Box<dyn Write>> {
    match path {
        None => Ok(Box::new(std::io::sink())),
        Some(path) => {
            let file = File::create(path).map_err(|error| Failure::bad_file(path, error, DISK))?;
            Ok(Box::new(BufWriter::new(file)))
        }
    }
}

fn decoded(leaf: &str) -> Outcome<Vec<u8>> {
    STANDARD.decode(leaf).map_err(|error| {
        Failure::new(
            Exit::Unverified,
            "verification_failed",
            format!("a leaf is not base64: {error}"),
            "fetch the leaves again; a saved file was cut or changed",
        )
    })
}
