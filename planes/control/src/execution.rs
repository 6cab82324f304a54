//! Executions: start, list, show, output, cancel.

mod output;
mod start;

pub(crate) use output::{output, plan};
pub(crate) use start::start;

use crate::body::{Ask, At};
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use api::Code;
use api::execution::{ExecutionQuery, ExecutionState, ExecutionView, ExecutionWait, PlanView, WAIT_MS_MAX};
use api::page::Page;
use axum::Json;
use http::StatusCode;
use std::time::Duration;
use store::{ExecState, Execution, ExecutionFilter};
use terms::{ExecutionId, Permit, TenantId, TenantRef};
use wire::event::EventKind;

/// Lists executions, newest first.
pub(crate) async fn list(
    ctx: Ctx,
    At(which): At<TenantRef>,
    Ask(query): Ask<ExecutionQuery>,
) -> Answer<Json<Page<ExecutionView>>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let filter = ExecutionFilter { workflow: query.workflow, state: query.state.map(state_row) };
    let page = api::page::PageQuery { after: query.after, limit: query.limit };
    let page = crate::tenant::page_of(page);
    let (rows, next) =
        ctx.app.store.read().await?.executions().list(&permit, tenant.id, &filter, &page).await?;
    Ok(Json(Page { items: rows.into_iter().map(view).collect(), next }))
}

/// Shows an execution; on request once it has ended, or when the wait is over.
pub(crate) async fn show(
    ctx: Ctx,
    At((which, id)): At<(TenantRef, ExecutionId)>,
    Ask(wait): Ask<ExecutionWait>,
) -> Answer<Json<ExecutionView>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let wait_ms = wait.wait_ms.unwrap_or(0).min(WAIT_MS_MAX);
    let waiting = if wait_ms > 0 { ctx.app.endings.of(id) } else { None };
    let Some(waiting) = waiting else {
        return Ok(Json(view(load(&ctx, &permit, tenant.id, id).await?)));
    };
    // Listen before looking, so that an end between the two is not missed.
    let ended = waiting.notified();
    tokio::pin!(ended);
    ended.as_mut().enable();
    let execution = load(&ctx, &permit, tenant.id, id).await?;
    if execution.state.is_final() {
        return Ok(Json(view(execution)));
    }
    let _woken_or_not = tokio::time::timeout(Duration::from_millis(wait_ms), ended).await;
    Ok(Json(view(load(&ctx, &permit, tenant.id, id).await?)))
}

/// Cancels an execution: at once if no plan can have arrived, else by asking its data plane.
pub(crate) async fn cancel(
    ctx: Ctx,
    At((which, id)): At<(TenantRef, ExecutionId)>,
) -> Answer<(StatusCode, Json<ExecutionView>)> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let current = load(&ctx, &permit, tenant.id, id).await?;
    if current.state.is_final() {
        return Err(Code::ExecutionEnded.into());
    }
    let entry = ctx.deed(format!("execution/{id}"), Some(tenant.id));
    let event = ctx.event(EventKind::ExecutionChanged, entry.resource.clone(), Some(tenant.id))?;
    let now = ctx.now;
    let next = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let current = tx.executions().load(&permit, id).await?;
                let next = crate::delivery::cancelled(current, now)?;
                tx.executions().update_delivery(&permit, &next).await?;
                tx.audit(entry);
                tx.event(event);
                Ok::<_, Refusal>(next)
            })
        })
        .await?;
    ctx.app.dispatcher.wake();
    Ok((StatusCode::ACCEPTED, Json(view(next))))
}

/// Loads an execution of one tenant; another tenant's is not there.
async fn load(ctx: &Ctx, permit: &Permit, tenant: TenantId, id: ExecutionId) -> Answer<Execution> {
    let execution = ctx.app.store.read().await?.executions().find(permit, id).await?;
    execution.filter(|execution| execution.tenant == tenant).ok_or_else(|| Code::NotFound.into())
}

fn view(row: Execution) -> ExecutionView {
    let plan = match (row.plan_id, row.plan_hash, row.plan_issued_at) {
        (Some(id), Some(hash), Some(issued_at)) => {
            Some(PlanView { id, hash, key: row.plan_key, issued_at, attempt: row.attempts })
        }
        _ => None,
    };
    ExecutionView {
        id: row.id,
        workflow: row.workflow,
        state: state_view(row.state),
        created_at: row.created_at,
        limits: row.limits,
        plan,
        outcome: row.outcome,
    }
}

const fn state_view(state: ExecState) -> ExecutionState {
    match state {
        ExecState::Queued => ExecutionState::Queued,
        ExecState::Sent => ExecutionState::Sent,
        ExecState::Accepted => ExecutionState::Accepted,
        ExecState::Completed => ExecutionState::Completed,
        ExecState::Faulted => ExecutionState::Faulted,
        ExecState::Cancelled => ExecutionState::Cancelled,
        ExecState::GaveUp => ExecutionState::GaveUp,
    }
}

const fn state_row(state: ExecutionState) -> ExecState {
    match state {
        ExecutionState::Queued => ExecState::Queued,
        ExecutionState::Sent => ExecState::Sent,
        ExecutionState::Accepted => ExecState::Accepted,
        ExecutionState::Completed => ExecState::Completed,
        ExecutionState::Faulted => ExecState::Faulted,
        ExecutionState::Cancelled => ExecState::Cancelled,
        ExecutionState::GaveUp => ExecState::GaveUp,
    }
}
