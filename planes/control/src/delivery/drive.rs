//! Driving one delivery: do what `plan` says is next, write down what came of it.

use super::record;
use super::{POLICY, Pushed, drafted, lease_until, moved};
use crate::app::App;
use crate::refusal::{Answer, Refusal};
use crate::workflow_cache::Compiled;
use ::plan::{Answer as Known, Draft, Event, Next, Stage};
use api::Code;
use api::data_plane::ExecutionKnown;
use serde_json::value::RawValue;
use store::{Execution, ExecutionFacts, IssuedToken};
use terms::{Action, Actor, Permit, PlanId, Scope, Timestamp};
use wire::audit::AuditEntry;
use wire::event::EventOutcome;
use wire::plan::{Plan, PlanBytes};
use wire::plan_token::audience;

/// Most steps in one go; the row stays due, so the rest follows.
const STEPS_MAX: usize = 8;

/// Drives a due row until it has to wait.
pub(super) async fn drive(app: &App, execution: Execution) {
    let mut current = execution;
    for _ in 0..STEPS_MAX {
        match step(app, &current).await {
            Ok(Some(next)) => current = next,
            Ok(None) => return,
            Err(refusal) => {
                // The lease runs out and the row is due again.
                tracing::warn!(execution = %current.id, code = refusal.code(), "a delivery step failed");
                return;
            }
        }
    }
}

/// Pushes a plan whose delivery is recorded as going out, and records what came of it.
pub(super) async fn push(app: &App, execution: &Execution, bytes: PlanBytes, token: &str) {
    let pushed = app.dispatcher.peers().push(app, execution.tenant, bytes, token).await;
    app.metrics.pushed(pushed.as_str());
    let event = match pushed {
        Pushed::Accepted => Event::Accepted,
        Pushed::Deferred => Event::Deferred,
        Pushed::Refused(code) => Event::Refused(code),
        Pushed::Unreachable => Event::Unreachable,
        Pushed::Silent => Event::SendFailed,
    };
    if let Err(refusal) = happened(app, execution, vec![event], None).await {
        tracing::warn!(execution = %execution.id, code = refusal.code(), "what came of a push was not kept");
    }
}

/// Does the next thing. `None`: nothing more for now.
async fn step(app: &App, execution: &Execution) -> Answer<Option<Execution>> {
    let now = app.clock.now();
    let delivery = record::read(&execution.delivery)?;
    let peers = app.dispatcher.peers();
    match delivery.next(now, &POLICY) {
        Next::Done | Next::Wait { .. } => {
            happened(app, execution, vec![], None).await?;
            Ok(None)
        }
        Next::Draft => {
            let plan = redraft(app, execution, PlanId::mint(now, app.entropy()?), now).await?;
            let (bytes, token) = sign(app, &plan)?;
            let compact = token.compact.clone();
            let events = vec![drafted(&plan, &bytes), Event::Sending];
            let going = happened(app, execution, events, Some(token)).await?;
            send(app, going, bytes, &compact).await
        }
        Next::Send => {
            let Stage::Sent(sent) = &delivery.stage else { return Ok(None) };
            let plan = redraft(app, execution, sent.plan_id, sent.issued_at).await?;
            let bytes = write(&plan)?;
            if bytes.hash() != sent.plan_hash {
                // Another release writes other bytes. The plan in hand can only expire; then a new one is drafted.
                return happened(app, execution, vec![Event::Sending, Event::SendFailed], None).await;
            }
            let token = token(app, execution).await?;
            let going = happened(app, execution, vec![Event::Sending], None).await?;
            send(app, going, bytes, &token).await
        }
        Next::Ask => {
            let answer = peers.ask(app, execution.tenant, execution.id).await.map_or(Known::NoAnswer, known);
            happened(app, execution, vec![Event::Asked(answer)], None).await
        }
        Next::Cancel => {
            let event = match peers.cancel(app, execution.tenant, execution.id).await {
                Ok(answer) if answer.known => Event::CancelTaken,
                Ok(answer) => Event::Asked(known(answer)),
                Err(_) => Event::Asked(Known::NoAnswer),
            };
            happened(app, execution, vec![event], None).await
        }
        Next::GiveUp(reason) => {
            tracing::warn!(execution = %execution.id, ?reason, "an execution was given up");
            happened(app, execution, vec![Event::GaveUp], None).await
        }
    }
}

async fn send(
    app: &App,
    going: Option<Execution>,
    bytes: PlanBytes,
    token: &str,
) -> Answer<Option<Execution>> {
    if let Some(execution) = going {
        push(app, &execution, bytes, token).await;
    }
    Ok(None)
}

fn known(answer: ExecutionKnown) -> Known {
    if answer.known { Known::Known } else { Known::Unknown { journal_since: answer.journal_since } }
}

/// Applies events to the delivery as it is kept now, in one commit with the token of a plan that was drafted.
/// `None`: the execution has ended meanwhile.
async fn happened(
    app: &App,
    execution: &Execution,
    events: Vec<Event>,
    token: Option<IssuedToken>,
) -> Answer<Option<Execution>> {
    let now = app.clock.now();
    let permit = own_permit(app, execution)?;
    let jitter = u16::from_le_bytes(app.entropy()?);
    let id = execution.id;
    let going_out = events.contains(&Event::Sending);
    let next = app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let current = tx.executions().load(&permit, id).await?;
                if current.state.is_final() {
                    return Ok(None);
                }
                let before = current.state;
                let mut delivery = record::read(&current.delivery)?;
                for event in events {
                    delivery.apply(event, now, jitter, &POLICY).map_err(Refusal::internal)?;
                }
                let mut next = moved(current, &delivery, now)?;
                if going_out {
                    next.attempts += 1;
                    next.due_at = Some(lease_until(now));
                }
                tx.executions().update_delivery(&permit, &next).await?;
                if let Some(token) = token {
                    tx.executions().issue_token(&permit, &next, &token).await?;
                }
                if next.state != before {
                    tx.audit(transition(&next, now));
                }
                Ok::<_, Refusal>(Some(next))
            })
        })
        .await?;
    if next.as_ref().is_none_or(|row| row.state.is_final()) {
        app.endings.ended(id);
    }
    Ok(next.filter(|row| !row.state.is_final()))
}

fn transition(execution: &Execution, now: Timestamp) -> AuditEntry {
    AuditEntry {
        time: now,
        actor: Actor::System.to_string(),
        action: Action::StartExecution.as_str().to_owned(),
        resource: format!("execution/{}", execution.id),
        tenant: Some(execution.tenant),
        outcome: EventOutcome::Success,
        reason: execution.state.as_str().to_owned(),
        request_digest: None,
    }
}

/// Drafts the plan `plan_id` of an execution; the same arguments always give the same bytes.
pub(super) async fn redraft(
    app: &App,
    execution: &Execution,
    plan_id: PlanId,
    issued_at: Timestamp,
) -> Answer<Plan> {
    let permit = own_permit(app, execution)?;
    let mut reader = app.store.read().await?;
    let row = reader.workflows().find(&permit, execution.tenant, &execution.workflow.name).await?;
    let row = row.ok_or(Code::NotFound)?;
    let version = execution.workflow.version;
    let compiled = app.workflows.compiled(&mut reader, &permit, &row, version).await?;
    let input = reader.executions().input(&permit, execution.id).await?;
    let input: Box<RawValue> = serde_json::from_slice(&input).map_err(Refusal::internal)?;
    Ok(draft(app, plan_id, execution.facts(), &compiled, input, issued_at))
}

/// Drafts a plan.
pub(super) fn draft(
    app: &App,
    plan_id: PlanId,
    facts: ExecutionFacts<'_>,
    compiled: &Compiled,
    input: Box<RawValue>,
    issued_at: Timestamp,
) -> Plan {
    Draft {
        plan_id,
        execution_id: facts.id,
        tenant_id: facts.tenant,
        issuer: app.config.public_url.clone(),
        workflow: facts.workflow.clone(),
        issued_at,
        limits: facts.limits,
        egress: compiled.egress.clone(),
        document: compiled.document.clone(),
        input,
    }
    .into_plan()
}

/// Writes a plan: the bytes that are hashed, signed and sent.
pub(super) fn write(plan: &Plan) -> Answer<PlanBytes> {
    ::plan::write(plan).map_err(|_| Refusal::from(Code::PlanTooLarge))
}

/// The token that an execution's plan went out with.
pub(super) async fn token(app: &App, execution: &Execution) -> Answer<String> {
    let permit = own_permit(app, execution)?;
    Ok(app.store.read().await?.executions().plan_token(&permit, execution.id).await?)
}

/// Writes a plan once and signs it with the active key.
pub(super) fn sign(app: &App, plan: &Plan) -> Answer<(PlanBytes, IssuedToken)> {
    let bytes = write(plan)?;
    let signer = app.signers.active().ok_or(Code::Unavailable)?;
    let claims = ::plan::claims(&bytes, plan, audience(&app.domain, plan.tenant_id));
    let compact = signer.sign(&claims).map_err(Refusal::internal)?;
    Ok((bytes, IssuedToken { key: signer.kid().clone(), compact }))
}

fn own_permit(app: &App, execution: &Execution) -> Answer<Permit> {
    app.own_permit(Action::StartExecution, Scope::Tenant(execution.tenant))
}
