//! A control plane, as far as one node can tell.

use api::enrolment::{Enrol, Enrolled, EnrolmentKind, IssueEnrolment, IssuedCertificate, IssuedEnrolment};
use api::event::DeliverEvents;
use api::network::{ReportNetworks, ReportProbe};
use api::placement::{Placement, Placements, ReportPlacements, RunningPlacement, Walls};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use notary::PlanSigner;
use serve::ca::{Authority, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Listener, ListenerLimits};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use terms::{NodeId, SpiffeId, TenantId, Timestamp, Token, TrustDomain, Workload};
use tokio::sync::{mpsc, oneshot, watch};
use wire::event::SecurityEvent;
use wire::jwks::Jwks;
use wire::networks::HostNetworks;

const HOUR_MS: i64 = 3_600_000;

/// With whom a node enrols here.
pub(crate) const ISSUER: &str = "https://localhost";

/// What the control plane does and knows.
pub(crate) struct Control {
    authority: Authority,
    pub(crate) signer: PlanSigner,
    /// Who enrols next.
    pub(crate) enrols: Mutex<Workload>,
    pub(crate) placements: Mutex<Vec<Placement>>,
    /// The version of the networks that the node should have, and their envelope.
    pub(crate) networks: Mutex<Option<(u64, Vec<u8>)>>,
    pub(crate) probe_asked_at: Mutex<Option<Timestamp>>,
    /// Whether requests are left without an answer.
    pub(crate) hangs: watch::Sender<bool>,
    pub(crate) tokens: Mutex<Vec<(EnrolmentKind, TenantId)>>,
    running: mpsc::UnboundedSender<ReportPlacements>,
    networks_told: mpsc::UnboundedSender<ReportNetworks>,
    probes_told: mpsc::UnboundedSender<ReportProbe>,
    events: mpsc::UnboundedSender<SecurityEvent>,
}

/// What the control plane was told.
pub(crate) struct Heard {
    reports: mpsc::UnboundedReceiver<ReportPlacements>,
    /// The last report: what it says of one tenant may be asked after what it says of another.
    report: ReportPlacements,
    networks: mpsc::UnboundedReceiver<ReportNetworks>,
    pub(crate) probes: mpsc::UnboundedReceiver<ReportProbe>,
    pub(crate) events: mpsc::UnboundedReceiver<SecurityEvent>,
}

impl Control {
    pub(crate) fn new() -> (Arc<Self>, Heard) {
        let began = host::clock::now().plus_ms(-HOUR_MS);
        let (running, reports) = mpsc::unbounded_channel();
        let (networks_told, networks) = mpsc::unbounded_channel();
        let (probes_told, probes) = mpsc::unbounded_channel();
        let (noted, events) = mpsc::unbounded_channel();
        let control = Self {
            authority: Authority::create(began, &domain(), 48 * HOUR_MS).unwrap(),
            signer: PlanSigner::generate().unwrap().0,
            // Of its own, as every node of a host: control groups are named after it.
            enrols: Mutex::new(Workload::Node(NodeId::from_bytes(host::entropy::bytes().unwrap()))),
            placements: Mutex::default(),
            networks: Mutex::default(),
            probe_asked_at: Mutex::default(),
            hangs: watch::Sender::new(false),
            tokens: Mutex::default(),
            running,
            networks_told,
            probes_told,
            events: noted,
        };
        let walls = Walls { own_uids: false, own_networks: false };
        let report = ReportPlacements { running: Vec::new(), walls };
        (Arc::new(control), Heard { reports, report, networks, probes, events })
    }

    pub(crate) fn roots_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// Answers at `at`, of the network that the calling thread is in, until the sender is used or dropped.
    pub(crate) async fn serve(self: &Arc<Self>, at: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = Listener::bind(at).await.unwrap();
        let at = listener.local_addr();
        let roots = Roots::from_pem(self.roots_pem()).unwrap();
        let config = tls::server_config(&self.identity(at.ip()), &ClientAuth::Optional(roots)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(listener.serve(config, self.router(), ListenerLimits::default(), async move {
            drop(stopped.await);
        }));
        (at, stop)
    }

    fn identity(&self, ip: IpAddr) -> Identity {
        let spiffe = SpiffeId::new(domain(), Workload::ControlPlane);
        let subject = Subject {
            spiffe: &spiffe,
            dns_names: &["localhost".to_owned()],
            ips: &[ip],
            usage: Use::Server,
            now: host::clock::now(),
            lifetime_ms: HOUR_MS,
        };
        let (certificate, key) = self.authority.issue_with_key(&subject).unwrap();
        Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap()
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/enrol", post(enrol))
            .route("/v1/enrolments", post(issue))
            .route("/v1/placements", get(placements))
            .route("/v1/placements/report", post(report))
            .route("/v1/networks/desired", get(desired))
            .route("/v1/networks/report", post(report_networks))
            .route("/v1/networks/probe-report", post(report_probe))
            .route(wire::jwks::PATH, get(keys))
            .route("/v1/events", post(events))
            .with_state(Arc::clone(self))
    }

    /// Places `tenant` on the node.
    pub(crate) fn place(&self, tenant: TenantId, run: bool) {
        let mut placements = self.placements.lock().unwrap();
        placements.retain(|placement| placement.tenant != tenant);
        placements.push(Placement { tenant, name: "demo".parse().unwrap(), run });
    }

    /// Takes `tenant` from the node.
    pub(crate) fn displace(&self, tenant: TenantId) {
        self.placements.lock().unwrap().retain(|placement| placement.tenant != tenant);
    }

    /// Wants these networks from now on.
    pub(crate) fn want(&self, networks: &HostNetworks) {
        self.want_signed(networks.version, self.signer.sign_networks(networks).unwrap());
    }

    /// Wants what is in this envelope, whatever that is, and calls it `version`.
    pub(crate) fn want_signed(&self, version: u64, envelope: Vec<u8>) {
        *self.networks.lock().unwrap() = Some((version, envelope));
    }

    /// The node that enrols here.
    pub(crate) fn node(&self) -> NodeId {
        let Workload::Node(node) = *self.enrols.lock().unwrap() else { panic!() };
        node
    }

    /// Resolves once requests are answered.
    async fn answers(&self) {
        let mut hangs = self.hangs.subscribe();
        drop(hangs.wait_for(|hangs| !hangs).await);
    }
}

impl Heard {
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

    /// Waits for a report of which this holds, the last one included.
    pub(crate) async fn placements(&mut self, fits: impl Fn(&ReportPlacements) -> bool) -> ReportPlacements {
        while !fits(&self.report) {
            self.report = self.reports.recv().await.unwrap();
        }
        self.report.clone()
    }

    /// The next report of the networks of which this holds.
    pub(crate) async fn networks(&mut self, fits: impl Fn(&ReportNetworks) -> bool) -> ReportNetworks {
        loop {
            let report = self.networks.recv().await.unwrap();
            if fits(&report) {
                return report;
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
}

pub(crate) fn domain() -> TrustDomain {
    "palisade.internal".parse().unwrap()
}

async fn enrol(State(control): State<Arc<Control>>, Json(body): Json<Enrol>) -> (StatusCode, Json<Enrolled>) {
    let spiffe = SpiffeId::new(domain(), *control.enrols.lock().unwrap());
    let (now, lifetime_ms) = (host::clock::now(), HOUR_MS);
    let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage: Use::Client, now, lifetime_ms };
    let issued = control.authority.issue_from_csr(&body.csr, &subject).unwrap();
    let certificate = IssuedCertificate {
        chain: issued.chain_pem,
        roots: control.roots_pem().to_owned(),
        not_before: issued.not_before,
        not_after: issued.not_after,
    };
    let (trust_domain, issuer) = (domain().to_string(), ISSUER.to_owned());
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
    let networks_version = control.networks.lock().unwrap().as_ref().map(|(version, _)| *version);
    let probe_asked_at = *control.probe_asked_at.lock().unwrap();
    Json(Placements { placements, search_asked_at: None, networks_version, probe_asked_at })
}

async fn desired(State(control): State<Arc<Control>>) -> Result<Vec<u8>, StatusCode> {
    control.answers().await;
    let networks = control.networks.lock().unwrap().clone();
    networks.map(|(_, envelope)| envelope).ok_or(StatusCode::NOT_FOUND)
}

async fn keys(State(control): State<Arc<Control>>) -> Json<Jwks> {
    control.answers().await;
    Json(Jwks { keys: vec![control.signer.jwk()] })
}

async fn report(State(control): State<Arc<Control>>, Json(body): Json<ReportPlacements>) -> StatusCode {
    control.answers().await;
    let _nobody_listens = control.running.send(body);
    StatusCode::NO_CONTENT
}

async fn report_networks(
    State(control): State<Arc<Control>>,
    Json(body): Json<ReportNetworks>,
) -> StatusCode {
    control.answers().await;
    assert!(body.is_bounded());
    let _nobody_listens = control.networks_told.send(body);
    StatusCode::NO_CONTENT
}

async fn report_probe(State(control): State<Arc<Control>>, Json(body): Json<ReportProbe>) -> StatusCode {
    control.answers().await;
    assert!(body.is_bounded());
    let _nobody_listens = control.probes_told.send(body);
    StatusCode::NO_CONTENT
}

async fn events(State(control): State<Arc<Control>>, Json(body): Json<DeliverEvents>) -> Json<()> {
    control.answers().await;
    for event in body.events {
        assert!(event.is_bounded());
        let _nobody_listens = control.events.send(event);
    }
    Json(())
}
