//! Heartbeats: taken once each, judged in order, kept as evidence; and how operators read them.

mod take;

pub(crate) use take::{chain_of, figures, is_sworn};

use crate::body::{Ask, At, Strict};
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use crate::tenant::page_of;
use api::heartbeat::{DeliverHeartbeats, HeartbeatReceipts, HeartbeatView, SidecarView};
use api::page::{Page, PageQuery};
use api::{Code, Problem};
use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terms::TenantRef;
use wire::dsse::Envelope;
use wire::heartbeat::BATCH_MAX;

/// Takes one heartbeat.
pub(crate) async fn send_one(ctx: Ctx, body: Strict<Envelope>) -> Answer<Json<HeartbeatReceipts>> {
    let digest = body.digest;
    take::take(&ctx, vec![body.value], digest).await.map(Json)
}

/// Takes up to 1 000 heartbeats, oldest first.
pub(crate) async fn send_batch(ctx: Ctx, body: Strict<DeliverHeartbeats>) -> Answer<Json<HeartbeatReceipts>> {
    if body.value.heartbeats.len() > BATCH_MAX {
        let detail = format!("at most {BATCH_MAX} heartbeats");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail).into());
    }
    let digest = body.digest;
    take::take(&ctx, body.value.heartbeats, digest).await.map(Json)
}

/// Lists stored heartbeats, newest first.
pub(crate) async fn list(
    ctx: Ctx,
    At(which): At<TenantRef>,
    Ask(page): Ask<PageQuery>,
) -> Answer<Json<Page<HeartbeatView>>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let mut reader = ctx.app.store.read().await?;
    let (rows, next) = reader.heartbeats().list(&permit, tenant.id, &page_of(page)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(HeartbeatView {
            tenant: tenant.id,
            sidecar: row.sidecar,
            counter: row.counter,
            payload_digest: row.payload_digest,
            received_at: row.received_at,
            accepted: row.accepted,
            code: row.reason,
            envelope: Envelope::read(&row.envelope).map_err(Refusal::internal)?,
        });
    }
    Ok(Json(Page { items, next }))
}

/// Lists a tenant's sidecars.
pub(crate) async fn sidecars(ctx: Ctx, At(which): At<TenantRef>) -> Answer<Json<Page<SidecarView>>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let rows = ctx.app.store.read().await?.sidecars().list(&permit, tenant.id).await?;
    let items = rows.into_iter().map(|row| SidecarView {
        id: row.id,
        tenant: row.tenant,
        public_key: STANDARD.encode(row.public_key),
        active: row.state == store::SidecarState::Active,
        enrolled_at: row.enrolled_at,
        counter: row.counter,
        epoch: row.epoch,
        last_heartbeat_at: row.last_received,
        totals: row.totals,
    });
    Ok(Json(Page { items: items.collect(), next: None }))
}
