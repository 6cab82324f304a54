//! Probes: operators ask, nodes try their networks through their kernels, and what they found is kept.

use crate::app::App;
use crate::body::Strict;
use crate::ctx::Ctx;
use crate::node;
use crate::refusal::{Answer, Refusal};
use api::network::{Driver, HostProbe, ProbeView, ReportProbe};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;
use store::{ProbeRow, StoreError};
use terms::{NodeId, Permit, Timestamp};
use wire::audit::AuditEntry;
use wire::event::EventKind;

/// How long a question stays open. Whoever asks within that time joins it; a host that comes back later is not asked
/// what nobody waits for any more.
const OPEN_MS: i64 = 60_000;

/// Asks every host with networks to probe them.
pub(crate) async fn ask(ctx: Ctx) -> Answer<(StatusCode, Json<ProbeView>)> {
    let permit = ctx.platform()?;
    let entry = ctx.deed("networks/probes", None);
    let rows = put_question(&ctx.app, permit, Some(entry), ctx.now).await?;
    Ok((StatusCode::ACCEPTED, Json(view(rows)?)))
}

/// Puts the question to every host with networks, unless one is open; `entry` tells of it.
pub(crate) async fn put_question(
    app: &App,
    permit: Permit,
    entry: Option<AuditEntry>,
    now: Timestamp,
) -> Answer<Vec<ProbeRow>> {
    let rows = app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let asked = tx.networks().probes(&permit).await?;
                if asked.iter().any(|row| row.report.is_none() && is_open(row.asked_at, now)) {
                    return Ok(asked);
                }
                let linux: Vec<NodeId> = tx
                    .nodes()
                    .all(&permit)
                    .await?
                    .into_iter()
                    .filter(|node| node.driver.as_deref().and_then(super::driver_of) == Some(Driver::Linux))
                    .map(|node| node.node.id)
                    .collect();
                if linux.is_empty() {
                    return Err(Code::NetworksNotEnforced.into());
                }
                tx.networks().forget_probes(&permit).await?;
                for node in linux {
                    tx.networks().ask_probe(&permit, node, now).await?;
                }
                if let Some(entry) = entry {
                    tx.audit(entry);
                }
                Ok::<_, Refusal>(tx.networks().probes(&permit).await?)
            })
        })
        .await?;
    Ok(rows)
}

/// Shows what the hosts found that were asked last.
pub(crate) async fn show(ctx: Ctx) -> Answer<Json<ProbeView>> {
    let permit = ctx.platform()?;
    let rows = ctx.app.store.read().await?.networks().probes(&permit).await?;
    Ok(Json(view(rows)?))
}

/// When a node was asked, as long as its answer is waited for.
pub(crate) async fn asked_at(
    app: &App,
    permit: &Permit,
    node: NodeId,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let row = app.store.read().await?.networks().probe(permit, node).await?;
    let waited_for = |row: &ProbeRow| row.report.is_none() && is_open(row.asked_at, now);
    Ok(row.filter(waited_for).map(|row| row.asked_at))
}

/// Takes what the calling node found. An answer to another question than the open one is passed over.
pub(crate) async fn report(ctx: Ctx, body: Strict<ReportProbe>) -> Answer<StatusCode> {
    let permit = ctx.platform()?;
    let node = node::caller(&ctx).await?.id;
    let report = body.value;
    if !report.is_bounded() {
        return Err(Problem::new(Code::BodyTooLarge).detail("more or longer rows than a probe has").into());
    }
    let text = serde_json::to_string(&report).map_err(Refusal::internal)?;
    let failed = report.failed.is_some() || report.rows.iter().any(|row| row.held < row.tried);
    let mut event = ctx.event(EventKind::NetworkDrift, format!("node/{node}/probe"), None)?;
    event.outcome = wire::event::EventOutcome::Failure;
    event.reason = "probe.mismatch".to_owned();
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let kept = tx.networks().answer_probe(&permit, node, report.asked_at, text).await?;
                if kept && failed {
                    tx.event(event);
                }
                Ok::<_, StoreError>(())
            })
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_open(asked_at: Timestamp, now: Timestamp) -> bool {
    now.ms_since(asked_at) < OPEN_MS
}

fn view(rows: Vec<ProbeRow>) -> Answer<ProbeView> {
    let asked_at = rows.iter().map(|row| row.asked_at).max();
    let (mut waiting, mut hosts) = (Vec::new(), Vec::new());
    for row in rows {
        match row.report {
            None => waiting.push(row.node),
            Some(text) => {
                let report = serde_json::from_str(&text).map_err(Refusal::internal)?;
                hosts.push(HostProbe { node: row.node, report });
            }
        }
    }
    Ok(ProbeView { asked_at, waiting, hosts })
}
