//! Stored heartbeats.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Output, Row, short, yes_no};
use crate::tenant::Choice;
use api::heartbeat::HeartbeatView;

/// Lists stored heartbeats
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists stored heartbeats, newest first; JSON holds the signed envelopes
    #[command(after_help = "\
Examples:
  palisade heartbeat list --tenant acme
  palisade heartbeat list --tenant acme --limit 1 -o json > heartbeats.json

`palisade verify heartbeat` checks what the second one wrote, offline.")]
    List {
        #[command(flatten)]
        tenant: Choice,
        /// Most heartbeats to list
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

/// Runs a command about heartbeats.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::List { tenant, limit } => {
            let call = Call::to("list_heartbeats").at(tenant.pick(client).await?);
            output.list::<HeartbeatView>(&client.list(call, limit).await?)
        }
    }
}

impl Row for HeartbeatView {
    const COLUMNS: &'static [&'static str] = &["COUNTER", "RECEIVED", "COUNTS", "CODE", "SIDECAR", "DIGEST"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.counter.to_string(),
            self.received_at.to_string(),
            yes_no(self.accepted),
            self.code.clone(),
            self.sidecar.to_string(),
            short(&self.payload_digest),
        ]
    }
}
