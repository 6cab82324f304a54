//! Data planes as operators see them.

use crate::body::Ask;
use crate::ctx::Ctx;
use crate::refusal::Answer;
use crate::tenant::page_of;
use api::data_plane::DataPlaneView;
use api::page::{Page, PageQuery};
use axum::Json;

/// Lists data planes.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<DataPlaneView>>> {
    let permit = ctx.platform()?;
    let mut reader = ctx.app.store.read().await?;
    let (rows, next) = reader.workloads().list_data_planes(&permit, &page_of(page)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let tenant = reader.tenants().load(&permit, row.tenant).await?;
        items.push(DataPlaneView {
            tenant: row.tenant,
            tenant_name: tenant.name,
            url: row.url,
            pid: row.pid,
            sidecar_pid: row.sidecar_pid,
            last_seen_at: row.last_seen,
            zones_enforced: ctx.app.config.zones_enforced,
            networks_enforced: row.driver == "linux",
        });
    }
    Ok(Json(Page { items, next }))
}
