//! Placements: which data planes a node has to run, and what it says it runs.

use crate::body::Strict;
use crate::ctx::Ctx;
use crate::refusal::Answer;
use api::placement::{
    HostSearch, PLACE_BYTES_MAX, PLACEMENTS_MAX, PLACES_MAX, Placement, Placements, ReportPlacements,
};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;
use store::{DataPlaneRow, Page, TenantState};
use terms::{Actor, NodeId};

/// Says what the calling node has to run: every tenant, as there is one host for now.
pub(crate) async fn show(ctx: Ctx) -> Answer<Json<Placements>> {
    let permit = ctx.platform()?;
    node(&ctx).await?;
    let mut placements = Vec::new();
    let mut page = Page::first(store::LIMIT_MAX);
    loop {
        let (rows, next) = ctx.app.store.read().await?.tenants().list(&permit, &page).await?;
        placements.extend(rows.into_iter().map(|tenant| Placement {
            tenant: tenant.id,
            name: tenant.name,
            run: tenant.state == TenantState::Active,
        }));
        let Some(after) = next else { break };
        page.after = Some(after);
    }
    if placements.len() > PLACEMENTS_MAX {
        tracing::error!(
            tenants = placements.len(),
            "more tenants than one host holds; the newest are not placed"
        );
        placements.truncate(PLACEMENTS_MAX);
    }
    Ok(Json(Placements {
        placements,
        search_asked_at: ctx.app.host_searches.asked_at(),
        networks_version: None,
        probe_asked_at: None,
    }))
}

/// Takes what the calling node runs.
pub(crate) async fn report(ctx: Ctx, body: Strict<ReportPlacements>) -> Answer<StatusCode> {
    let permit = ctx.platform()?;
    let node = node(&ctx).await?;
    let report = body.value;
    if report.running.len() > PLACEMENTS_MAX {
        return Err(Problem::new(Code::BodyTooLarge)
            .detail(format!("at most {PLACEMENTS_MAX} tenants"))
            .into());
    }
    ctx.app.metrics.wall("own_uids", report.walls.own_uids);
    ctx.app.metrics.wall("own_networks", report.walls.own_networks);
    let driver = if report.walls.own_networks { "linux" } else { "loopback" };
    for running in &report.running {
        ctx.app.dispatcher.peers().found_at(running.tenant, &running.url);
    }
    let now = ctx.now;
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.workloads().node_seen(&permit, node, now).await?;
                for running in report.running {
                    let row = DataPlaneRow {
                        tenant: running.tenant,
                        url: running.url,
                        pid: running.pid,
                        sidecar_pid: running.sidecar_pid,
                        driver: driver.to_owned(),
                        last_seen: now,
                    };
                    tx.workloads().upsert_data_plane(&permit, &row).await?;
                }
                Ok::<_, store::StoreError>(())
            })
        })
        .await?;
    ctx.app.dispatcher.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Takes what the calling node found in the logs on its host.
pub(crate) async fn search(ctx: Ctx, body: Strict<HostSearch>) -> Answer<StatusCode> {
    ctx.platform()?;
    let node = node(&ctx).await?;
    let search = body.value;
    let fits = |places: &[String]| {
        places.len() <= PLACES_MAX && places.iter().all(|place| place.len() <= PLACE_BYTES_MAX)
    };
    if search.tenants.len() > PLACEMENTS_MAX || !fits(&search.unread) || !fits(&search.found_in) {
        return Err(Problem::new(Code::BodyTooLarge).detail("more tenants or places than a host has").into());
    }
    ctx.app.host_searches.answer(node, search);
    Ok(StatusCode::NO_CONTENT)
}

/// The calling node, if it is still enrolled.
async fn node(ctx: &Ctx) -> Answer<NodeId> {
    let Actor::Node(id) = ctx.actor else {
        return Err(Code::Forbidden.into());
    };
    let known = ctx.app.store.read().await?.workloads().node(id).await?;
    known.map(|_| id).ok_or_else(|| Code::Forbidden.into())
}
