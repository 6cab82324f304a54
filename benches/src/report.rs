//! The report: what, how much, against what, and whether it reaches its target.

use anyhow::Result;
use std::path::Path;

/// What people found out about the numbers.
const NOTES: &str = include_str!("../NOTES.md");

/// One line.
struct Line {
    what: String,
    measured: String,
    limit: String,
    target: String,
    reached: Reached,
}

/// Whether a line reaches its target.
#[derive(Clone, Copy)]
pub(crate) enum Reached {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It has none; it explains another line.
    Context,
}

impl From<bool> for Reached {
    fn from(reached: bool) -> Self {
        if reached { Self::Yes } else { Self::No }
    }
}

/// All lines of one run.
pub(crate) struct Report {
    machine: String,
    date: String,
    lines: Vec<Line>,
}

impl Report {
    /// Begins a report on this machine.
    pub(crate) fn new() -> Result<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
        let cores = std::thread::available_parallelism()?;
        let machine =
            format!("{}, {cores} cores, load generator included", model.trim_start_matches(['\t', ' ', ':']));
        Ok(Self { machine, date: host::clock::now().to_string(), lines: Vec::new() })
    }

    /// Adds a line.
    pub(crate) fn line(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        limit: impl Into<String>,
        target: impl Into<String>,
        reached: impl Into<Reached>,
    ) {
        let (what, measured) = (what.into(), measured.into());
        let (limit, target, reached) = (limit.into(), target.into(), reached.into());
        self.lines.push(Line { what, measured, limit, target, reached });
    }

    /// Prints the report.
    #[expect(clippy::print_stdout, reason = "a developer's tool speaks on stdout")]
    pub(crate) fn print(&self) {
        println!("{}", self.text());
    }

    /// Writes the report as a document.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(
            path,
            format!("# Benchmarks\n\n`cargo xtask bench --write` wrote this page.\n\n{}{NOTES}", self.text()),
        )?)
    }

    fn text(&self) -> String {
        let mut text = format!("{} on {}.\n\n", self.date, self.machine);
        text.push_str("| what | measured | against | target | reached |\n|---|---|---|---|---|\n");
        for line in &self.lines {
            let reached = match line.reached {
                Reached::Yes => "yes",
                Reached::No => "no",
                Reached::Context => "",
            };
            let Line { what, measured, limit, target, .. } = line;
            text.push_str(&format!("| {what} | {measured} | {limit} | {target} | {reached} |\n"));
        }
        text
    }
}
