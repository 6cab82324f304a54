//! Security events and alarms.

use crate::body::{Ask, Strict};
use crate::ctx::Ctx;
use crate::networks;
use crate::node;
use crate::refusal::{Answer, Refusal};
use crate::tenant::page_of;
use api::event::{AlarmView, DeliverEvents, Severity};
use api::execution::Delivered;
use api::page::{Page, PageQuery};
use api::{Code, Problem};
use axum::Json;
use terms::Actor;
use wire::event::{BATCH_MAX, Plane, SecurityEvent};

/// Takes security events from a workload. What it says of others is refused: a data plane speaks for its own
/// tenant, and nobody speaks for another plane.
pub(crate) async fn send(ctx: Ctx, body: Strict<DeliverEvents>) -> Answer<Json<Delivered>> {
    if body.value.events.len() > BATCH_MAX {
        return Err(Problem::new(Code::BodyTooLarge).detail(format!("at most {BATCH_MAX} events")).into());
    }
    let sent = body.value.events.len();
    let mut own = Vec::with_capacity(sent);
    for event in body.value.events {
        if is_own(ctx.actor, &event) && event.is_bounded() {
            own.push(event);
        }
    }
    let node = match ctx.actor {
        Actor::Node(_) => Some(node::caller(&ctx).await?.id),
        Actor::Operator(_) | Actor::DataPlane(_) | Actor::Sidecar(..) | Actor::Enrolling | Actor::System => {
            None
        }
    };
    let refused = sent - own.len();
    ctx.app.metrics.dropped(refused as u64);
    let permit = match ctx.actor {
        Actor::DataPlane(tenant) | Actor::Sidecar(tenant, _) => ctx.permit(tenant)?,
        Actor::Operator(_) | Actor::Node(_) | Actor::Enrolling | Actor::System => ctx.platform()?,
    };
    let kept = own.len();
    let (app, now) = (ctx.app.clone(), ctx.now);
    let new = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                for event in &own {
                    let Some(node) = node else { break };
                    networks::drift_from_event(tx, &app, &permit, node, event, now).await?;
                }
                Ok::<_, Refusal>(tx.events().insert_batch(&permit, &own).await?)
            })
        })
        .await?;
    Ok(Json(Delivered { new, known: kept as u64 - new, refused: refused as u64 }))
}

fn is_own(actor: Actor, event: &SecurityEvent) -> bool {
    match actor {
        Actor::DataPlane(tenant) => event.plane == Plane::Data && event.tenant == Some(tenant),
        Actor::Sidecar(tenant, _) => event.plane == Plane::Sidecar && event.tenant == Some(tenant),
        Actor::Node(_) => event.plane == Plane::Node,
        Actor::Operator(_) | Actor::Enrolling | Actor::System => false,
    }
}

/// Lists security events, newest first.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<SecurityEvent>>> {
    let permit = ctx.platform()?;
    let (items, next) = ctx.app.store.read().await?.events().list(&permit, &page_of(page)).await?;
    Ok(Json(Page { items, next }))
}

/// Lists alarms, newest first.
pub(crate) async fn alarms(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<AlarmView>>> {
    let permit = ctx.platform()?;
    let (rows, next) = ctx.app.store.read().await?.alarms().list(&permit, &page_of(page)).await?;
    Ok(Json(Page { items: rows.into_iter().map(view).collect(), next }))
}

fn view(alarm: store::Alarm) -> AlarmView {
    let severity = match alarm.severity {
        store::Severity::Critical => Severity::Critical,
        store::Severity::High => Severity::High,
        store::Severity::Medium => Severity::Medium,
        store::Severity::Low => Severity::Low,
    };
    AlarmView {
        id: alarm.id,
        kind: alarm.kind,
        severity,
        time: alarm.time,
        tenant: alarm.tenant,
        resource: alarm.resource,
        evidence: serde_json::from_slice(&alarm.evidence).unwrap_or_default(),
        open: alarm.state == store::AlarmState::Open,
    }
}
