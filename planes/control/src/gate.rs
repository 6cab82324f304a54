//! Before every handler: who asks, and how fast. After it: every refusal is counted, and audited if we know whose.

use crate::app::App;
use crate::caller::{self, Unknown};
use crate::ctx::Ctx;
use crate::refusal::{Refusal, RefusalCode};
use api::route::{Auth, Route};
use api::{Code, Problem};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serve::Peer;
use std::net::IpAddr;
use std::sync::Arc;
use terms::{Actor, Timestamp};
use wire::event::{EventKind, EventOutcome};

/// What the gate of one route knows.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) app: Arc<App>,
    pub(crate) route: &'static Route,
}

/// Lets a request through to its handler, or answers with a problem.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let now = gate.app.clock.now();
    let response = match gate.admit(&request, now) {
        Ok(None) => next.run(request).await,
        Ok(Some(ctx)) => gate.run(ctx, request, next).await,
        Err(refusal) => refusal.into_response(),
    };
    gate.app.metrics.answered(gate.route.name, response.status().as_u16());
    if let Some(RefusalCode(code)) = response.extensions().get() {
        gate.app.metrics.refused(code);
    }
    response
}

impl Gate {
    /// Who asks, if they may ask now. A public route has no context.
    fn admit(&self, request: &Request, now: Timestamp) -> Result<Option<Ctx>, Refusal> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .ok_or_else(|| Refusal::internal("a request without a peer"))?;
        let address = peer.addr.ip();
        let Some(action) = Ctx::action_of(self.route) else {
            self.app.rates.public(address, now).map_err(|wait| self.too_fast(wait, address))?;
            return Ok(None);
        };
        let actor = match self.route.auth {
            // The handler redeems the token; until then the caller is nobody, but one without a token is refused
            // before its body is read.
            Auth::EnrolmentToken => match caller::bearer(request.headers()) {
                Some(Ok(_)) => Actor::Enrolling,
                Some(Err(_)) => return Err(self.unknown(Unknown::BadToken, address, now)),
                None => return Err(self.unknown(Unknown::NoCredential, address, now)),
            },
            Auth::Public | Auth::Permit(_) => {
                caller::authenticate(request.headers(), peer, &self.app.operators, &self.app.domain, now)
                    .map_err(|unknown| self.unknown(unknown, address, now))?
            }
        };
        self.app.rates.caller(actor, action, address, now).map_err(|wait| self.too_fast(wait, address))?;
        Ok(Some(Ctx { app: Arc::clone(&self.app), actor, action, address, now }))
    }

    async fn run(&self, ctx: Ctx, mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(ctx.clone());
        let response = next.run(request).await;
        let Some(RefusalCode(code)) = response.extensions().get() else {
            return response;
        };
        match ctx.actor {
            // A flood without a credential must not fill the log.
            Actor::Enrolling => {
                self.app.sampler.count(EventKind::Enrolment, code, Some(ctx.address));
                response
            }
            Actor::Operator(_)
            | Actor::DataPlane(_)
            | Actor::Sidecar(..)
            | Actor::Node(_)
            | Actor::System => match self.audit_refusal(&ctx, code).await {
                Ok(()) => response,
                Err(refusal) => refusal.into_response(),
            },
        }
    }

    /// Writes the refusal of a known caller down, before it is answered.
    async fn audit_refusal(&self, ctx: &Ctx, code: &str) -> Result<(), Refusal> {
        let mut entry = ctx.deed(format!("route/{}", self.route.name), own_tenant(ctx.actor));
        entry.outcome = EventOutcome::Denied;
        code.clone_into(&mut entry.reason);
        let kind = match code {
            "forbidden" | "not_found" => EventKind::AuthorizationDenied,
            _ => EventKind::RequestRefused,
        };
        let mut event = ctx.event(kind, entry.resource.clone(), entry.tenant)?;
        event.outcome = EventOutcome::Denied;
        code.clone_into(&mut event.reason);
        self.app
            .store
            .write(move |tx| {
                Box::pin(async move {
                    tx.audit(entry);
                    tx.event(event);
                    Ok::<_, store::StoreError>(())
                })
            })
            .await
            .map_err(Refusal::from)
    }

    /// Refuses a credential. Only those who fail are slowed: whoever shares their address is not.
    fn unknown(&self, unknown: Unknown, address: IpAddr, now: Timestamp) -> Refusal {
        if let Err(wait) = self.app.rates.credential_refused(address, now) {
            return self.too_fast(wait, address);
        }
        self.app.sampler.count(EventKind::AuthenticationFailed, unknown.code(), Some(address));
        Code::Unauthenticated.into()
    }

    fn too_fast(&self, wait: serve::rate::RetryAfterMs, address: IpAddr) -> Refusal {
        self.app.sampler.count(EventKind::RateLimited, Code::RateLimited.as_str(), Some(address));
        Problem::new(Code::RateLimited).retry_after(wait.0.div_ceil(1_000).max(1)).into()
    }
}

/// The tenant that a workload belongs to.
const fn own_tenant(actor: Actor) -> Option<terms::TenantId> {
    match actor {
        Actor::DataPlane(tenant) | Actor::Sidecar(tenant, _) => Some(tenant),
        Actor::Operator(_) | Actor::Node(_) | Actor::Enrolling | Actor::System => None,
    }
}

/// The gate of the metrics listener: operators only.
pub(crate) async fn operators_only(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let now = app.clock.now();
    let Some(peer) = request.extensions().get::<Peer>() else {
        return Refusal::internal("a request without a peer").into_response();
    };
    match caller::authenticate(request.headers(), peer, &app.operators, &app.domain, now) {
        Ok(Actor::Operator(_)) => next.run(request).await,
        Ok(_) => Refusal::from(Code::Forbidden).into_response(),
        Err(unknown) => {
            app.sampler.count(EventKind::AuthenticationFailed, unknown.code(), Some(peer.addr.ip()));
            Refusal::from(Code::Unauthenticated).into_response()
        }
    }
}
