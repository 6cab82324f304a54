//! Names for data planes: DNS over HTTPS (RFC 8484). Their networks have no port 53.
//!
//! Nothing is kept between two questions: from the time that an answer takes, or what is left of its own, one tenant
//! could read what another one asks for. Each data plane keeps its own answers.

mod asking;
mod message;

pub(crate) use asking::Names;

use crate::body::Ask;
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use ::names::{Query, QueryError};
use api::names::{DnsQuery, MEDIA_TYPE};
use api::{Code, Problem};
use asking::Overloaded;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use message::{Accepts, DnsBody};
use terms::{Actor, TenantId};
use wire::event::EventKind;

/// Answers the query in the URL.
pub(crate) async fn ask(ctx: Ctx, _accepts: Accepts, Ask(query): Ask<DnsQuery>) -> Answer<Response> {
    let tenant = asker(&ctx)?;
    // Four characters hold three bytes.
    if query.dns.len() > ::names::QUERY_MAX.div_ceil(3) * 4 {
        return Err(refused(QueryError::TooLarge));
    }
    let bytes = URL_SAFE_NO_PAD.decode(query.dns);
    let bytes =
        bytes.map_err(|_| malformed("`dns` is not base64url without padding (RFC 4648 section 5)"))?;
    answer(&ctx, tenant, &bytes).await
}

/// Answers the query in the body.
pub(crate) async fn resolve(ctx: Ctx, _accepts: Accepts, body: DnsBody) -> Answer<Response> {
    let tenant = asker(&ctx)?;
    answer(&ctx, tenant, &body.0).await
}

/// The tenant whose data plane asks; nobody else gets a permit.
fn asker(ctx: &Ctx) -> Answer<TenantId> {
    match ctx.actor {
        Actor::DataPlane(tenant) => ctx.permit(tenant).map(|_permit| tenant),
        Actor::Operator(_) | Actor::Sidecar(..) | Actor::Node(_) | Actor::Enrolling | Actor::System => {
            ctx.platform().and(Err(Code::Forbidden.into()))
        }
    }
}

async fn answer(ctx: &Ctx, tenant: TenantId, bytes: &[u8]) -> Answer<Response> {
    let query = Query::read(bytes).map_err(refused)?;
    let metrics = &ctx.app.metrics;
    let answered = match ctx.app.names.answer(tenant, &query).await {
        Ok(answered) => answered,
        // No refusal that is written down, one by one: that would be more work, not less.
        Err(Overloaded) => {
            metrics.name("overloaded");
            return Ok(serve::Problem(Problem::new(Code::Overloaded).retry_after(1)).into_response());
        }
    };
    metrics.name(answered.outcome.as_str());
    if let Some(why) = answered.unanswered {
        metrics.name_unanswered(why.as_str());
    }
    if let Some(reason) = answered.denied() {
        metrics.addresses_not_public(answered.not_public);
        ctx.app.sampler.count(EventKind::EgressDenied, reason, Some(ctx.address));
    }
    let message = query.answer(&answered.outcome).map_err(Refusal::internal)?;
    let max_age = format!("max-age={}", answered.outcome.max_age_s());
    Ok(([(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, &max_age)], message).into_response())
}

fn refused(error: QueryError) -> Refusal {
    match error {
        QueryError::TooLarge => Problem::new(Code::BodyTooLarge).detail(error.to_string()).into(),
        QueryError::Malformed | QueryError::Answer | QueryError::Questions(_) | QueryError::Records => {
            malformed(&error.to_string())
        }
    }
}

fn malformed(detail: &str) -> Refusal {
    Problem::new(Code::MalformedRequest).detail(detail).into()
}
