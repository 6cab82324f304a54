//! What an execution holds: its plan, drafted again as it was; its output, streamed out of the data plane.

use super::load;
use crate::body::At;
use crate::ctx::Ctx;
use crate::delivery;
use crate::refusal::Answer;
use api::execution::SignedPlanView;
use api::{Code, Problem};
use axum::Json;
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::Body as _;
use terms::{ExecutionId, TenantRef};
use wire::audit::AuditEntry;

/// Streams an execution's output through.
pub(crate) async fn output(ctx: Ctx, At((which, id)): At<(TenantRef, ExecutionId)>) -> Answer<Response> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let execution = load(&ctx, &permit, tenant.id, id).await?;
    if !execution.state.is_final() {
        return Err(Code::OutputNotReady.into());
    }
    // Who read a payload is known before it is read.
    let entry = ctx.deed(format!("execution/{id}/output"), Some(tenant.id));
    audit(&ctx, entry).await?;
    let answer =
        ctx.app.dispatcher.peers().get(&ctx.app, tenant.id, &format!("/v1/executions/{id}/output")).await;
    let answer = answer.map_err(|why| Problem::new(Code::DataPlaneUnreachable).detail(why.to_string()))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(Code::OutputGone.into()),
        StatusCode::CONFLICT => return Err(Code::OutputNotReady.into()),
        other => {
            let detail = format!("it answered {other}");
            return Err(Problem::new(Code::DataPlaneUnreachable).detail(detail).into());
        }
    }
    // Before it is read: what is cut off half way explains more than there was, never less.
    let length = answer.body().size_hint().exact().unwrap_or(execution.limits.output_bytes);
    ctx.app.carried.streamed(tenant.id, length);
    let mut response = Response::new(Body::new(answer.into_body()));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Gives an execution's plan and its token. Who holds them can verify them, and do nothing else with them: a data
/// plane takes plans from the control plane's certificate only, and each of them once.
pub(crate) async fn plan(
    ctx: Ctx,
    At((which, id)): At<(TenantRef, ExecutionId)>,
) -> Answer<Json<SignedPlanView>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let execution = load(&ctx, &permit, tenant.id, id).await?;
    audit(&ctx, ctx.deed(format!("execution/{id}/plan"), Some(tenant.id))).await?;
    let (bytes, token) = delivery::evidence(&ctx.app, &execution).await?;
    Ok(Json(SignedPlanView { token, plan: STANDARD.encode(bytes.as_slice()) }))
}

async fn audit(ctx: &Ctx, entry: AuditEntry) -> Answer<()> {
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.audit(entry);
                Ok::<_, store::StoreError>(())
            })
        })
        .await?;
    Ok(())
}
