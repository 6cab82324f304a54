//! The data plane's API on its own port: for the control plane's certificate, and nobody else's.

use crate::events::{Events, Happened};
use crate::gate::{Gate, GateRefusal};
use crate::journal::{Journal, Known, ReadError};
use crate::runtime::{Cancelled, Runtime};
use api::data_plane::{ExecutionKnown, PLANS_PATH};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serve::{Peer, Problem};
use std::sync::Arc;
use terms::{ExecutionId, SpiffeId, Timestamp};
use wire::event::{EventKind, EventOutcome};
use wire::outcome::Status;
use wire::plan::{BYTES_MAX, MEDIA_TYPE};
use wire::plan_token::HEADER_NAME;

/// How long a control plane that met a full data plane should wait, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// What the routes serve.
pub struct Api {
    /// Takes plans.
    pub gate: Gate,
    /// Runs them.
    pub runtime: Runtime,
    /// Knows them.
    pub journal: Journal,
    /// Hears of strangers.
    pub events: Events,
    /// The only caller.
    pub control_plane: SpiffeId,
    /// Since when the journal knows.
    pub journal_since: Timestamp,
}

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route(PLANS_PATH, post(take_plan))
        .route("/v1/executions/{id}", get(show))
        .route("/v1/executions/{id}/output", get(output))
        .route("/v1/executions/{id}/cancel", post(cancel))
        .fallback(async || Problem::from(api::Code::NotFound))
        .method_not_allowed_fallback(async || Problem::from(api::Code::MethodNotAllowed))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), only_control_plane))
        .with_state(api)
}

/// Lets the control plane through. Others hold certificates of the same roots: sidecars, other data planes, nodes.
async fn only_control_plane(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.spiffe.as_ref() == Some(&api.control_plane) {
        return next.run(request).await;
    }
    api.events.report(Happened {
        kind: EventKind::AuthenticationFailed,
        outcome: EventOutcome::Denied,
        reason: "data_plane.foreign_caller".to_owned(),
        actor: peer.spiffe.map_or_else(|| "unknown".to_owned(), |spiffe| spiffe.to_string()),
        resource: api.events.own_resource(),
        address: Some(peer.addr.ip()),
        count: 1,
    });
    Problem::new(api::Code::Forbidden, "only the control plane is served here").into_response()
}

async fn take_plan(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let from = peer.addr.ip();
    let taken = async {
        // Nothing of the body is kept before its token has the form of one.
        let token = Gate::split(headers.get(HEADER_NAME).map(HeaderValue::as_bytes))?;
        let plan = read_plan(&headers, &mut body).await?;
        api.gate.take(token, plan, from).await
    };
    match taken.await {
        Ok(accepted) => (StatusCode::ACCEPTED, Json(accepted)).into_response(),
        Err(refusal) => {
            api.gate.refuse(&refusal, from);
            discard(body).await;
            refused(&refusal).into_response()
        }
    }
}

async fn read_plan(headers: &HeaderMap, body: &mut Body) -> Result<Bytes, GateRefusal> {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != MEDIA_TYPE.as_bytes()) {
        return Err(GateRefusal::MediaType);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BYTES_MAX as u64) {
        return Err(GateRefusal::TooLarge);
    }
    match Limited::new(body, BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(GateRefusal::TooLarge),
        Err(_) => Err(GateRefusal::Unreadable),
    }
}

/// Reads what is left of a refused body, within bounds: a caller that is still sending when the connection closes
/// never reads why.
async fn discard(body: Body) {
    let mut rest = Limited::new(body, BYTES_MAX);
    while let Some(Ok(_piece)) = rest.frame().await {}
}

async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<ExecutionKnown>, Problem> {
    let id = id.parse().map_err(not_an_id)?;
    api.known(id).map(Json).ok_or_else(being_recorded)
}

async fn cancel(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<ExecutionKnown>), Problem> {
    let id = id.parse().map_err(not_an_id)?;
    let before = api.known(id).ok_or_else(being_recorded)?;
    let cancelled = api.runtime.cancel(id).await;
    match cancelled.map_err(|error| Problem::new(api::Code::Unavailable, error.to_string()))? {
        Cancelled::Taken | Cancelled::Ended | Cancelled::Unknown => Ok((StatusCode::ACCEPTED, Json(before))),
    }
}

async fn output(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = id.parse().map_err(not_an_id)?;
    match api.journal.known(id) {
        None => return Err(api::Code::NotFound.into()),
        Some(Known::Live) => return Err(api::Code::OutputNotReady.into()),
        Some(Known::Ended) => {}
    }
    let (outcome, output) = api.journal.ended(id).await.map_err(|error| match error {
        ReadError::Gone => Problem::from(api::Code::NotFound),
        ReadError::System(_) | ReadError::Damaged(_) => {
            tracing::error!(execution = %id, %error, "an output cannot be read");
            Problem::from(api::Code::Internal)
        }
    })?;
    if outcome.status != Status::Completed {
        return Err(Problem::new(api::Code::NotFound, "the execution ended without an output"));
    }
    Ok(([(CONTENT_TYPE, "application/json")], output).into_response())
}

impl Api {
    /// What is known of an execution; none while its plan is on its way into the journal, when no answer would
    /// stay true.
    fn known(&self, id: ExecutionId) -> Option<ExecutionKnown> {
        let known = self.journal.known(id);
        if known.is_none() && self.gate.is_recording(id) {
            return None;
        }
        Some(ExecutionKnown {
            execution_id: id,
            known: known.is_some(),
            ended: known == Some(Known::Ended),
            journal_since: self.journal_since,
        })
    }
}

fn being_recorded() -> Problem {
    Problem::new(api::Code::Unavailable, "the execution is being recorded")
}

fn not_an_id(error: terms::IdError) -> Problem {
    Problem::new(api::Code::MalformedRequest, error.to_string())
}

/// A refusal of the gate as a problem: its code is the gate's own.
fn refused(refusal: &GateRefusal) -> Problem {
    let retry = refusal.status() == StatusCode::SERVICE_UNAVAILABLE.as_u16();
    Problem(api::Problem {
        type_: format!("urn:palisade:problem:{}", refusal.code()),
        title: "The data plane does not take the plan".to_owned(),
        status: refusal.status(),
        code: refusal.code().to_owned(),
        detail: Some(refusal.to_string()),
        next_step: if retry {
            "Send the same plan again after Retry-After.".to_owned()
        } else {
            "Ask for the execution before a new plan is signed for it.".to_owned()
        },
        faults: Vec::new(),
        retry_after_s: retry.then_some(RETRY_AFTER_S),
    })
}
