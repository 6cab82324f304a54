//! Nodes: the hosts where data planes run.

use crate::client::{Call, Client};
use crate::failure::{Failure, Outcome};
use crate::output::{Card, Output};
use crate::state_dir::DISK;
use api::enrolment::{EnrolmentKind, IssueEnrolment, IssuedEnrolment};
use host::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::Timestamp;

/// Brings hosts in
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Writes a one-time token for a host's node into a new file (0600)
    #[command(after_help = "\
Examples:
  palisade node enroll enrol.token

Take the file to the host. Its node uses the token once and deletes the file.")]
    Enroll {
        /// The file; it must not be there yet
        file: PathBuf,
    },
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
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    let Command::Enroll { file } = command;
    if file.symlink_metadata().is_ok() {
        let next = "name a new file, or remove this one first";
        return Err(Failure::bad_file(&file, "it is there already", next));
    }
    let expires_at = enroll(client, &file).await?;
    output.one(&Enrolment { token_file: file, expires_at, control_plane_url: client.url().to_owned() })
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
