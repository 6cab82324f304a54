//! Nodes: the hosts where data planes run.

mod reset;

use crate::client::{Call, Client, LIST_MAX};
use crate::connection;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Card, Output, Row, or_dash};
use crate::state_dir::DISK;
use api::enrolment::{EnrolmentKind, IssueEnrolment, IssuedEnrolment};
use api::network::Driver;
use api::node::{NodeState, NodeView};
use host::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::{NodeId, Timestamp};

/// Brings hosts in, empties them, and takes them out
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists nodes: which hosts there are, and how many tenants each has
    #[command(after_help = "Examples:\n  palisade node list\n  palisade node list -o json")]
    List {
        /// Most nodes to list
        #[arg(long, default_value_t = LIST_MAX)]
        limit: u32,
    },
    /// Writes a one-time token for a host's node into a new file (0600)
    #[command(after_help = "\
Examples:
  palisade node enroll enrol.token

Take the file to the host. Its node uses the token once and deletes the file.")]
    Enroll {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Sends no more tenants to a node, and those that are there to nodes that have room
    #[command(after_help = "\
Examples:
  palisade node drain 0190a000-0000-7000-8000-000000000000

`palisade node list` shows when its last tenant has left.")]
    Drain {
        /// Its id
        node: NodeId,
    },
    /// Lets new tenants come to a node again
    #[command(after_help = "Examples:\n  palisade node resume 0190a000-0000-7000-8000-000000000000")]
    Resume {
        /// Its id
        node: NodeId,
    },
    /// Takes out a node that has no tenants: its certificate opens nothing any more
    #[command(after_help = "Examples:\n  palisade node remove 0190a000-0000-7000-8000-000000000000")]
    Remove {
        /// Its id
        node: NodeId,
    },
    Reset(reset::Options),
}

/// A token that waits to be used.
#[derive(Debug, Serialize)]
struct Enrolment {
    token_file: PathBuf,
    expires_at: Timestamp,
    control_plane_url: String,
}

/// Runs a command about nodes.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(
    command: Command,
    at: &connection::Options,
    output: &mut Output<'_>,
) -> Outcome<Exit> {
    match command {
        Command::List { limit } => {
            output.list::<NodeView>(&at.connect()?.list(Call::to("list_nodes"), limit).await?)?;
        }
        Command::Enroll { file } => output.one(&bring_in(&at.connect()?, file).await?)?,
        Command::Drain { node } => {
            output.one::<NodeView>(&at.connect()?.send(Call::to("drain_node").at(node)).await?)?;
        }
        Command::Resume { node } => {
            output.one::<NodeView>(&at.connect()?.send(Call::to("resume_node").at(node)).await?)?;
        }
        Command::Remove { node } => {
            let () = at.connect()?.send(Call::to("remove_node").at(node)).await?;
            output.text(&format!("removed `{node}`; on its host: palisade node reset --yes\n"))?;
        }
        // It is about this host, whatever has become of the control plane.
        Command::Reset(options) => return reset::run(options, at, output).await,
    }
    Ok(Exit::Success)
}

async fn bring_in(client: &Client, file: PathBuf) -> Outcome<Enrolment> {
    if file.symlink_metadata().is_ok() {
        let next = "name a new file, or remove this one first";
        return Err(Failure::bad_file(&file, "it is there already", next));
    }
    let expires_at = enroll(client, &file).await?;
    Ok(Enrolment { token_file: file, expires_at, control_plane_url: client.url().to_owned() })
}

/// Gets a one-time token for a node into `file`, and says until when it works.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn enroll(client: &Client, file: &Path) -> Outcome<Timestamp> {
    let body = IssueEnrolment { kind: EnrolmentKind::Node, tenant: None };
    let issued: IssuedEnrolment = client.send(Call::to("issue_enrolment").body(&body)).await?;
    files::write_private_atomically(file, issued.token.as_bytes())
        .map_err(|error| Failure::of_file(&error, DISK))?;
    Ok(issued.expires_at)
}

impl Card for Enrolment {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let file = self.token_file.display();
        let url = &self.control_plane_url;
        let start =
            format!("palisade-node --control-plane {url} --enroll-token-file {file} --ca-file CA.pem");
        vec![
            ("token in", file.to_string()),
            ("works once, until", self.expires_at.to_string()),
            ("on the host", start),
        ]
    }
}

const fn state_text(state: NodeState) -> &'static str {
    match state {
        NodeState::Active => "active",
        NodeState::Draining => "draining",
    }
}

const fn driver_text(driver: Driver) -> &'static str {
    match driver {
        Driver::Linux => "linux",
        Driver::Loopback => "loopback",
    }
}

impl Row for NodeView {
    const COLUMNS: &'static [&'static str] = &["NODE", "STATE", "DRIVER", "TENANTS", "LAST SEEN", "ENROLLED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            state_text(self.state).to_owned(),
            or_dash(self.driver.map(driver_text)),
            self.tenants.to_string(),
            self.last_seen_at.to_string(),
            self.enrolled_at.to_string(),
        ]
    }
}

impl Card for NodeView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("node", self.id.to_string()),
            ("state", state_text(self.state).to_owned()),
            ("driver", or_dash(self.driver.map(driver_text))),
            ("tenants", self.tenants.to_string()),
            ("last seen", self.last_seen_at.to_string()),
            ("enrolled", self.enrolled_at.to_string()),
        ]
    }
}
