//! What anyone may ask: is it alive, is it ready, which keys, what contract.

use crate::app::App;
use crate::key_ring::JWKS_MAX_AGE_S;
use crate::refusal::Answer;
use api::{Code, Problem};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::sync::Arc;

/// The contract of this release, the committed golden.
const OPENAPI: &str = include_str!("../../../ground/api/openapi.json");

/// Says that the process runs.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Says that the process can serve.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Answer<&'static str> {
    let unready = |part: &str| Problem::new(Code::Unavailable).detail(part).retry_after(1);
    app.store.read().await?.audit_log().head().await.map_err(|_| unready("the database"))?;
    app.signers.active().ok_or_else(|| unready("no signing key is active"))?;
    Ok("ready\n")
}

/// Lists the keys that verify plan tokens.
pub(crate) async fn jwks(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CACHE_CONTROL, format!("public, max-age={JWKS_MAX_AGE_S}"))], Json(app.signers.jwks()))
}

/// Gives the contract.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}
