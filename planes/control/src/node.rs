//! Nodes: who they are, and draining, taking back, removing them.

use crate::body::{Ask, At};
use crate::ctx::Ctx;
use crate::networks::{self, Places};
use crate::refusal::{Answer, Refusal};
use crate::tenant::page_of;
use api::node::NodeView;
use api::page::{Page, PageQuery};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;
use std::collections::{BTreeMap, BTreeSet};
use store::{Inhabited, NodeRow, NodeState, StoreError, Tx};
use terms::{Actor, NodeId, Permit, TenantId};
use wire::event::{EventKind, SecurityEvent};

/// The calling node, if it is still enrolled.
pub(crate) async fn caller(ctx: &Ctx) -> Answer<NodeRow> {
    let Actor::Node(id) = ctx.actor else {
        return Err(Code::Forbidden.into());
    };
    ctx.app.store.read().await?.nodes().find(id).await?.ok_or_else(|| Code::Forbidden.into())
}

/// Of the tenants that a node tells of, those that are placed on it. One that it had a moment ago or that was deleted
/// is passed over; of any other a node has nothing to tell.
pub(crate) async fn require_own(
    tx: &mut Tx,
    permit: &Permit,
    node: NodeId,
    told: impl Iterator<Item = TenantId> + Send,
) -> Answer<BTreeSet<TenantId>> {
    let touching = tx.placements().touching(permit, node).await?;
    let places: BTreeMap<TenantId, NodeId> = touching.iter().map(|row| (row.tenant, row.node)).collect();
    let mut own = BTreeSet::new();
    for tenant in told {
        match places.get(&tenant) {
            Some(place) if *place == node => drop(own.insert(tenant)),
            Some(_moved_on) => {}
            None => match tx.tenants().load(permit, tenant).await {
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let detail = format!("tenant `{tenant}` is not placed on this node");
                    return Err(Problem::new(Code::Forbidden).detail(detail).into());
                }
            },
        }
    }
    Ok(own)
}

/// Lists nodes.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<NodeView>>> {
    let permit = ctx.platform()?;
    let (rows, next) = ctx.app.store.read().await?.nodes().list(&permit, &page_of(page)).await?;
    Ok(Json(Page { items: rows.into_iter().map(view).collect(), next }))
}

/// Sends no new tenants to a node, and those that it has to others. Whoever finds no room elsewhere stays until there
/// is some, and an event says why.
pub(crate) async fn drain(ctx: Ctx, At(node): At<NodeId>) -> Answer<Json<NodeView>> {
    let permit = ctx.platform()?;
    let places = Places::new(&ctx.app, ctx.now)?;
    let (deed, done) = notes(&ctx, node, "drained")?;
    let found = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.nodes().set_state(&permit, node, NodeState::Draining).await?;
                let found = places.move_all(tx, node).await?;
                for (tenant, found) in found.iter().filter(|(_, found)| !found.is_place()) {
                    tx.event(places.told(*tenant, node, found)?);
                }
                tx.audit(deed);
                tx.event(done);
                Ok::<_, Refusal>(found)
            })
        })
        .await?;
    for (tenant, _) in found.iter().filter(|(_, found)| found.is_place()) {
        ctx.app.dispatcher.peers().forget(*tenant);
    }
    show(&ctx, node).await
}

/// Lets tenants come to a node again.
pub(crate) async fn resume(ctx: Ctx, At(node): At<NodeId>) -> Answer<Json<NodeView>> {
    let permit = ctx.platform()?;
    let (deed, done) = notes(&ctx, node, "resumed")?;
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.nodes().set_state(&permit, node, NodeState::Active).await?;
                tx.audit(deed);
                tx.event(done);
                Ok::<_, StoreError>(())
            })
        })
        .await?;
    show(&ctx, node).await
}

/// Removes a node that has no tenants. Its certificate is worth nothing from then on.
pub(crate) async fn remove(ctx: Ctx, At(node): At<NodeId>) -> Answer<StatusCode> {
    let permit = ctx.platform()?;
    let (deed, done) = notes(&ctx, node, "removed")?;
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.nodes().remove(&permit, node).await.map_err(|error| match error {
                    StoreError::Conflict(_) => Refusal::from(Code::NodeHasTenants),
                    other => other.into(),
                })?;
                networks::forget_drift(tx, &permit, node).await?;
                tx.audit(deed);
                tx.event(done);
                Ok::<_, Refusal>(())
            })
        })
        .await?;
    ctx.app.metrics.forget_host(node);
    Ok(StatusCode::NO_CONTENT)
}

/// The audit entry and the event of what is done to a node.
fn notes(ctx: &Ctx, node: NodeId, reason: &str) -> Answer<(wire::audit::AuditEntry, SecurityEvent)> {
    let mut deed = ctx.deed(format!("node/{node}"), None);
    reason.clone_into(&mut deed.reason);
    let mut event = ctx.event(EventKind::NodeChanged, deed.resource.clone(), None)?;
    reason.clone_into(&mut event.reason);
    Ok((deed, event))
}

async fn show(ctx: &Ctx, node: NodeId) -> Answer<Json<NodeView>> {
    let permit = ctx.platform()?;
    let all = ctx.app.store.read().await?.nodes().all(&permit).await?;
    let found = all.into_iter().find(|row| row.node.id == node).ok_or(Code::NotFound)?;
    Ok(Json(view(found)))
}

fn view(row: Inhabited) -> NodeView {
    let Inhabited { node, tenants, driver } = row;
    NodeView {
        id: node.id,
        state: match node.state {
            NodeState::Active => api::node::NodeState::Active,
            NodeState::Draining => api::node::NodeState::Draining,
        },
        enrolled_at: node.enrolled_at,
        last_seen_at: node.last_seen,
        tenants,
        driver: driver.as_deref().and_then(networks::driver_of),
    }
}
