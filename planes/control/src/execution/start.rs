//! Starting an execution: checked, drafted, signed and durable before it is answered; sent right after.

use super::view;
use crate::body::{At, Strict};
use crate::ctx::Ctx;
use crate::delivery::{self, Prepared};
use crate::refusal::{Answer, Refusal};
use crate::tenant::require_active;
use api::execution::{ExecutionView, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, INPUT_MAX, StartExecution};
use api::{Code, Problem};
use axum::Json;
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use std::sync::Arc;
use store::{Idempotency, NewExecution, WorkflowState};
use terms::{Digest, ExecutionId, Permit, TenantRef};
use wire::json::{self, Bounds};
use wire::plan::{Limits, WorkflowVersion};

/// Bounds of an input: in a plan it stands one level below the plan itself.
const INPUT: Bounds =
    Bounds { bytes: INPUT_MAX, depth: wire::plan::BOUNDS.depth - 1, nodes: wire::plan::BOUNDS.nodes };

/// Starts an execution of a workflow's latest version.
pub(crate) async fn start(
    ctx: Ctx,
    At(which): At<TenantRef>,
    headers: HeaderMap,
    body: Strict<StartExecution>,
) -> Answer<(StatusCode, Json<ExecutionView>)> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    require_active(&tenant)?;
    let key = idempotency_key(&headers)?;
    if let Some(there) = replayed(&ctx, &permit, tenant.id, &key, body.digest).await? {
        return Ok((StatusCode::OK, Json(there)));
    }
    let StartExecution { workflow, input, limits } = body.value;
    let input = bounded(&input)?;
    let mut reader = ctx.app.store.read().await?;
    let row = reader.workflows().find(&permit, tenant.id, &workflow).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound).detail(format!("workflow `{workflow}`")))?;
    if row.state == WorkflowState::Disabled {
        return Err(Code::WorkflowDisabled.into());
    }
    let compiled = ctx.app.workflows.compiled(&mut reader, &permit, &row, row.latest).await?;
    drop(reader);
    let execution = NewExecution {
        id: ExecutionId::mint(ctx.now, ctx.app.entropy()?),
        tenant: tenant.id,
        workflow: WorkflowVersion { id: row.id, name: row.name, version: row.latest },
        limits: limits_of(limits, ctx.app.config.limits)?,
        input,
        idempotency: Some(Idempotency { key, request_digest: body.digest }),
        created_at: ctx.now,
    };
    let prepared = delivery::prepare(&ctx.app, &execution, &compiled, ctx.now)?;
    keep(&ctx, permit, execution, prepared).await
}

async fn keep(
    ctx: &Ctx,
    permit: Permit,
    execution: NewExecution,
    prepared: Prepared,
) -> Answer<(StatusCode, Json<ExecutionView>)> {
    let (tenant, request) = (execution.tenant, execution.idempotency.clone());
    let mut entry = ctx.deed(format!("execution/{}", execution.id), Some(tenant));
    entry.request_digest = request.as_ref().map(|r| r.request_digest);
    let (writer_permit, first) = (permit.clone(), prepared.delivery.clone());
    let written = ctx.app.store.write(move |tx| {
        Box::pin(async move {
            let row = tx.executions().insert(&writer_permit, &execution, &first).await?;
            tx.audit(entry);
            Ok::<_, store::StoreError>(row)
        })
    });
    match (written.await, request) {
        (Ok(row), _) => {
            ctx.app.dispatcher.push(Arc::clone(&ctx.app), row.clone(), prepared);
            Ok((StatusCode::CREATED, Json(view(row))))
        }
        // Two requests with one key at the same moment: the second is answered with the first.
        (Err(store::WriteError::Work(store::StoreError::Conflict(_))), Some(request)) => {
            let there = replayed(ctx, &permit, tenant, &request.key, request.request_digest).await?;
            there.map(|there| (StatusCode::OK, Json(there))).ok_or_else(|| Code::Internal.into())
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// An input that a plan can carry.
fn bounded(input: &RawValue) -> Answer<Vec<u8>> {
    let input = input.get().as_bytes();
    json::check(input, &INPUT).map_err(|why| Problem::new(Code::InputInvalid).detail(why.to_string()))?;
    Ok(input.to_vec())
}

/// The execution that this key started before, if it asked for the same.
async fn replayed(
    ctx: &Ctx,
    permit: &Permit,
    tenant: terms::TenantId,
    key: &str,
    request: Digest,
) -> Answer<Option<ExecutionView>> {
    let found = ctx.app.store.read().await?.executions().find_by_idempotency(permit, tenant, key).await?;
    match found {
        None => Ok(None),
        Some((row, digest)) if digest == request => Ok(Some(view(row))),
        Some(_) => Err(Code::IdempotencyKeyReused.into()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Answer<String> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Code::IdempotencyKeyMissing.into());
    };
    let text = value.to_str().ok().filter(|t| (1..=IDEMPOTENCY_KEY_MAX).contains(&t.len()));
    text.map(str::to_owned).ok_or_else(|| Refusal::from(Code::IdempotencyKeyMissing))
}

/// The caller's limits, if each is between one and the platform's.
fn limits_of(asked: Option<Limits>, platform: Limits) -> Answer<Limits> {
    let Some(asked) = asked else { return Ok(platform) };
    let zero = [asked.wall_time_ms, asked.steps, asked.memory_bytes, asked.output_bytes, asked.http_calls]
        .contains(&0);
    if zero || asked.min(platform) != asked {
        let detail = format!("the platform allows {}", serde_json::json!(platform));
        return Err(Problem::new(Code::LimitsInvalid).detail(detail).into());
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_no_plan_could_carry_is_invalid() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let input = |text: String| RawValue::from_string(text).unwrap();
        assert_eq!(bounded(&input(nested(63))).unwrap(), nested(63).into_bytes());
        for bad in [nested(64), format!("\"{}\"", "a".repeat(INPUT_MAX)), r#"{"a":1,"a":1}"#.to_owned()] {
            assert_eq!(bounded(&input(bad)).unwrap_err().code(), "input_invalid");
        }
    }
}
