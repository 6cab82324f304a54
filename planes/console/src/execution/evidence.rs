//! `execution plan`: what proves that an execution was authorised, in three files.

use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Card;
use api::execution::SignedPlanView;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::files::{self, Owner};
use serde::Serialize;
use std::path::{Path, PathBuf};
use terms::ExecutionId;

/// What was saved.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    execution: ExecutionId,
    token: PathBuf,
    plan: PathBuf,
    jwks: PathBuf,
}

/// Saves the plan's exact bytes, its token as it went out, and the keys that are published now.
pub(super) async fn save(
    client: &Client,
    tenant: &str,
    execution: ExecutionId,
    folder: PathBuf,
) -> Outcome<Saved> {
    let signed: SignedPlanView = client.send(Call::to("execution_plan").at(tenant).at(execution)).await?;
    let plan = STANDARD.decode(&signed.plan).map_err(|error| {
        let cause = format!("the plan that the control plane sent is not base64: {error}");
        Failure::new(Exit::Failure, "bad_answer", cause, "check the URL, and that both are of one release")
    })?;
    let jwks: serde_json::Value = client.send(Call::to("jwks")).await?;
    if !folder.is_dir() {
        files::create_dir(&folder, 0o755, Owner::This).map_err(not_saved)?;
    }
    let saved = Saved {
        execution,
        token: folder.join("plan.jwt"),
        plan: folder.join("plan.json"),
        jwks: folder.join("jwks.json"),
    };
    keep(&saved.token, signed.token.as_bytes())?;
    keep(&saved.plan, &plan)?;
    keep(&saved.jwks, jwks.to_string().as_bytes())?;
    Ok(saved)
}

/// Only the caller may read them: a plan holds its workflow and its input.
fn keep(file: &Path, bytes: &[u8]) -> Outcome {
    files::write_private_atomically(file, bytes).map_err(not_saved)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn not_saved(error: files::FileError) -> Failure {
    Failure::of_file(&error, "name a folder that you may write to with --folder")
}

impl Card for Saved {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let (token, plan, jwks) = (self.token.display(), self.plan.display(), self.jwks.display());
        vec![
            ("execution", self.execution.to_string()),
            ("token", token.to_string()),
            ("plan", plan.to_string()),
            ("keys", jwks.to_string()),
            ("verify with", format!("palisade verify plan {token} {plan} --jwks {jwks}")),
        ]
    }
}
