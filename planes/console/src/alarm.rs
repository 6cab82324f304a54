//! Alarms.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Output, Row};
use api::event::AlarmView;

/// Longest evidence in a table; JSON holds all of it.
const EVIDENCE_MAX: usize = 60;

/// Lists alarms, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade alarms
  palisade alarms -o json")]
pub(crate) struct Options {
    /// Most alarms to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Lists them.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome {
    output.list::<AlarmView>(&client.list(Call::to("list_alarms"), options.limit).await?)
}

impl Row for AlarmView {
    const COLUMNS: &'static [&'static str] = &["TIME", "SEVERITY", "KIND", "RESOURCE", "EVIDENCE"];

    fn cells(&self) -> Vec<String> {
        let evidence = self.evidence.to_string();
        let shown: String = evidence.chars().take(EVIDENCE_MAX).collect();
        vec![
            self.time.to_string(),
            self.severity.as_str().to_owned(),
            self.kind.clone(),
            self.resource.clone(),
            if shown.len() < evidence.len() { format!("{shown}\u{2026}") } else { shown },
        ]
    }
}
