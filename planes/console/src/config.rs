//! The control plane's configuration file.

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format, Output};
use host::process::{Output as Stderr, Spawn, current_exe_sibling};
use std::path::PathBuf;
use tokio::io::AsyncReadExt as _;

/// The longest report that is passed on.
const REPORT_MAX: u64 = 64 * 1024;

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
/// [`Failure`] when the program is not there.
pub(crate) async fn run(command: Command, output: &mut Output<'_>) -> Outcome<Exit> {
    let Command::Check { file } = command;
    let unusable = |error: String| {
        let next = "install palisade-control beside palisade; both come from the same build";
        Failure::new(Exit::Failure, "program_missing", error, next)
    };
    let program = current_exe_sibling("palisade-control").map_err(|error| unusable(error.to_string()))?;
    let here = std::env::current_dir().map_err(|error| unusable(error.to_string()))?;
    let mut spawn = Spawn::new(program, here);
    spawn.args = vec!["--check-config".into(), file.into()];
    spawn.stderr = Stderr::Inherit;
    spawn.stdout_pipe = true;
    let mut running = spawn.spawn().await.map_err(|error| unusable(error.to_string()))?;
    let mut report = Vec::new();
    if let Some(stdout) = running.take_stdout() {
        stdout
            .take(REPORT_MAX)
            .read_to_end(&mut report)
            .await
            .map_err(|error| unusable(error.to_string()))?;
    }
    let status = running.wait().await.map_err(|error| unusable(error.to_string()))?;
    output.foreign(&report)?;
    if !status.success() {
        return Ok(Exit::Failure);
    }
    match output.format() {
        Format::Table => output.text("the configuration is valid\n")?,
        Format::Json => output.json(&serde_json::json!({ "valid": true }))?,
    }
    Ok(Exit::Success)
}
