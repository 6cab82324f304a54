//! The control plane's configuration file.

use crate::failure::{Exit, Outcome};
use crate::output::{Format, Output};
use crate::program;
use std::path::PathBuf;

/// Checks a configuration
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Checks a control plane's configuration file without starting anything
    #[command(after_help = "Examples:\n  palisade config check /etc/palisade/control.toml")]
    Check {
        /// The TOML file
        file: PathBuf,
    },
}

/// Checks it. The program that reads the file checks it, so that there is one reader.
///
/// # Errors
/// [`crate::failure::Failure`] when the program is not there.
pub(crate) async fn run(command: Command, output: &mut Output<'_>) -> Outcome<Exit> {
    let Command::Check { file } = command;
    let arguments = vec!["--check-config".into(), file.into()];
    if !program::run("palisade-control", arguments, output).await?.success() {
        return Ok(Exit::Failure);
    }
    match output.format() {
        Format::Table => output.text("the configuration is valid\n")?,
        Format::Json => output.json(&serde_json::json!({ "valid": true }))?,
    }
    Ok(Exit::Success)
}
