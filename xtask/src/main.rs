//! Developer tasks: `cargo xtask tidy` holds the design's rules, `cargo xtask bench` measures.

mod bench;
mod tidy;

use anyhow::{Result, bail};
use std::path::PathBuf;

const HELP: &str = "cargo xtask <task>
  tidy            checks the design's rules: layers, rooms, file lengths, dependencies
  tidy --update   also rewrites the goldens of dependencies
  bench           builds in release and prints the benchmarks' ratios
  bench --write   also writes them to docs/BENCHMARKS.md";

#[expect(clippy::print_stdout, reason = "a developer's tool speaks on stdout")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(&root(), tidy::Goldens::Compare),
        ["tidy", "--update"] => tidy::run(&root(), tidy::Goldens::Rewrite),
        ["bench"] => bench::run(&root(), bench::Report::Print),
        ["bench", "--write"] => bench::run(&root(), bench::Report::Write),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("no such task: {}\n{HELP}", other.join(" ")),
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or_else(|| own.clone(), PathBuf::from)
}
