//! The audit log: what happened, and the proof that nobody changed it.

mod check;
mod pinned;
mod source;
mod verify;

use crate::client::{Call, Client, LIST_MAX};
use crate::connection;
use crate::event::outcome_text;
use crate::failure::Outcome;
use crate::output::{Format, Output, Row};
use api::audit::EntryView;
use core::time::Duration;

/// How often new entries are asked for.
const FOLLOW: Duration = Duration::from_secs(1);

/// Reads and verifies the audit log
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Shows the newest audit entries, the newest last
    #[command(after_help = "\
Examples:
  palisade audit tail
  palisade audit tail --limit 100 -o json
  palisade audit tail --follow")]
    Tail {
        /// Most entries to begin with
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Stays, and shows each new entry; JSON then has one line for each
        #[arg(long)]
        follow: bool,
    },
    /// Verifies the whole log against its signed checkpoint
    Verify(verify::Options),
}

/// Runs a command about the audit log.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, at: &connection::Options, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::Tail { limit, follow: false } => output.list(&newest(&at.connect()?, limit).await?),
        Command::Tail { limit, follow: true } => follow(&at.connect()?, limit, output).await,
        Command::Verify(options) => verify::run(options, at, output).await,
    }
}

/// At most `limit` of the newest entries, the newest last.
async fn newest(client: &Client, limit: u32) -> Outcome<Vec<EntryView>> {
    let mut entries: Vec<EntryView> = client.list(Call::to("list_audit"), limit).await?;
    entries.reverse();
    Ok(entries)
}

async fn follow(client: &Client, limit: u32, output: &mut Output<'_>) -> Outcome {
    let mut entries = newest(client, limit).await?;
    let mut next = 0;
    loop {
        for entry in entries.iter().filter(|entry| entry.index >= next) {
            match output.format() {
                Format::Json => output.json_line(entry)?,
                Format::Table => output.text(&format!("{}\n", line(entry)))?,
            }
        }
        output.flush()?;
        next = entries.last().map_or(next, |entry| next.max(entry.index + 1));
        tokio::time::sleep(FOLLOW).await;
        entries = since(client, next).await?;
    }
}

/// The entries from number `next` on.
async fn since(client: &Client, next: u64) -> Outcome<Vec<EntryView>> {
    let mut count = api::page::LIMIT_DEFAULT;
    loop {
        let entries = newest(client, count).await?;
        let reaches_back = entries.first().is_none_or(|first| first.index <= next);
        if reaches_back || count >= LIST_MAX {
            return Ok(entries);
        }
        count = count.saturating_mul(4).min(LIST_MAX);
    }
}

fn line(entry: &EntryView) -> String {
    crate::output::printable(&entry.cells().join("  "))
}

impl Row for EntryView {
    const COLUMNS: &'static [&'static str] =
        &["INDEX", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "REASON"];

    fn cells(&self) -> Vec<String> {
        let index = self.index.to_string();
        let Some(entry) = &self.entry else {
            let gone = core::iter::repeat_n("(key destroyed)".to_owned(), Self::COLUMNS.len() - 1);
            return core::iter::once(index).chain(gone).collect();
        };
        vec![
            index,
            entry.time.to_string(),
            entry.actor.clone(),
            entry.action.clone(),
            entry.resource.clone(),
            outcome_text(entry.outcome).to_owned(),
            entry.reason.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::Digest;

    #[test]
    fn an_entry_whose_key_was_destroyed_still_has_its_row() {
        let erased = EntryView { index: 4, entry: None, leaf: Digest::sha256(b"x") };
        let cells = erased.cells();
        assert_eq!(cells.len(), EntryView::COLUMNS.len());
        assert_eq!(cells[0], "4");
        assert!(line(&erased).contains("key destroyed"));
    }
}
