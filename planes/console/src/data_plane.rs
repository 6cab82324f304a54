//! Data planes.

use crate::client::{Call, Client, LIST_MAX};
use crate::failure::Outcome;
use crate::output::{Output, Row, yes_no};
use api::data_plane::DataPlaneView;

/// Lists data planes
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists data planes: where each runs, and which walls stand there
    #[command(after_help = "Examples:\n  palisade data-plane list\n  palisade data-plane list -o json")]
    List {
        /// Most data planes to list
        #[arg(long, default_value_t = LIST_MAX)]
        limit: u32,
    },
}

/// Runs a command about data planes.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::List { limit } => output.list(&all(client, limit).await?),
    }
}

/// At most `limit` data planes.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn all(client: &Client, limit: u32) -> Outcome<Vec<DataPlaneView>> {
    client.list(Call::to("list_data_planes"), limit).await
}

impl Row for DataPlaneView {
    const COLUMNS: &'static [&'static str] =
        &["TENANT", "URL", "PID", "SIDECAR PID", "OWN UIDS", "OWN NETWORK", "LAST SEEN"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.tenant_name.to_string(),
            self.url.clone(),
            self.pid.to_string(),
            self.sidecar_pid.to_string(),
            yes_no(self.zones_enforced),
            yes_no(self.networks_enforced),
            self.last_seen_at.to_string(),
        ]
    }
}
