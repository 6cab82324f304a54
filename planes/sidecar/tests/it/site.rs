//! A data plane and a control plane for one sidecar, on this machine.

use crate::world::{self, SIDECAR, TENANT};
use api::enrolment::{Enrol, Enrolled, IssuedCertificate};
use api::event::DeliverEvents;
use api::heartbeat::{DeliverHeartbeats, HeartbeatReceipts};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use host::clock::Clock;
use serve::ca::{Authority, Subject, Use};
use serve::problem::Problem;
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Listener, ListenerLimits};
use sidecar::metering::Outgoing;
use sidecar::run::End;
use sidecar::{MeterConfig, RunError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use terms::{SidecarId, SpiffeId, Token, Workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use wire::event::SecurityEvent;
use wire::heartbeat::Heartbeat;

const HOUR_MS: i64 = 3_600_000;

/// Everything around one sidecar.
pub(crate) struct Site {
    _dir: TempDir,
    pub(crate) clock: Clock,
    pub(crate) config: MeterConfig,
    pub(crate) control: Arc<Control>,
    /// Heartbeats as they arrive, answered or not.
    pub(crate) heartbeats: mpsc::UnboundedReceiver<Heartbeat>,
    pub(crate) events: mpsc::UnboundedReceiver<SecurityEvent>,
    /// One for each sample that was read.
    pub(crate) samples: mpsc::UnboundedReceiver<()>,
    _stop: oneshot::Sender<()>,
}

/// What the control plane does and knows.
pub(crate) struct Control {
    authority: Authority,
    clock: Clock,
    pub(crate) totals: Mutex<wire::counters::Sample>,
    pub(crate) script: Mutex<Script>,
    /// Deliveries of heartbeats that may be answered, for [`Script::Hang`].
    pub(crate) gate: Semaphore,
    pub(crate) ledger: Mutex<world::ControlPlane>,
    /// The sidecar id that the next enrolment gets, and how long its certificate is valid.
    pub(crate) enrols: Mutex<(SidecarId, i64)>,
    pub(crate) public_keys: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
    told: mpsc::UnboundedSender<Heartbeat>,
    noted: mpsc::UnboundedSender<SecurityEvent>,
}

/// How heartbeats are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Judge,
    Unavailable,
    /// Not before the gate opens, and then with an error.
    Hang,
    Refuse(&'static str),
}

impl Site {
    pub(crate) async fn new() -> Self {
        let clock = Clock::fixed(host::clock::now());
        let authority =
            Authority::create(clock.now().plus_ms(-HOUR_MS), &domain(), 100 * 24 * HOUR_MS).unwrap();
        let (told, heartbeats) = mpsc::unbounded_channel();
        let (noted, events) = mpsc::unbounded_channel();
        let control = Arc::new(Control {
            authority,
            clock: clock.clone(),
            totals: Mutex::new(wire::counters::Sample { epoch: 1, totals: world::steps(0) }),
            script: Mutex::new(Script::Judge),
            gate: Semaphore::new(0),
            ledger: Mutex::new(world::ControlPlane::new(SIDECAR)),
            enrols: Mutex::new((SIDECAR, 24 * HOUR_MS)),
            public_keys: Mutex::default(),
            tokens: Mutex::default(),
            told,
            noted,
        });
        let (url, stop) = serve_control_plane(&control).await;
        let dir = tempfile::tempdir().unwrap();
        let samples = serve_data_plane(&dir, &control);
        let config = config(&dir, url, control.authority.certificate_pem());
        host::files::create_private_dir(&config.state_dir).unwrap();
        Self { _dir: dir, clock, config, control, heartbeats, events, samples, _stop: stop }
    }

    /// Puts a new token where the sidecar looks for one.
    pub(crate) fn give_token(&self) {
        let token = Token::mint("enrol", &host::entropy::bytes().unwrap());
        self.control.tokens.lock().unwrap().push(token.expose().to_owned());
        host::files::write_private_atomically(&self.config.enrol_token_file, token.expose().as_bytes())
            .unwrap();
    }

    pub(crate) fn consume(&self, steps: u64) {
        self.control.totals.lock().unwrap().totals.steps += steps;
    }

    pub(crate) fn answer(&self, script: Script) {
        *self.control.script.lock().unwrap() = script;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.state_dir.join(name)
    }

    /// Starts a sidecar; it stops when the sender is used or dropped.
    pub(crate) fn start(&self) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<End, RunError>>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let running =
            tokio::spawn(
                async move { sidecar::run(&config, &clock, async move { drop(stopped.await) }).await },
            );
        (stop, running)
    }

    /// The next heartbeat that arrives.
    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        self.heartbeats.recv().await.unwrap()
    }

    /// The first heartbeat to arrive that swears to `steps`.
    pub(crate) async fn heartbeat_of(&mut self, steps: u64) -> Heartbeat {
        loop {
            let beat = self.heartbeat().await;
            if beat.totals.steps == steps {
                return beat;
            }
        }
    }

    /// The first event to arrive with this reason.
    pub(crate) async fn event(&mut self, reason: &str) -> SecurityEvent {
        loop {
            let event = self.events.recv().await.unwrap();
            if event.reason == reason {
                return event;
            }
        }
    }

    /// Waits until `name` is in the sidecar's folder.
    pub(crate) async fn appears(&self, name: &str) {
        while !self.path(name).exists() {
            tokio::task::yield_now().await;
        }
    }
}

fn config(dir: &TempDir, url: String, ca_pem: &str) -> MeterConfig {
    let state_dir = dir.path().join("meter");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca_pem).unwrap();
    MeterConfig {
        enrol_token_file: state_dir.join("enrol.token"),
        state_dir,
        tenant: TENANT,
        control_plane_url: url,
        control_plane_addr: None,
        control_plane_ca_file: ca_file,
        metering_socket: dir.path().join("meter.sock"),
        data_plane_uid: host::process::own_uid(),
        interval_ms: 100,
    }
}

fn domain() -> terms::TrustDomain {
    "palisade.internal".parse().unwrap()
}

async fn serve_control_plane(control: &Arc<Control>) -> (String, oneshot::Sender<()>) {
    let spiffe = SpiffeId::new(domain(), Workload::ControlPlane);
    let names = ["localhost", "control-plane.invalid"].map(ToOwned::to_owned);
    let subject = Subject {
        spiffe: &spiffe,
        dns_names: &names,
        ips: &[],
        usage: Use::Server,
        now: control.clock.now(),
        lifetime_ms: 90 * 24 * HOUR_MS,
    };
    let (certificate, key) = control.authority.issue_with_key(&subject).unwrap();
    let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
    let roots = Roots::from_pem(control.authority.certificate_pem()).unwrap();
    let config = tls::server_config(&identity, &ClientAuth::Optional(roots)).unwrap();
    let router = Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/heartbeats/batch", post(heartbeats))
        .route("/v1/events", post(events))
        .with_state(control.clone());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().port());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(listener.serve(config, router, ListenerLimits::default(), async move {
        drop(stopped.await);
    }));
    (url, stop)
}

async fn enrol(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    Json(body): Json<Enrol>,
) -> Result<(StatusCode, Json<Enrolled>), Problem> {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = {
        let mut tokens = control.tokens.lock().unwrap();
        let at = tokens.iter().position(|token| bearer == format!("Bearer {token}"));
        at.map(|at| tokens.remove(at)).is_some()
    };
    if !known {
        return Err(api::Code::EnrolmentRefused.into());
    }
    control.public_keys.lock().unwrap().extend(body.public_key);
    let (sidecar, lifetime_ms) = *control.enrols.lock().unwrap();
    let spiffe = SpiffeId::new(domain(), Workload::Sidecar(TENANT, sidecar));
    let now = control.clock.now();
    let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage: Use::Client, now, lifetime_ms };
    let issued = control.authority.issue_from_csr(&body.csr, &subject).unwrap();
    let certificate = IssuedCertificate {
        chain: issued.chain_pem,
        roots: control.authority.certificate_pem().to_owned(),
        not_before: issued.not_before,
        not_after: issued.not_after,
    };
    let (trust_domain, issuer) = (domain().to_string(), "https://localhost".to_owned());
    let (tenant, sidecar, node) = (Some(TENANT), Some(sidecar), None);
    Ok((StatusCode::CREATED, Json(Enrolled { certificate, tenant, sidecar, node, trust_domain, issuer })))
}

async fn heartbeats(
    State(control): State<Arc<Control>>,
    Json(body): Json<DeliverHeartbeats>,
) -> Result<Json<HeartbeatReceipts>, Problem> {
    let batch: Vec<Outgoing> =
        body.heartbeats.into_iter().map(|envelope| Outgoing { counter: 0, envelope }).collect();
    for outgoing in &batch {
        let _nobody_listens = control.told.send(world::heartbeat(outgoing));
    }
    let script = *control.script.lock().unwrap();
    let mut receipts = match script {
        Script::Judge | Script::Refuse(_) => control.ledger.lock().unwrap().take(&batch, control.clock.now()),
        Script::Unavailable => return Err(api::Code::Unavailable.into()),
        Script::Hang => {
            control.gate.acquire().await.unwrap().forget();
            return Err(api::Code::Unavailable.into());
        }
    };
    if let Script::Refuse(code) = script {
        for receipt in &mut receipts {
            receipt.status = api::heartbeat::ReceiptStatus::Refused;
            receipt.code = code.to_owned();
        }
    }
    Ok(Json(HeartbeatReceipts { receipts, nonce: "challenge".to_owned() }))
}

async fn events(State(control): State<Arc<Control>>, Json(body): Json<DeliverEvents>) -> Json<()> {
    for event in body.events {
        let _nobody_listens = control.noted.send(event);
    }
    Json(())
}

fn serve_data_plane(dir: &TempDir, control: &Arc<Control>) -> mpsc::UnboundedReceiver<()> {
    let listener = UnixListener::bind(dir.path().join("meter.sock")).unwrap();
    let (sampled, samples) = mpsc::unbounded_channel();
    let control = Arc::clone(control);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2];
            if stream.read_exact(&mut request).await.is_err() || request != wire::counters::REQUEST {
                continue;
            }
            let mut line = serde_json::to_vec(&*control.totals.lock().unwrap()).unwrap();
            line.push(b'\n');
            let _gone = stream.write_all(&line).await;
            let _nobody_counts = sampled.send(());
        }
    });
    samples
}
