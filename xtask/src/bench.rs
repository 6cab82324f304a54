//! `cargo xtask bench`: the benchmarks of `benches/`, in release, in one run on one machine.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

/// What becomes of the numbers.
pub(crate) enum Report {
    /// They are printed.
    Print,
    /// They are also written to docs/BENCHMARKS.md.
    Write,
}

/// Builds everything in release and runs the benchmarks.
pub(crate) fn run(root: &Path, report: Report) -> Result<()> {
    cargo(root, &["build", "--release", "--workspace", "--bins"])?;
    let program = root.join("target/release/benches");
    let mut command = Command::new(program);
    command.current_dir(root);
    match report {
        Report::Print => {}
        Report::Write => drop(command.arg("--write").arg(root.join("docs/BENCHMARKS.md"))),
    }
    let status = command.status().context("the benchmarks did not start")?;
    if status.success() { Ok(()) } else { bail!("the benchmarks failed: {status}") }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(env!("CARGO")).args(arguments).current_dir(root).status()?;
    if status.success() { Ok(()) } else { bail!("cargo {} failed", arguments.join(" ")) }
}
