//! Metering sidecars and their public keys.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Output, Row, or_dash, yes_no};
use crate::tenant::Choice;
use api::Page;
use api::heartbeat::SidecarView;

/// Lists metering sidecars
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists a tenant's sidecars with their public keys
    #[command(after_help = "\
Examples:
  palisade sidecar list --tenant acme
  palisade sidecar list --tenant acme -o json")]
    List {
        #[command(flatten)]
        tenant: Choice,
    },
}

/// Runs a command about sidecars.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::List { tenant } => {
            let call = Call::to("list_sidecars").at(tenant.pick(client).await?);
            let page: Page<SidecarView> = client.send(call).await?;
            output.list(&page.items)
        }
    }
}

impl Row for SidecarView {
    const COLUMNS: &'static [&'static str] =
        &["ID", "ACTIVE", "EPOCH", "COUNTER", "LAST HEARTBEAT", "PUBLIC KEY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            yes_no(self.active),
            self.epoch.to_string(),
            self.counter.to_string(),
            or_dash(self.last_heartbeat_at),
            self.public_key.clone(),
        ]
    }
}
