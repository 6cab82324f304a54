//! Executions.

mod evidence;

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Card, Output, Row, duration};
use crate::tenant::Choice;
use api::execution::{ExecutionQuery, ExecutionState, ExecutionView};
use std::path::PathBuf;
use terms::{ExecutionId, Name};

/// Lists, shows and cancels executions
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists executions, newest first
    #[command(after_help = "\
Examples:
  palisade execution list
  palisade execution list --tenant acme --workflow orders --state faulted")]
    List {
        #[command(flatten)]
        tenant: Choice,
        /// Only those of this workflow
        #[arg(long)]
        workflow: Option<Name>,
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Most executions to list
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Shows an execution with its plan and its outcome
    #[command(after_help = "\
Examples:
  palisade execution show 0190a000-0000-7000-8000-000000000000
  palisade execution show 0190a000-0000-7000-8000-000000000000 -o json")]
    Show {
        /// Its id
        execution: ExecutionId,
        #[command(flatten)]
        tenant: Choice,
    },
    /// Streams an execution's output out of its data plane
    #[command(after_help = "\
Examples:
  palisade execution output 0190a000-0000-7000-8000-000000000000
  palisade execution output 0190a000-0000-7000-8000-000000000000 --tenant acme > result.json")]
    Output {
        /// Its id
        execution: ExecutionId,
        #[command(flatten)]
        tenant: Choice,
    },
    /// Saves an execution's plan, its token and the published keys, for anyone to verify
    #[command(after_help = "\
Examples:
  palisade execution plan 0190a000-0000-7000-8000-000000000000
  palisade execution plan 0190a000-0000-7000-8000-000000000000 --folder evidence --tenant acme")]
    Plan {
        /// Its id
        execution: ExecutionId,
        /// The folder for the three files; one named after the execution if absent
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        #[command(flatten)]
        tenant: Choice,
    },
    /// Cancels an execution
    #[command(after_help = "Examples:\n  palisade execution cancel 0190a000-0000-7000-8000-000000000000")]
    Cancel {
        /// Its id
        execution: ExecutionId,
        #[command(flatten)]
        tenant: Choice,
    },
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum State {
    /// Recorded; no plan was sent yet
    Queued,
    /// A plan was sent; no answer yet
    Sent,
    /// The data plane has it, durably
    Accepted,
    /// It reached its end
    Completed,
    /// It did not
    Faulted,
    /// Somebody cancelled it
    Cancelled,
    /// The data plane did not come back in time, or refused it
    GaveUp,
}

/// Runs a command about executions.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::List { tenant, workflow, state, limit } => {
            let query =
                ExecutionQuery { workflow, state: state.map(ExecutionState::from), ..Default::default() };
            let call = Call::to("list_executions").at(tenant.pick(client).await?).query(&query);
            output.list::<ExecutionView>(&client.list(call, limit).await?)
        }
        Command::Show { execution, tenant } => {
            let tenant = tenant.pick(client).await?;
            let shown: ExecutionView =
                client.send(Call::to("show_execution").at(tenant).at(execution)).await?;
            output.one(&shown)
        }
        Command::Output { execution, tenant } => {
            let tenant = tenant.pick(client).await?;
            client.stream(Call::to("execution_output").at(tenant).at(execution), output).await
        }
        Command::Plan { execution, folder, tenant } => {
            let tenant = tenant.pick(client).await?;
            let folder = folder.unwrap_or_else(|| PathBuf::from(execution.to_string()));
            output.one(&evidence::save(client, &tenant, execution, folder).await?)
        }
        Command::Cancel { execution, tenant } => {
            let tenant = tenant.pick(client).await?;
            let shown: ExecutionView =
                client.send(Call::to("cancel_execution").at(tenant).at(execution)).await?;
            output.one(&shown)
        }
    }
}

impl From<State> for ExecutionState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Sent => Self::Sent,
            State::Accepted => Self::Accepted,
            State::Completed => Self::Completed,
            State::Faulted => Self::Faulted,
            State::Cancelled => Self::Cancelled,
            State::GaveUp => Self::GaveUp,
        }
    }
}

impl Row for ExecutionView {
    const COLUMNS: &'static [&'static str] =
        &["ID", "WORKFLOW", "STATE", "REASON", "STARTED", "TOOK", "STEPS"];

    fn cells(&self) -> Vec<String> {
        let outcome = self.outcome.as_ref();
        vec![
            self.id.to_string(),
            format!("{} v{}", self.workflow.name, self.workflow.version),
            self.state.as_str().to_owned(),
            outcome.map_or("-", |o| o.reason.as_str()).to_owned(),
            self.created_at.to_string(),
            outcome.map_or_else(|| "-".to_owned(), |o| duration(o.wall_time_ms)),
            outcome.map_or_else(|| "-".to_owned(), |o| o.steps.to_string()),
        ]
    }
}

impl Card for ExecutionView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("execution", self.id.to_string()),
            ("workflow", format!("{} v{}", self.workflow.name, self.workflow.version)),
            ("state", self.state.as_str().to_owned()),
            ("started", self.created_at.to_string()),
        ];
        if let Some(plan) = &self.plan {
            fields.push(("plan", plan.id.to_string()));
            fields.push(("plan hash", plan.hash.to_string()));
            fields.extend(plan.key.as_ref().map(|key| ("signed by key", key.to_string())));
            fields.push(("plan attempt", plan.attempt.to_string()));
        }
        if let Some(outcome) = &self.outcome {
            fields.push(("ended", outcome.finished_at.to_string()));
            fields.push(("reason", outcome.reason.as_str().to_owned()));
            fields.push(("took", duration(outcome.wall_time_ms)));
            fields.push(("steps", outcome.steps.to_string()));
            fields.push(("http calls", outcome.http_calls.to_string()));
            fields.push(("resumes", outcome.resumes.to_string()));
            fields.push(("output bytes", outcome.output_bytes.to_string()));
            fields.push(("output digest", outcome.output_digest.to_string()));
        }
        fields
    }
}
