//! The demonstration: a tenant, a sample workflow, one verified and metered execution of it.

use super::{PATIENCE_MS, POLL};
use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;
use crate::{run, workflow};
use api::execution::ExecutionView;
use api::tenant::{CreateTenant, TenantState, TenantView};
use api::usage::UsageView;
use serde_json::value::RawValue;
use terms::Name;

/// The demonstration's tenant.
const TENANT: &str = "demo";

/// Most tenants that are looked through for it: far more than one host holds.
const TENANTS_MAX: u32 = 10_000;

/// The sample workflow: a list of orders is validated, totalled and classified; a bad one raises an error.
const WORKFLOW: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/workflow/samples/orders.yaml"));

/// The sample input.
const INPUT: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/workflow/samples/orders.json"));

/// The demonstration before its run.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The tenant.
    pub tenant: TenantView,
    workflow: Name,
}

/// What the demonstration showed.
#[derive(Debug)]
pub(crate) struct Demo {
    /// The execution, ended.
    pub execution: ExecutionView,
    /// The usage that the sidecar metered.
    pub usage: UsageView,
    /// Whether the execution is in it already.
    pub is_counted: bool,
}

/// Creates the tenant unless it is there, and applies the sample workflow.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn prepare(client: &Client, progress: &Progress) -> Outcome<Prepared> {
    progress.step("creating the tenant `demo`");
    let tenant = tenant(client).await?;
    if tenant.state != TenantState::Active {
        let cause = format!("the tenant `demo` is {}", tenant.state.as_str());
        let next = "palisade tenant resume demo, while `palisade up` runs without --demo";
        return Err(Failure::new(Exit::Failure, "tenant_not_active", cause, next));
    }
    let applied = workflow::apply(client, tenant.name.as_str(), WORKFLOW.to_owned()).await?;
    let workflow = applied.workflow;
    progress.done(&format!("tenant `demo` has workflow `{}` v{}", workflow.name, workflow.version));
    Ok(Prepared { tenant, workflow: workflow.name })
}

async fn tenant(client: &Client) -> Outcome<TenantView> {
    let name: Name =
        TENANT.parse().map_err(|error: terms::NameError| Failure::usage(error.to_string(), ""))?;
    // Looked for among all of them: a refusal is audited, and a resumed demonstration did nothing wrong.
    let tenants: Vec<TenantView> = client.list(Call::to("list_tenants"), TENANTS_MAX).await?;
    match tenants.into_iter().find(|tenant| tenant.name == name) {
        Some(tenant) => Ok(tenant),
        None => client.send(Call::to("create_tenant").body(&CreateTenant { name })).await,
    }
}

/// Runs the sample on its input, and waits for its outcome and for the heartbeat that counts it.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(
    client: &Client,
    prepared: Prepared,
    interval_ms: u64,
    progress: &Progress,
) -> Outcome<Demo> {
    let tenant = prepared.tenant;
    let name = tenant.name.to_string();
    let before = usage(client, &name).await?;
    progress.step("running the sample");
    let input = RawValue::from_string(INPUT.to_owned()).map_err(|error| {
        Failure::new(Exit::Failure, "sample", error.to_string(), "report this as a defect")
    })?;
    let started = run::start(client, &name, prepared.workflow, input, &run::new_key()?).await?;
    let execution = run::wait(client, &name, started.id, progress).await?;
    progress.done(&format!("execution {} {}", execution.id, execution.state.as_str()));
    progress.step("waiting for the heartbeat that counts it");
    let (usage, is_counted) = counted(client, &name, &before, interval_ms).await?;
    Ok(Demo { execution, usage, is_counted })
}

async fn usage(client: &Client, tenant: &str) -> Outcome<UsageView> {
    client.send(Call::to("usage").at(tenant)).await
}

/// Waits for a heartbeat, and at most two intervals for the one that counts one more outcome.
async fn counted(
    client: &Client,
    tenant: &str,
    before: &UsageView,
    interval_ms: u64,
) -> Outcome<(UsageView, bool)> {
    let began = host::clock::now();
    let enough_ms = i64::try_from(interval_ms.saturating_mul(2)).unwrap_or(PATIENCE_MS).min(PATIENCE_MS);
    loop {
        let now = usage(client, tenant).await?;
        let waited_ms = host::clock::now().ms_since(began);
        let is_counted = now.totals.outcomes > before.totals.outcomes;
        let is_alive = now.heartbeats > 0;
        if is_counted || (is_alive && waited_ms > enough_ms) {
            return Ok((now, is_counted));
        }
        if waited_ms > PATIENCE_MS {
            let cause = "no heartbeat of the sidecar was accepted within a minute";
            let next = "look at node/logs/meter-* in the state directory, and at: palisade events";
            return Err(Failure::new(Exit::Failure, "no_heartbeat", cause, next));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_input_is_what_an_execution_can_take() {
        assert!(wire::json::check(INPUT.as_bytes(), &wire::plan::BOUNDS).is_ok());
        assert!(WORKFLOW.len() < api::workflow::DOCUMENT_MAX);
        assert!(TENANT.parse::<Name>().is_ok());
    }
}
