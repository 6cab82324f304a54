//! A machine of its own for one test, as far as networks go: processes, mounts, names and links that nobody outside
//! sees, and that end with the test's process, however that ends.

use crate::skipped;
use anyhow::{Context as _, Result, ensure};
use std::process::Command;

/// Says to a process of a test's program that it is on a machine of its own.
const INSIDE: &str = "PALISADE_TEST_ALONE";

/// Makes the machine: no process on it outlives the first, and what is mounted there is seen there alone.
const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Names of namespaces are the machine's own.
const NAMES: &str = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns";

/// Runs `test` on a machine of its own, which the shell's `setup` has furnished; or says loudly why there can be none.
/// The test that calls this is run again, alone, by its program there.
///
/// # Errors
/// When the test fails there; with all that it said.
pub fn alone(setup: &str, test: impl AsyncFnOnce()) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test());
        return Ok(());
    }
    let thread = std::thread::current();
    let name =
        thread.name().filter(|name| *name != "main").context("tests run on threads with their names")?;
    if !host::process::is_root() {
        skipped(name, "this needs root");
        return Ok(());
    }
    let script = format!("{NAMES} && {setup} && exec \"$0\" \"$@\"");
    let machine = |program: &std::path::Path| {
        let mut command = Command::new("unshare");
        command.args(UNSHARE).args(["sh", "-c", &script]).arg(program);
        command
    };
    match machine("true".as_ref()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            skipped(name, &String::from_utf8_lossy(&output.stderr));
            return Ok(());
        }
        Err(error) => {
            skipped(name, &format!("unshare: {error}"));
            return Ok(());
        }
    }
    let mut again = machine(&std::env::current_exe()?);
    again.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = again.output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}
