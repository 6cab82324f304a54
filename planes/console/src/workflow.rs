//! Workflows and their versions.

use crate::client::{Call, Client, LIST_MAX};
use crate::failure::{Failure, Outcome};
use crate::output::{Card, Format, Output, Row, short, yes_no};
use crate::tenant::Choice;
use api::workflow::{AppliedWorkflow, ApplyWorkflow, DOCUMENT_MAX, WorkflowView};
use std::path::{Path, PathBuf};
use terms::Name;

/// Applies, lists and disables workflows
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Applies a workflow document: a new workflow, or a new version of one
    #[command(after_help = "\
Examples:
  palisade workflow apply orders.yaml
  palisade workflow apply orders.yaml --tenant acme
  palisade workflow apply - --tenant acme < orders.yaml")]
    Apply {
        /// An Open Workflow DSL 1.0 document, YAML 1.2 or JSON; `-` is stdin
        file: PathBuf,
        #[command(flatten)]
        tenant: Choice,
    },
    /// Lists a tenant's workflows
    #[command(after_help = "Examples:\n  palisade workflow list --tenant acme")]
    List {
        #[command(flatten)]
        tenant: Choice,
        /// Most workflows to list
        #[arg(long, default_value_t = LIST_MAX)]
        limit: u32,
    },
    /// Shows a workflow with its latest document
    #[command(after_help = "\
Examples:
  palisade workflow show orders
  palisade workflow show orders --document > orders.yaml")]
    Show {
        /// Its name
        workflow: Name,
        /// Prints the document alone
        #[arg(long)]
        document: bool,
        #[command(flatten)]
        tenant: Choice,
    },
    /// Stops a workflow from being run; applying a new version enables it again
    #[command(after_help = "Examples:\n  palisade workflow disable orders --tenant acme")]
    Disable {
        /// Its name
        workflow: Name,
        #[command(flatten)]
        tenant: Choice,
    },
}

/// Runs a command about workflows.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    match command {
        Command::Apply { file, tenant } => {
            let document = read_document(&file)?;
            let applied = apply(client, &tenant.pick(client).await?, document).await?;
            show_applied(&applied, output)
        }
        Command::List { tenant, limit } => {
            let call = Call::to("list_workflows").at(tenant.pick(client).await?);
            output.list::<WorkflowView>(&client.list(call, limit).await?)
        }
        Command::Show { workflow, document, tenant } => {
            let tenant = tenant.pick(client).await?;
            let shown: WorkflowView = client.send(Call::to("show_workflow").at(tenant).at(workflow)).await?;
            if document {
                return output.foreign(shown.document.unwrap_or_default().as_bytes());
            }
            output.one(&shown)
        }
        Command::Disable { workflow, tenant } => {
            let tenant = tenant.pick(client).await?;
            let shown: WorkflowView =
                client.send(Call::to("disable_workflow").at(tenant).at(workflow)).await?;
            output.one(&shown)
        }
    }
}

/// Applies `document` for `tenant`.
///
/// # Errors
/// The faults of a document that is refused, each with line and column.
pub(crate) async fn apply(client: &Client, tenant: &str, document: String) -> Outcome<AppliedWorkflow> {
    client.send(Call::to("apply_workflow").at(tenant).body(&ApplyWorkflow { document })).await
}

fn show_applied(applied: &AppliedWorkflow, output: &mut Output<'_>) -> Outcome {
    if output.format() == Format::Json {
        return output.json(applied);
    }
    let workflow = &applied.workflow;
    let what = if applied.changed { "is now" } else { "was already" };
    output.text(&format!("`{}` {what} version {}\n", workflow.name, workflow.version))?;
    output.one(workflow)
}

fn read_document(file: &Path) -> Outcome<String> {
    const NEXT: &str = "send a workflow document in UTF-8, YAML 1.2 or JSON, of at most 1 MiB";
    let bytes = crate::run::read_input(file, DOCUMENT_MAX, NEXT)?;
    String::from_utf8(bytes).map_err(|_| Failure::bad_file(file, "it is not UTF-8 text", NEXT))
}

impl Row for WorkflowView {
    const COLUMNS: &'static [&'static str] = &["NAME", "VERSION", "STATE", "UPDATED", "DIGEST", "CALLS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.version.to_string(),
            self.state.as_str().to_owned(),
            self.updated_at.to_string(),
            short(&self.digest),
            hosts(self),
        ]
    }
}

impl Card for WorkflowView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("name", self.name.to_string()),
            ("id", self.id.to_string()),
            ("version", self.version.to_string()),
            ("enabled", yes_no(self.state == api::workflow::WorkflowState::Enabled)),
            ("digest", self.digest.to_string()),
            ("calls", hosts(self)),
            ("created", self.created_at.to_string()),
            ("updated", self.updated_at.to_string()),
        ];
        if let Some(document) = &self.document {
            fields.push(("document", format!("\n{}", document.trim_end())));
        }
        fields
    }
}

fn hosts(workflow: &WorkflowView) -> String {
    if workflow.hosts.is_empty() { "no host".to_owned() } else { workflow.hosts.join(" ") }
}
