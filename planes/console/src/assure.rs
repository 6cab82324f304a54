//! Controls: what is promised, and what the last checks found.

use crate::client::{Call, Client};
use crate::failure::{Exit, Outcome};
use crate::output::{Format, Output, columns, or_dash};
use crate::progress::Progress;
use api::assurance::{FindingView, Findings, RunAssurance};

/// Longest fact in a table; JSON holds all of it.
const FACTS_MAX: usize = 100;

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
    let mut text = String::new();
    for group in findings.findings.chunk_by(|a, b| a.group == b.group) {
        let name = group.first().map_or("", |first| first.group.as_str());
        let mut rows = vec![["OUTCOME", "CONTROL", "PROMISE", "CHECKED", "SEEN"].map(str::to_owned).to_vec()];
        rows.extend(group.iter().map(cells));
        let table = columns(&rows);
        let mut lines = table.lines();
        text.push_str(&format!(
            "{}\n  {}\n",
            crate::output::printable(name),
            lines.next().unwrap_or_default()
        ));
        for (line, finding) in lines.zip(group) {
            text.push_str(&format!("  {}\n", coloured(line, &finding.outcome, is_coloured)));
        }
        text.push('\n');
    }
    text.push_str(&summary(findings));
    text
}

fn cells(finding: &FindingView) -> Vec<String> {
    let facts =
        finding.facts.iter().map(|(name, fact)| format!("{name}={fact}")).collect::<Vec<_>>().join(" ");
    let facts = facts.replace('\n', " ");
    let shown: String = facts.chars().take(FACTS_MAX).collect();
    vec![
        finding.outcome.clone(),
        finding.control.clone(),
        finding.promise.replace('\n', " "),
        or_dash(finding.time),
        if shown.len() < facts.len() { format!("{shown}\u{2026}") } else { shown },
    ]
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
