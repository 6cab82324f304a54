//! A stand-in for a data plane: on its port, with its certificate, behind a plan gate that can lack a check.

use super::Halted;
use anyhow::{Context as _, Result, ensure};
use api::data_plane::{ExecutionKnown, PLANS_PATH, PlanAccepted};
use api::execution::{ExecutionView, SignedPlanView};
use api::tenant::TenantView;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use notary::{Expected, KeySet, PlanRefusal, verify_plan};
use plan::{Admission, Refusal, Ticket};
use rustls::ServerConfig;
use serve::identity::WorkloadIdentity;
use serve::{Listener, ListenerLimits};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terms::{ExecutionId, TenantId, Timestamp, Unverified};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use trials::{Site, signal, wait_until};
use wire::plan::{Plan, PlanBytes};
use wire::plan_token::{HEADER_NAME, PlanToken};

/// How a stand-in judges plans.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// As a data plane must.
    Soundly,
    /// As a data plane must, but that it takes what has to be refused with this code.
    Forgiving(&'static str),
    /// It refuses everything with this code.
    Refusing(&'static str),
}

/// A data plane whose process is killed, and whose node is halted so that it does not start another one.
pub(super) struct Vacancy {
    pub(super) tenant: TenantId,
    pub(super) address: SocketAddr,
    /// A copy of its identity that belongs to this process's user.
    pub(super) identity: PathBuf,
    _node: Halted,
}

/// A plan gate that answers in its place.
pub(super) struct StandIn {
    gate: Arc<Gate>,
    serving: Serving,
}

/// A listener under way.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Gate {
    manner: Mutex<Manner>,
    keys: KeySet,
    expected: Expected,
    admission: Mutex<Admission>,
}

impl Vacancy {
    /// Kills the data plane of tenant `demo`.
    pub(super) async fn of(site: &Site) -> Result<Self> {
        let data_plane = site.data_planes().first().context("a data plane")?;
        let address: SocketAddr = data_plane.url.trim_start_matches("https://").parse()?;
        let identity = site.folder().join("stolen");
        std::fs::create_dir(&identity)?;
        for file in ["identity.pem", "identity.json"] {
            let copy = identity.join(file);
            std::fs::copy(site.state_of("data-")?.join(file), &copy)?;
            std::fs::set_permissions(copy, Permissions::from_mode(0o600))?;
        }
        let node = Halted::halt(site.pid_of("palisade-node")?)?;
        signal(data_plane.pid, "KILL")?;
        let is_free = async || std::net::TcpListener::bind(address).is_ok();
        ensure!(wait_until(Duration::from_secs(30), is_free).await, "{address} stays taken");
        let tenant = site.api()?.get::<TenantView>("/v1/tenants/demo").await?.id;
        Ok(Self { tenant, address, identity, _node: node })
    }
}

impl StandIn {
    /// Takes the data plane's place, with all that it knew of `execution`.
    pub(super) async fn take(site: &Site, vacancy: &Vacancy, execution: &ExecutionView) -> Result<Self> {
        let identity = WorkloadIdentity::load(&vacancy.identity)?.context("an identity")?;
        let (issuer, audience) = (identity.issuer().to_owned(), identity.spiffe().to_string());
        let (keys, _) = KeySet::from_jwks(&site.api()?.get(wire::jwks::PATH).await?);
        let gate = Arc::new(Gate {
            manner: Mutex::new(Manner::Soundly),
            keys,
            expected: Expected { issuer, audience, tenant: vacancy.tenant },
            admission: Mutex::new(Admission::new()),
        });
        let path = format!("/v1/tenants/demo/executions/{}/plan", execution.id);
        let known: SignedPlanView = site.api()?.get(&path).await?;
        gate.judge(&known.token, STANDARD.decode(known.plan)?.into()).map_err(anyhow::Error::msg)?;
        let router = Router::new()
            .route(PLANS_PATH, post(take_plan))
            .route("/v1/executions/{id}", get(show))
            .with_state(Arc::clone(&gate));
        let serving = Serving::begin(vacancy.address, identity.server_config()?, router).await?;
        Ok(Self { gate, serving })
    }

    /// Judges plans in another manner from now on.
    pub(super) fn judge(&self, manner: Manner) {
        *self.gate.manner.lock().unwrap() = manner;
    }

    /// Frees the data plane's place.
    pub(super) async fn leave(self) -> Result<()> {
        self.serving.end().await
    }
}

impl Serving {
    pub(super) async fn begin(at: SocketAddr, tls: Arc<ServerConfig>, router: Router) -> Result<Self> {
        let listener = Listener::bind(at).await?;
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        let until = async { drop(stopped.await) };
        let task = tokio::spawn(listener.serve(tls, router, ListenerLimits::default(), until));
        Ok(Self { address, stop, task })
    }

    pub(super) async fn end(self) -> Result<()> {
        drop(self.stop);
        Ok(self.task.await?)
    }
}

async fn take_plan(State(gate): State<Arc<Gate>>, headers: HeaderMap, plan: Bytes) -> Response {
    let token = headers.get(HEADER_NAME).and_then(|token| token.to_str().ok()).unwrap_or_default();
    // Whatever is forgiven is answered as if it were new; a plan that cannot be read names no execution.
    let named = Plan::read(&plan).map_or(ExecutionId::from_bytes([0; 16]), |plan| plan.execution_id);
    let accepted = |replayed| {
        (StatusCode::ACCEPTED, Json(PlanAccepted { execution_id: named, replayed })).into_response()
    };
    let manner = *gate.manner.lock().unwrap();
    match (manner, gate.judge(token, plan)) {
        (Manner::Refusing(code), _) => refused(code),
        (Manner::Forgiving(forgiven), Err(code)) if code == forgiven => accepted(false),
        (Manner::Soundly | Manner::Forgiving(_), Err("plan.replayed")) => accepted(true),
        (Manner::Soundly | Manner::Forgiving(_), Err(code)) => refused(code),
        (Manner::Soundly | Manner::Forgiving(_), Ok(())) => accepted(false),
    }
}

async fn show(State(gate): State<Arc<Gate>>, Path(id): Path<String>) -> Json<ExecutionKnown> {
    let execution_id: ExecutionId = id.parse().unwrap();
    let known = gate.admission.lock().unwrap().contains(execution_id);
    Json(ExecutionKnown { execution_id, known, ended: known, journal_since: Timestamp::EPOCH })
}

fn refused(code: &str) -> Response {
    let problem = api::Problem { code: code.to_owned(), ..api::Problem::new(api::Code::Forbidden) };
    (StatusCode::FORBIDDEN, Json(problem)).into_response()
}

impl Gate {
    /// What a data plane must say: the same steps in the same order.
    fn judge(&self, token: &str, plan: Bytes) -> Result<(), &'static str> {
        let token = PlanToken::split(token).map_err(|error| PlanRefusal::Token(error).code())?;
        let bytes = Unverified::new(PlanBytes::new(plan.into()));
        let signed = verify_plan(Unverified::new(token), bytes, |kid| self.keys.find(kid), &self.expected);
        let ticket = signed.map_err(|refusal| refusal.code())?.try_map(|signed| {
            Ok::<_, Refusal>(Ticket {
                issuer: signed.claims.iss,
                plan_id: signed.claims.jti,
                execution_id: signed.plan.execution_id,
                plan_hash: signed.claims.plan_hash,
                issued_at: Timestamp::from_unix_s(signed.claims.iat),
                expires_at: Timestamp::from_unix_s(signed.claims.exp),
            })
        });
        let mut admission = self.admission.lock().unwrap();
        let admitted = ticket.and_then(|ticket| admission.admit(ticket, host::clock::now()));
        admitted.map(drop).map_err(|refusal| refusal.code())
    }
}
