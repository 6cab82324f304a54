//! Outcomes: how executions ended, as their data plane says. Each counts once.

use crate::body::Strict;
use crate::ctx::Ctx;
use crate::refusal::Answer;
use api::execution::{DeliverOutcomes, Delivered};
use api::{Code, Problem};
use axum::Json;
use store::{ExecState, Execution, Tx};
use terms::{Actor, Permit, TenantId};
use wire::event::{EventKind, EventOutcome};
use wire::outcome::{BATCH_MAX, Outcome, Status};

/// Takes a batch of outcomes from a data plane.
pub(crate) async fn send(ctx: Ctx, body: Strict<DeliverOutcomes>) -> Answer<Json<Delivered>> {
    let Actor::DataPlane(tenant) = ctx.actor else {
        return Err(Code::Forbidden.into());
    };
    let permit = ctx.permit(tenant)?;
    let outcomes = body.value.outcomes;
    if outcomes.len() > BATCH_MAX {
        return Err(Problem::new(Code::BodyTooLarge).detail(format!("at most {BATCH_MAX} outcomes")).into());
    }
    let taken = outcomes.clone();
    let app = ctx.app.clone();
    let delivered = app.store.write(move |tx| Box::pin(take_all(ctx, tx, permit, tenant, outcomes))).await?;
    for outcome in taken {
        app.metrics.outcome(outcome.reason.as_str());
        app.endings.ended(outcome.execution_id);
    }
    Ok(Json(delivered))
}

async fn take_all(
    ctx: Ctx,
    tx: &mut Tx,
    permit: Permit,
    tenant: TenantId,
    outcomes: Vec<Outcome>,
) -> Answer<Delivered> {
    let mut delivered = Delivered { new: 0, known: 0, refused: 0 };
    for outcome in outcomes {
        match take(&ctx, tx, &permit, tenant, &outcome).await? {
            Taken::New => delivered.new += 1,
            Taken::Known => delivered.known += 1,
            Taken::Refused(reason) => {
                delivered.refused += 1;
                let mut entry = ctx.deed(format!("execution/{}", outcome.execution_id), Some(tenant));
                entry.outcome = EventOutcome::Denied;
                reason.clone_into(&mut entry.reason);
                tx.audit(entry);
                let mut event = ctx.event(
                    EventKind::RequestRefused,
                    format!("execution/{}", outcome.execution_id),
                    Some(tenant),
                )?;
                event.outcome = EventOutcome::Denied;
                reason.clone_into(&mut event.reason);
                tx.event(event);
            }
        }
    }
    Ok(delivered)
}

/// What became of one outcome.
enum Taken {
    New,
    Known,
    Refused(&'static str),
}

async fn take(ctx: &Ctx, tx: &mut Tx, permit: &Permit, tenant: TenantId, outcome: &Outcome) -> Answer<Taken> {
    if outcome.tenant_id != tenant {
        return Ok(Taken::Refused("outcome.foreign_tenant"));
    }
    let Some(execution) = tx.executions().find(permit, outcome.execution_id).await? else {
        return Ok(Taken::Refused("outcome.unknown_execution"));
    };
    if !carries(&execution, outcome) {
        return Ok(Taken::Refused("outcome.other_plan"));
    }
    let state = match outcome.status {
        Status::Completed => ExecState::Completed,
        Status::Faulted => ExecState::Faulted,
        Status::Cancelled => ExecState::Cancelled,
    };
    if !tx.executions().record_outcome(permit, &execution, state, outcome).await? {
        return Ok(Taken::Known);
    }
    let mut entry = ctx.deed(format!("execution/{}", outcome.execution_id), Some(tenant));
    outcome.reason.as_str().clone_into(&mut entry.reason);
    tx.audit(entry);
    Ok(Taken::New)
}

/// Whether the outcome is of the plan that was sent. An execution that was given up still takes its outcome.
fn carries(execution: &Execution, outcome: &Outcome) -> bool {
    execution.plan_id == Some(outcome.plan_id) && execution.plan_hash == Some(outcome.plan_hash)
}
