//! Usage, as the sidecars metered it.

use crate::body::{Ask, At};
use crate::ctx::Ctx;
use crate::refusal::Answer;
use api::usage::{UsageHour, UsageQuery, UsageView};
use axum::Json;
use terms::{TenantRef, Timestamp};

/// Shows a tenant's metered usage.
pub(crate) async fn show(
    ctx: Ctx,
    At(which): At<TenantRef>,
    Ask(query): Ask<UsageQuery>,
) -> Answer<Json<UsageView>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let from = query.from.unwrap_or(Timestamp::EPOCH);
    let to = query.to.unwrap_or(ctx.now.plus_ms(1));
    let usage = ctx.app.store.read().await?.heartbeats().usage(&permit, tenant.id, from, to).await?;
    Ok(Json(UsageView {
        tenant: tenant.id,
        totals: usage.totals,
        as_of: usage.as_of,
        heartbeats: usage.heartbeats,
        hours: usage.hours.into_iter().map(|h| UsageHour { hour: h.hour, added: h.added }).collect(),
    }))
}
