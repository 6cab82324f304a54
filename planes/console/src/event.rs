//! Security events.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Output, Row, or_dash};
use wire::event::{EventOutcome, Plane, SecurityEvent};

/// Lists security events, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade events
  palisade events --limit 200 -o json")]
pub(crate) struct Options {
    /// Most events to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Lists them.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome {
    output.list::<SecurityEvent>(&client.list(Call::to("list_events"), options.limit).await?)
}

/// An outcome in one word.
#[must_use]
pub(crate) const fn outcome_text(outcome: EventOutcome) -> &'static str {
    match outcome {
        EventOutcome::Success => "success",
        EventOutcome::Failure => "failure",
        EventOutcome::Denied => "denied",
    }
}

const fn plane_text(plane: Plane) -> &'static str {
    match plane {
        Plane::Control => "control",
        Plane::Data => "data",
        Plane::Sidecar => "sidecar",
        Plane::Node => "node",
    }
}

impl Row for SecurityEvent {
    const COLUMNS: &'static [&'static str] =
        &["TIME", "PLANE", "KIND", "OUTCOME", "REASON", "ACTOR", "RESOURCE", "ADDRESS", "COUNT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.time.to_string(),
            plane_text(self.plane).to_owned(),
            self.kind.as_str().to_owned(),
            outcome_text(self.outcome).to_owned(),
            self.reason.clone(),
            self.actor.clone(),
            self.resource.clone(),
            or_dash(self.address),
            self.count.to_string(),
        ]
    }
}
