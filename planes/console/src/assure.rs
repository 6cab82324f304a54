//! Controls: what is promised, and what the last checks found.

use crate::client::{Call, Client};
use crate::failure::{Exit, Outcome};
use crate::output::{Format, Output, columns, or_dash};
use crate::progress::Progress;
use api::assurance::{FindingView, Findings, RunAssurance};

/// Where a promise is broken into lines.
const PROMISE_WIDTH: usize = 64;

/// Longest fact that is shown; JSON holds all of it.
const FACT_MAX: usize = 120;

/// Checks the controls against the running system
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Runs control checks against the running system and keeps what they find
    #[command(after_help = "\
Examples:
  palisade assure run
  palisade assure run PLAN-3
  palisade assure run -o json > findings.json

Exits with 1 if a control fails. Only `pass` is green: a control that is not enforced, not run or
not built is never counted as one that holds.")]
    Run {
        /// Only this control
        control: Option<String>,
    },
    /// Shows what the last checks found, with every control that is not built yet
    #[command(after_help = "Examples:\n  palisade assure list\n  palisade assure list -o json")]
    List,
}

/// Runs a command about controls.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome<Exit> {
    match command {
        Command::Run { control } => {
            let progress = Progress::spinner("checking controls against the running system");
            let call = Call::to("run_assurance").body(&RunAssurance { control });
            let findings: Findings = client.send(call).await?;
            progress.finish();
            show(&findings, output)?;
            Ok(if findings.findings.iter().any(has_failed) { Exit::Failure } else { Exit::Success })
        }
        Command::List => {
            let findings: Findings = client.send(Call::to("assurance_results")).await?;
            show(&findings, output)?;
            Ok(Exit::Success)
        }
    }
}

fn show(findings: &Findings, output: &mut Output<'_>) -> Outcome {
    match output.format() {
        Format::Json => output.json(findings),
        Format::Table => output.text(&tables(findings, output.is_terminal())),
    }
}

/// One table for each group, in the order of the catalogue, and a line that sums up.
fn tables(findings: &Findings, is_coloured: bool) -> String {
    let is_single = findings.findings.len() == 1;
    let groups = findings.findings.chunk_by(|a, b| a.group == b.group);
    let tables: String = groups.map(|group| table(group, is_single, is_coloured)).collect();
    format!("{tables}{}", summary(findings))
}

/// One group. What was seen is shown where it is needed: under a single control, and under each one that was
/// checked and is not green.
fn table(group: &[FindingView], is_single: bool, is_coloured: bool) -> String {
    let name = group.first().map_or("", |first| first.group.as_str());
    let mut text = format!("{}\n", crate::output::printable(name));
    let mut rows = vec![["OUTCOME", "CONTROL", "PROMISE", "CHECKED"].map(str::to_owned).to_vec()];
    rows.extend(group.iter().map(cells));
    let table = columns(&rows);
    let mut lines = table.lines().peekable();
    text.extend(lines.next().map(|header| format!("  {header}\n")));
    for finding in group {
        text.extend(
            lines.next().map(|line| format!("  {}\n", coloured(line, &finding.outcome, is_coloured))),
        );
        // The further lines of a promise have nothing in the first column.
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&seen(finding, is_single));
    }
    text.push('\n');
    text
}

fn cells(finding: &FindingView) -> Vec<String> {
    vec![
        finding.outcome.clone(),
        finding.control.clone(),
        wrapped(&finding.promise, PROMISE_WIDTH),
        or_dash(finding.time),
    ]
}

/// What a check saw, one fact on each line.
fn seen(finding: &FindingView, is_single: bool) -> String {
    let is_green_or_absent = matches!(finding.outcome.as_str(), "pass" | "not_built");
    if is_green_or_absent && !is_single {
        return String::new();
    }
    let facts = finding.facts.iter().map(|(name, fact)| {
        let fact: String = fact.replace('\n', " ").chars().take(FACT_MAX).collect();
        format!("    {}\n", crate::output::printable(&format!("{name}: {fact}")))
    });
    facts.collect()
}

/// The text broken into lines of at most `width` characters, where words allow it.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// Colours the outcome at the line's beginning.
fn coloured(line: &str, outcome: &str, is_coloured: bool) -> String {
    let colour = match outcome {
        "pass" => "32",
        "fail" => "31;1",
        "not_enforced" | "not_run" => "33",
        _ => "2",
    };
    match line.strip_prefix(outcome) {
        Some(rest) if is_coloured => format!("\u{1b}[{colour}m{outcome}\u{1b}[0m{rest}"),
        _ => line.to_owned(),
    }
}

fn summary(findings: &Findings) -> String {
    let count = |outcome: &str| findings.findings.iter().filter(|f| f.outcome == outcome).count();
    format!(
        "{} controls: {} pass, {} fail, {} not enforced, {} not run, {} not built\n",
        findings.findings.len(),
        count("pass"),
        count("fail"),
        count("not_enforced"),
        count("not_run"),
        count("not_built"),
    )
}

fn has_failed(finding: &FindingView) -> bool {
    finding.outcome == "fail"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_grouped_tables_in_the_order_of_the_catalogue_with_a_sum() {
        let findings = Findings {
            findings: vec![
                finding("PLAN-1", "Signed plans", "pass"),
                finding("PLAN-3", "Signed plans", "fail"),
                finding("NET-1", "Network", "not_enforced"),
            ],
        };
        let text = tables(&findings, false);
        assert!(text.starts_with("Signed plans\n  OUTCOME"), "{text}");
        assert!(text.contains("\n  pass     PLAN-1"), "{text}");
        assert_eq!(text.matches("refused: 14").count(), 2, "only under what is not green: {text}");
        assert!(text.contains("\n\nNetwork\n  OUTCOME"), "{text}");
        assert!(text.ends_with("3 controls: 1 pass, 1 fail, 1 not enforced, 0 not run, 0 not built\n"));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let findings = Findings { findings: vec![finding("PLAN-3", "Signed plans", "fail")] };
        assert!(tables(&findings, true).contains("\u{1b}[31;1mfail\u{1b}[0m"));
        assert!(!tables(&findings, false).contains('\u{1b}'));
    }

    #[test]
    fn a_single_control_shows_what_was_seen_even_if_it_holds() {
        let findings = Findings { findings: vec![finding("PLAN-3", "Signed plans", "pass")] };
        assert!(tables(&findings, false).contains("\n    refused: 14\n"));
    }

    #[test]
    fn a_long_promise_is_broken_between_words_and_loses_none() {
        let promise = "Each plan carries a token ".repeat(8);
        let text = wrapped(&promise, 20);
        assert!(text.lines().count() > 8 && text.lines().all(|line| line.chars().count() <= 20));
        assert!(text.split_whitespace().eq(promise.split_whitespace()));
        let findings = Findings {
            findings: vec![
                FindingView { promise: promise.clone(), ..finding("PLAN-1", "g", "fail") },
                FindingView { promise, ..finding("PLAN-2", "g", "pass") },
            ],
        };
        let table = tables(&findings, true);
        assert_eq!(table.matches("\u{1b}[31;1mfail").count(), 1, "{table}");
        assert_eq!(table.matches("\u{1b}[32mpass").count(), 1, "{table}");
    }

    #[test]
    fn only_a_failure_fails_the_run() {
        for (outcome, fails) in [("pass", false), ("fail", true), ("not_run", false), ("not_built", false)] {
            assert_eq!(has_failed(&finding("X-1", "g", outcome)), fails, "{outcome}");
        }
    }

    fn finding(control: &str, group: &str, outcome: &str) -> FindingView {
        FindingView {
            control: control.into(),
            group: group.into(),
            promise: "something".into(),
            outcome: outcome.into(),
            time: None,
            facts: [("refused".to_owned(), "14".to_owned())].into(),
            evidence_digest: None,
        }
    }
}
