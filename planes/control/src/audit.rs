//! The audit log: entries, sealed leaves, checkpoints, proofs.

use crate::app::App;
use crate::body::Ask;
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use crate::tenant::page_of;
use api::audit::{
    CheckpointView, ConsistencyQuery, EntryView, InclusionQuery, LEAVES_MAX, LeafQuery, Leaves, Proof,
};
use api::page::{Page, PageQuery};
use api::{Code, Problem};
use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terms::Permit;
use wire::checkpoint::Checkpoint;

/// Lists entries, newest first.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<EntryView>>> {
    let permit = ctx.platform()?;
    let (rows, next) = ctx.app.store.read().await?.audit_log().list(&permit, &page_of(page)).await?;
    let items = rows.into_iter().map(|row| EntryView { index: row.index, entry: row.entry, leaf: row.leaf });
    Ok(Json(Page { items: items.collect(), next }))
}

/// Gives sealed leaves.
pub(crate) async fn leaves(ctx: Ctx, Ask(range): Ask<LeafQuery>) -> Answer<Json<Leaves>> {
    let permit = ctx.platform()?;
    let wanted = range.end.checked_sub(range.start).filter(|n| (1..=LEAVES_MAX).contains(n));
    wanted.ok_or(Code::RangeInvalid)?;
    let rows = ctx.app.store.read().await?.audit_log().raw(&permit, range.start, range.end).await?;
    let leaves = rows.iter().map(|leaf| STANDARD.encode(leaf)).collect();
    Ok(Json(Leaves { start: range.start, leaves }))
}

/// Signs the log as it is now, and keeps the checkpoint.
pub(crate) async fn checkpoint(ctx: Ctx) -> Answer<Json<CheckpointView>> {
    ctx.platform()?;
    let note = sign_head(&ctx.app).await?;
    Ok(Json(CheckpointView { note, verifier_key: ctx.app.log_signer.verifier_key() }))
}

/// Signs the log's head; the checkpoint is durable before it is shown.
pub(crate) async fn sign_head(app: &App) -> Answer<String> {
    let head = app.store.read().await?.audit_log().head().await?;
    let body = Checkpoint { origin: App::log_origin(&app.domain), size: head.size, root: head.root };
    let note = app.log_signer.sign(&body.to_text()).map_err(Refusal::internal)?.to_text();
    let kept = note.clone();
    app.store
        .write(move |tx| Box::pin(async move { tx.checkpoints().insert(head.size, &kept).await }))
        .await
        .map_err(Refusal::from)?;
    Ok(note)
}

/// Proves that an entry is in the log.
pub(crate) async fn inclusion(ctx: Ctx, Ask(query): Ask<InclusionQuery>) -> Answer<Json<Proof>> {
    let permit = ctx.platform()?;
    within_log(&ctx, &permit, query.size).await?;
    if query.index >= query.size {
        return Err(Code::RangeInvalid.into());
    }
    let hashes = ctx.app.store.read().await?.audit_log().inclusion(&permit, query.index, query.size).await?;
    Ok(Json(Proof { hashes }))
}

/// Proves that a newer log extends an older one.
pub(crate) async fn consistency(ctx: Ctx, Ask(query): Ask<ConsistencyQuery>) -> Answer<Json<Proof>> {
    let permit = ctx.platform()?;
    within_log(&ctx, &permit, query.new).await?;
    if query.old > query.new {
        return Err(Code::RangeInvalid.into());
    }
    let hashes = ctx.app.store.read().await?.audit_log().consistency(&permit, query.old, query.new).await?;
    Ok(Json(Proof { hashes }))
}

async fn within_log(ctx: &Ctx, _: &Permit, size: u64) -> Answer<()> {
    let head = ctx.app.store.read().await?.audit_log().head().await?;
    if size <= head.size {
        return Ok(());
    }
    Err(Problem::new(Code::RangeInvalid).detail(format!("the log has {} leaves", head.size)).into())
}
