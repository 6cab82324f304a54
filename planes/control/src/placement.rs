//! Placements: which data planes a node has to run, and what it says it runs.

use crate::body::Strict;
use crate::ctx::Ctx;
use crate::networks::{self, Places};
use crate::node;
use crate::refusal::{Answer, Refusal};
use api::placement::{
    HostSearch, PLACE_BYTES_MAX, PLACEMENTS_MAX, PLACES_MAX, Placement, Placements, ReportPlacements,
};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;
use store::{DataPlaneRow, NodeRow, TenantState};
use terms::Permit;

/// A node that asks is taken for heard of if the last time is longer ago than this: less than it may be silent for.
const HEARD_MS: i64 = 5_000;

/// Says what the calling node has to run.
pub(crate) async fn show(ctx: Ctx) -> Answer<Json<Placements>> {
    let permit = ctx.platform()?;
    let node = node::caller(&ctx).await?;
    settle(&ctx, &permit, &node).await?;
    let placed = ctx.app.store.read().await?.placements().on(&permit, node.id).await?;
    let placements = placed.into_iter().map(|placed| Placement {
        tenant: placed.tenant.id,
        name: placed.tenant.name,
        run: placed.tenant.state == TenantState::Active,
    });
    Ok(Json(Placements {
        placements: placements.collect(),
        search_asked_at: ctx.app.host_searches.asked_at(),
        networks_version: networks::version(&ctx.app, node.id, ctx.now).await?,
        probe_asked_at: networks::probe_asked_at(&ctx.app, &permit, node.id, ctx.now).await?,
    }))
}

/// Takes note that the node is there, and finds places for those who wait for one.
async fn settle(ctx: &Ctx, permit: &Permit, node: &NodeRow) -> Answer<()> {
    let mut reader = ctx.app.store.read().await?;
    let unplaced = !reader.placements().unplaced(permit).await?.is_empty();
    let mut nodes = reader.nodes().all(permit).await?;
    drop(reader);
    for there in nodes.iter_mut().filter(|there| there.node.id == node.id) {
        there.node.last_seen = ctx.now;
    }
    let worth = networks::is_worth_settling(&nodes, unplaced, ctx.now);
    if !worth && ctx.now.ms_since(node.last_seen).abs() < HEARD_MS {
        return Ok(());
    }
    let (places, permit, id, now) = (Places::new(&ctx.app, ctx.now)?, permit.clone(), node.id, ctx.now);
    let moved = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.nodes().seen(&permit, id, now).await?;
                if worth { places.settle(tx).await } else { Ok::<_, Refusal>(Vec::new()) }
            })
        })
        .await?;
    for tenant in moved {
        ctx.app.dispatcher.peers().forget(tenant);
    }
    Ok(())
}

/// Takes what the calling node runs.
pub(crate) async fn report(ctx: Ctx, body: Strict<ReportPlacements>) -> Answer<StatusCode> {
    let permit = ctx.platform()?;
    let node = node::caller(&ctx).await?.id;
    let report = body.value;
    if report.running.len() > PLACEMENTS_MAX {
        return Err(Problem::new(Code::BodyTooLarge)
            .detail(format!("at most {PLACEMENTS_MAX} tenants"))
            .into());
    }
    let walls = report.walls;
    let driver = if walls.own_networks { "linux" } else { "loopback" };
    let now = ctx.now;
    let found = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let told = report.running.iter().map(|running| running.tenant);
                let own = node::require_own(tx, &permit, node, told).await?;
                tx.nodes().seen(&permit, node, now).await?;
                let mut found = Vec::with_capacity(own.len());
                for running in report.running.into_iter().filter(|running| own.contains(&running.tenant)) {
                    found.push((running.tenant, running.url.clone()));
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
                Ok::<_, Refusal>(found)
            })
        })
        .await?;
    ctx.app.metrics.wall("own_uids", walls.own_uids);
    ctx.app.metrics.wall("own_networks", walls.own_networks);
    for (tenant, url) in found {
        ctx.app.dispatcher.peers().found_at(tenant, &url);
    }
    ctx.app.dispatcher.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Takes what the calling node found in the logs on its host.
pub(crate) async fn search(ctx: Ctx, body: Strict<HostSearch>) -> Answer<StatusCode> {
    ctx.platform()?;
    let node = node::caller(&ctx).await?.id;
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
