//! Programs of this release that a command runs beside itself.

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use host::process::{Output as Stderr, Spawn, current_exe_sibling};
use std::ffi::OsString;
use std::process::ExitStatus;
use tokio::io::AsyncReadExt as _;

/// The longest report that is passed on.
const REPORT_MAX: u64 = 64 * 1024;

/// Runs the program `name` in this folder, passes on what it prints, and says how it ended. What it complains of goes to
/// stderr as it comes.
///
/// # Errors
/// [`Failure`] when it is not there or cannot be waited for.
pub(crate) async fn run(
    name: &str,
    arguments: Vec<OsString>,
    output: &mut Output<'_>,
) -> Outcome<ExitStatus> {
    let unusable = |error: String| {
        let next = format!("install {name} beside palisade; both come from the same build");
        Failure::new(Exit::Failure, "program_missing", error, next)
    };
    let program = current_exe_sibling(name).map_err(|error| unusable(error.to_string()))?;
    let here = std::env::current_dir().map_err(|error| unusable(error.to_string()))?;
    let mut spawn = Spawn::new(program, here);
    spawn.args = arguments;
    spawn.stderr = Stderr::Inherit;
    spawn.stdout_pipe = true;
    let mut running = spawn.spawn().await.map_err(|error| unusable(error.to_string()))?;
    let mut report = Vec::new();
    if let Some(stdout) = running.take_stdout() {
        let read = stdout.take(REPORT_MAX).read_to_end(&mut report).await;
        read.map_err(|error| unusable(error.to_string()))?;
    }
    let status = running.wait().await.map_err(|error| unusable(error.to_string()))?;
    output.foreign(&report)?;
    Ok(status)
}
