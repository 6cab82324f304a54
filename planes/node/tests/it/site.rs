//! A control plane for one node, and programs that stand in for data planes and sidecars.

use api::enrolment::{Enrol, Enrolled, EnrolmentKind, IssueEnrolment, IssuedCertificate, IssuedEnrolment};
use api::event::DeliverEvents;
use api::placement::{Placement, Placements, ReportPlacements, RunningPlacement, Walls};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use host::clock::Clock;
use host::files::{self, Owner};
use node::run::End;
use node::{NodeConfig, RunError};
use serve::ca::{Authority, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Listener, ListenerLimits};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use terms::{NodeId, SpiffeId, TenantId, Token, TrustDomain, Workload};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::event::SecurityEvent;

const HOUR_MS: i64 = 3_600_000;

/// Stands in for a data plane: says that it is ready, and notes in `order` that it began and that it stopped.
const DATA_PLANE: &str = r#"#!/bin/sh
dir=$(dirname "$2")
order=$(dirname "$0")/order
trap 'echo "data stopped" >> "$order"; exit 0' TERM
echo "data started $$" >> "$order"
echo says something >&2
[ -e "$(dirname "$0")/hostile" ] && mkfifo "$dir/ready.json" || echo "{\"url\":\"https://127.0.0.1:5678\",\"pid\":$$}" > "$dir/ready.json"
while :; do sleep 60 & wait $!; done
"#;

const SIDECAR: &str = r#"#!/bin/sh
order=$(dirname "$0")/order
trap 'echo "meter stopped" >> "$order"; exit 0' TERM
echo "meter started $$" >> "$order"
while :; do sleep 60 & wait $!; done
"#;

/// Everything around one node.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) config: NodeConfig,
    pub(crate) control: Arc<Control>,
    reports: mpsc::UnboundedReceiver<ReportPlacements>,
    /// The last report: what it says of one tenant may be asked after what it says of another.
    report: ReportPlacements,
    pub(crate) events: mpsc::UnboundedReceiver<SecurityEvent>,
    _stop: oneshot::Sender<()>,
}

/// What the control plane does and knows.
pub(crate) struct Control {
    authority: Authority,
    /// Who enrols next.
    pub(crate) enrols: Mutex<Workload>,
    pub(crate) placements: Mutex<Vec<Placement>>,
    /// Whether requests are left without an answer.
    pub(crate) hangs: watch::Sender<bool>,
    pub(crate) tokens: Mutex<Vec<(EnrolmentKind, TenantId)>>,
    told: mpsc::UnboundedSender<ReportPlacements>,
    noted: mpsc::UnboundedSender<SecurityEvent>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let authority =
            Authority::create(host::clock::now().plus_ms(-HOUR_MS), &domain(), 48 * HOUR_MS).unwrap();
        let (told, reports) = mpsc::unbounded_channel();
        let (noted, events) = mpsc::unbounded_channel();
        let control = Arc::new(Control {
            authority,
            enrols: Mutex::new(Workload::Node(NodeId::from_bytes([7; 16]))),
            placements: Mutex::default(),
            hangs: watch::Sender::new(false),
            tokens: Mutex::default(),
            told,
            noted,
        });
        let (url, stop) = serve(&control).await;
        let dir = programs();
        let config = config(&dir, url, control.authority.certificate_pem());
        let report = nothing_runs();
        Self { dir, config, control, reports, report, events, _stop: stop }
    }

    /// Places `tenant` here.
    pub(crate) fn place(&self, tenant: TenantId, run: bool) {
        let mut placements = self.control.placements.lock().unwrap();
        placements.retain(|placement| placement.tenant != tenant);
        placements.push(Placement { tenant, name: "demo".parse().unwrap(), run });
    }

    /// Starts a node; it stops when the sender is used or dropped.
    pub(crate) fn start(&self) -> (oneshot::Sender<()>, JoinHandle<Result<End, RunError>>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = self.config.clone();
        let running = tokio::spawn(async move {
            node::run(&config, &Clock::system(), async move { drop(stopped.await) }).await
        });
        (stop, running)
    }

    /// What the first report says in which `tenant` runs with a sidecar and `fits`, the last one included.
    pub(crate) async fn running(
        &mut self,
        tenant: TenantId,
        fits: impl Fn(&RunningPlacement) -> bool,
    ) -> RunningPlacement {
        loop {
            let is_found =
                |found: &&RunningPlacement| found.tenant == tenant && found.sidecar_pid != 0 && fits(found);
            if let Some(found) = self.report.running.iter().find(is_found) {
                return found.clone();
            }
            self.report = self.reports.recv().await.unwrap();
        }
    }

    /// Waits for a report in which nothing runs.
    pub(crate) async fn nothing_running(&mut self) {
        while !self.report.running.is_empty() {
            self.report = self.reports.recv().await.unwrap();
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

    /// Waits until `name` is in the state directory.
    pub(crate) async fn appears(&self, name: &str) {
        while !self.path(name).exists() {
            tokio::task::yield_now().await;
        }
    }

    /// What the programs noted, in order.
    pub(crate) fn order(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("bin/order")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.state_dir.join(name)
    }

    /// Makes data planes that start from now on leave a pipe where their ready file should be.
    pub(crate) fn turn_hostile(&self) {
        std::fs::write(self.dir.path().join("bin/hostile"), "").unwrap();
    }

    pub(crate) fn turn_friendly(&self) {
        std::fs::remove_file(self.dir.path().join("bin/hostile")).unwrap();
    }
}

fn nothing_runs() -> ReportPlacements {
    ReportPlacements { running: Vec::new(), walls: Walls { own_uids: false, own_networks: false } }
}

/// Folders and programs that other users can reach: as root, each process has its own.
fn programs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let bin = dir.path().join("bin");
    files::create_dir(&bin, 0o711, Owner::This).unwrap();
    for (name, text, mode) in
        [("palisade-data", DATA_PLANE, 0o755), ("palisade-meter", SIDECAR, 0o755), ("order", "", 0o666)]
    {
        files::write_atomically(&bin.join(name), text.as_bytes(), mode, Owner::This).unwrap();
    }
    dir
}

fn config(dir: &TempDir, url: String, ca_pem: &str) -> NodeConfig {
    let state = dir.path().join("state");
    files::create_dir(&state, 0o711, Owner::This).unwrap();
    files::create_private_dir(&state.join("node")).unwrap();
    let token_file = state.join("node/enrol.token");
    let token = Token::mint("enrol", &[1; 32]);
    files::write_private_atomically(&token_file, token.expose().as_bytes()).unwrap();
    let config = NodeConfig::with_defaults(state, url, token_file);
    std::fs::write(&config.control_plane_ca_file, ca_pem).unwrap();
    NodeConfig { data_plane_port: 0, poll_ms: 50, bin_dir: Some(dir.path().join("bin")), ..config }
}

fn domain() -> TrustDomain {
    "palisade.internal".parse().unwrap()
}

async fn serve(control: &Arc<Control>) -> (String, oneshot::Sender<()>) {
    let spiffe = SpiffeId::new(domain(), Workload::ControlPlane);
    let subject = Subject {
        spiffe: &spiffe,
        dns_names: &["localhost".to_owned()],
        ips: &[],
        usage: Use::Server,
        now: host::clock::now(),
        lifetime_ms: HOUR_MS,
    };
    let (certificate, key) = control.authority.issue_with_key(&subject).unwrap();
    let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
    let roots = Roots::from_pem(control.authority.certificate_pem()).unwrap();
    let config = tls::server_config(&identity, &ClientAuth::Optional(roots)).unwrap();
    let router = Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/enrolments", post(issue))
        .route("/v1/placements", get(placements))
        .route("/v1/placements/report", post(report))
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

async fn enrol(State(control): State<Arc<Control>>, Json(body): Json<Enrol>) -> (StatusCode, Json<Enrolled>) {
    let spiffe = SpiffeId::new(domain(), *control.enrols.lock().unwrap());
    let (now, lifetime_ms) = (host::clock::now(), HOUR_MS);
    let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage: Use::Client, now, lifetime_ms };
    let issued = control.authority.issue_from_csr(&body.csr, &subject).unwrap();
    let certificate = IssuedCertificate {
        chain: issued.chain_pem,
        roots: control.authority.certificate_pem().to_owned(),
        not_before: issued.not_before,
        not_after: issued.not_after,
    };
    let (trust_domain, issuer) = (domain().to_string(), "https://localhost".to_owned());
    let enrolled = Enrolled { certificate, tenant: None, sidecar: None, node: None, trust_domain, issuer };
    (StatusCode::CREATED, Json(enrolled))
}

async fn issue(
    State(control): State<Arc<Control>>,
    Json(body): Json<IssueEnrolment>,
) -> (StatusCode, Json<IssuedEnrolment>) {
    control.answers().await;
    control.tokens.lock().unwrap().push((body.kind, body.tenant.unwrap()));
    let token = Token::mint("enrol", &host::entropy::bytes().unwrap()).expose().to_owned();
    (StatusCode::CREATED, Json(IssuedEnrolment { token, expires_at: host::clock::now() }))
}

async fn placements(State(control): State<Arc<Control>>) -> Json<Placements> {
    control.answers().await;
    let placements = control.placements.lock().unwrap().clone();
    Json(Placements { placements, search_asked_at: None, networks_version: None, probe_asked_at: None })
}

async fn report(State(control): State<Arc<Control>>, Json(body): Json<ReportPlacements>) -> StatusCode {
    control.answers().await;
    let _nobody_listens = control.told.send(body);
    StatusCode::NO_CONTENT
}

async fn events(State(control): State<Arc<Control>>, Json(body): Json<DeliverEvents>) -> Json<()> {
    control.answers().await;
    for event in body.events {
        let _nobody_listens = control.noted.send(event);
    }
    Json(())
}

impl Control {
    /// Resolves once requests are answered.
    async fn answers(&self) {
        let mut hangs = self.hangs.subscribe();
        drop(hangs.wait_for(|hangs| !hangs).await);
    }
}
