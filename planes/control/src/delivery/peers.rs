//! Connections to data planes: mutual TLS, each pinned to its tenant's SPIFFE id.

use crate::app::App;
use api::data_plane::{ExecutionKnown, PLANS_PATH, PlanAccepted};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serve::client::{CallError, Client, ClientError, ClientOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use terms::{Action, ExecutionId, Scope, TenantId};
use wire::plan::{MEDIA_TYPE, PlanBytes};
use wire::plan_token::HEADER_NAME;

/// Most bytes of a data plane's answer that is read here.
const ANSWER_MAX: usize = 64 * 1024;

/// A data plane answers a push within this, or counts as silent.
const OPTIONS: ClientOptions =
    ClientOptions { connect_timeout_ms: 5_000, request_timeout_ms: 20_000, pool_per_host: 64 };

/// The data planes that were called, until one is found elsewhere or does not answer.
#[derive(Default)]
pub(crate) struct Peers(RwLock<BTreeMap<TenantId, Peer>>);

/// Where a data plane listens, and the client that accepts nobody else there.
#[derive(Clone)]
struct Peer {
    url: Arc<str>,
    client: Client,
}

/// What a data plane said of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It has it, durably.
    Accepted,
    /// It cannot judge it now.
    Deferred,
    /// It refuses it, with this code.
    Refused(String),
    /// Nothing left this plane.
    Unreachable,
    /// It went out, and no answer came.
    Silent,
}

/// Says why a data plane could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No node has reported it yet.
    #[error("no node runs it yet")]
    NotPlaced,
    /// The address or our identity cannot be used.
    #[error("{0}")]
    Setup(String),
    /// It did not answer.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Its answer cannot be read.
    #[error("{0}")]
    Answer(#[from] CallError),
}

impl Pushed {
    /// The answer's stable text, for metrics.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Accepted => "accepted",
            Self::Deferred => "deferred",
            Self::Refused(code) => code,
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
        }
    }
}

impl Peers {
    /// Pushes a plan.
    pub(crate) async fn push(&self, app: &App, tenant: TenantId, bytes: PlanBytes, token: &str) -> Pushed {
        let request = Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(HEADER_NAME, token);
        app.carried.pushed(tenant, bytes.length().saturating_add(token.len() as u64));
        let body = Full::new(Bytes::from(bytes.into_bytes()));
        let response = match self.send(app, tenant, request, PLANS_PATH, body).await {
            Ok(response) => response,
            Err(PeerError::Client(error)) if !error.never_sent() => return Pushed::Silent,
            Err(error) => {
                tracing::debug!(%tenant, %error, "a plan could not be sent");
                return Pushed::Unreachable;
            }
        };
        let status = response.status();
        match (status, self.read(app, tenant, response).await) {
            (StatusCode::ACCEPTED, Ok(body)) if serde_json::from_slice::<PlanAccepted>(&body).is_ok() => {
                Pushed::Accepted
            }
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => Pushed::Deferred,
            (_, Ok(body)) => match serde_json::from_slice::<api::Problem>(&body) {
                Ok(problem) => Pushed::Refused(problem.code),
                Err(_) => Pushed::Silent,
            },
            (_, Err(_)) => Pushed::Silent,
        }
    }

    /// Asks for an execution.
    pub(crate) async fn ask(
        &self,
        app: &App,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<ExecutionKnown, PeerError> {
        let response = self.get(app, tenant, &format!("/v1/executions/{id}")).await?;
        self.answer(app, tenant, response).await
    }

    /// Tells it to cancel an execution.
    pub(crate) async fn cancel(
        &self,
        app: &App,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<ExecutionKnown, PeerError> {
        let request = Request::builder().method(Method::POST);
        let path = format!("/v1/executions/{id}/cancel");
        let response = self.send(app, tenant, request, &path, Full::default()).await?;
        self.answer(app, tenant, response).await
    }

    /// Gets `path`.
    pub(crate) async fn get(
        &self,
        app: &App,
        tenant: TenantId,
        path: &str,
    ) -> Result<Response<Incoming>, PeerError> {
        self.send(app, tenant, Request::builder().method(Method::GET), path, Full::default()).await
    }

    async fn answer(
        &self,
        app: &App,
        tenant: TenantId,
        response: Response<Incoming>,
    ) -> Result<ExecutionKnown, PeerError> {
        let success = response.status().is_success();
        let body = self.read(app, tenant, response).await?;
        let known = serde_json::from_slice(&body).ok().filter(|_| success);
        known.ok_or_else(|| PeerError::Setup("its answer is not what was asked for".to_owned()))
    }

    async fn read(
        &self,
        app: &App,
        tenant: TenantId,
        response: Response<Incoming>,
    ) -> Result<Bytes, PeerError> {
        Ok(self.peer(app, tenant).await?.client.read(response, ANSWER_MAX).await?)
    }

    async fn send(
        &self,
        app: &App,
        tenant: TenantId,
        request: http::request::Builder,
        path: &str,
        body: Full<Bytes>,
    ) -> Result<Response<Incoming>, PeerError> {
        let Peer { url, client } = self.peer(app, tenant).await?;
        let request = request
            .uri(format!("{url}{path}"))
            .body(body)
            .map_err(|error| PeerError::Setup(error.to_string()))?;
        let answer = client.send(request).await;
        if answer.is_err() {
            // It may have moved, which another replica may have been told.
            self.known().remove(&tenant);
        }
        Ok(answer?)
    }

    /// Takes note of where a data plane listens now.
    pub(crate) fn found_at(&self, tenant: TenantId, url: &str) {
        let mut peers = self.known();
        if peers.get(&tenant).is_some_and(|peer| *peer.url != *url) {
            peers.remove(&tenant);
        }
    }

    /// Forgets where a data plane was: it moves, or is no more.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.known().remove(&tenant);
    }

    async fn peer(&self, app: &App, tenant: TenantId) -> Result<Peer, PeerError> {
        if let Some(peer) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return Ok(peer.clone());
        }
        let permit = app
            .own_permit(Action::ReadTenant, Scope::Tenant(tenant))
            .map_err(|refusal| PeerError::Setup(refusal.code().to_owned()))?;
        let store_failed = |error: store::StoreError| PeerError::Setup(error.to_string());
        let mut reader = app.store.read().await.map_err(store_failed)?;
        let row = reader.workloads().data_plane(&permit, tenant).await.map_err(store_failed)?;
        let url = row.ok_or(PeerError::NotPlaced)?.url.into();
        let tls = app.identity.towards(tenant).map_err(|error| PeerError::Setup(error.to_string()))?;
        let peer = Peer { url, client: Client::new(tls, OPTIONS) };
        self.known().insert(tenant, peer.clone());
        Ok(peer)
    }

    fn known(&self) -> RwLockWriteGuard<'_, BTreeMap<TenantId, Peer>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
