//! Plan-signing keys.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Output, Row};
use api::key::{KeyView, Keys};

/// Lists and rotates plan-signing keys
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists plan-signing keys, newest first
    #[command(after_help = "Examples:\n  palisade keys list")]
    List,
    /// Begins a rotation: a new key is published now and signs once every data plane can know it
    #[command(after_help = "Examples:\n  palisade keys rotate")]
    Rotate,
}

/// Runs a command about keys.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    let keys: Keys = match command {
        Command::List => client.send(Call::to("list_keys")).await?,
        Command::Rotate => client.send(Call::to("rotate_keys")).await?,
    };
    output.list(&keys.keys)
}

impl Row for KeyView {
    const COLUMNS: &'static [&'static str] = &["KEY ID", "STATE", "SINCE", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![self.kid.to_string(), self.state.clone(), self.since.to_string(), self.created_at.to_string()]
    }
}
