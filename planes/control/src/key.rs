//! Plan-signing keys: list, rotate.

use crate::ctx::Ctx;
use crate::key_ring::RingError;
use crate::refusal::{Answer, Refusal};
use api::key::{KeyView, Keys};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;

/// Lists every key, newest first.
pub(crate) async fn list(ctx: Ctx) -> Answer<Json<Keys>> {
    ctx.platform()?;
    Ok(Json(view(&ctx)))
}

/// Begins a rotation.
pub(crate) async fn rotate(ctx: Ctx) -> Answer<(StatusCode, Json<Keys>)> {
    ctx.platform()?;
    let deed = ctx.deed("keys", None);
    match ctx.app.signers.rotate(&ctx.app.store, deed, ctx.now).await {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(view(&ctx)))),
        Err(why @ (RingError::Rotate(_) | RingError::Raced)) => {
            Err(Problem::new(Code::RotationUnderWay).detail(why.to_string()).into())
        }
        Err(RingError::Store(error)) => Err(error.into()),
        Err(error @ (RingError::Damaged(_) | RingError::Key(_) | RingError::Policy(_))) => {
            Err(Refusal::internal(error))
        }
    }
}

fn view(ctx: &Ctx) -> Keys {
    let keys = ctx.app.signers.records().into_iter().rev().map(|record| KeyView {
        kid: record.kid,
        state: record.state.as_str().to_owned(),
        since: record.since,
        created_at: record.created_at,
    });
    Keys { keys: keys.collect() }
}
