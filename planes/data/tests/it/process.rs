//! The whole data plane against a control plane's side: enrolment, mutual TLS, a plan, its outcome, a restart.

use crate::rig::{LIMITS, document, host, local, private_dir, until};
use ::names::Ask;
use api::data_plane::{ExecutionKnown, PlanAccepted};
use api::enrolment::{Enrol, Enrolled, IssuedCertificate};
use api::event::DeliverEvents;
use api::execution::{DeliverOutcomes, Delivered};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use data::{Config, StartError};
use host::clock;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use notary::PlanSigner;
use serde_json::{Value, json};
use serve::ca::{Authority, KeyPem, Subject, Use};
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Client, ClientError, ClientOptions, Listener, ListenerLimits};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use terms::{
    ExecutionId, HostPattern, PlanId, SidecarId, SpiffeId, TenantId, Timestamp, Token, TrustDomain,
    WorkflowId, Workload,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::event::EventKind;
use wire::jwks::Jwks;
use wire::outcome::{Reason, Status};
use wire::plan::{MEDIA_TYPE, Plan, WorkflowVersion};
use wire::plan_token::HEADER_NAME;

/// The control plane's other name, which stands for no address.
const NOWHERE: &str = "https://control-plane.invalid:1";

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_enrols_takes_a_plan_runs_it_and_tells_its_outcome() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let plane = Process::start(&control, home.path()).await;
    let caller = control.caller(Workload::ControlPlane);
    let (execution_id, token, bytes) = control.plan();
    // The journal's own second may not be over when the plan is issued.
    let accepted: PlanAccepted = push(&caller, &plane.url, &token, &bytes).await.unwrap();
    assert_eq!(accepted, PlanAccepted { execution_id, replayed: false });
    let outcome = until(|| control.outcome(execution_id)).await;
    assert_eq!(outcome.status, Status::Completed);

    let known: ExecutionKnown = ask(&caller, &format!("{}/v1/executions/{execution_id}", plane.url)).await;
    assert!(known.known && known.ended);
    let output: Value = ask(&caller, &format!("{}/v1/executions/{execution_id}/output", plane.url)).await;
    assert_eq!(output, json!({"answer": 41}));
    let unknown = ExecutionId::from_bytes([0xee; 16]);
    let known: ExecutionKnown = ask(&caller, &format!("{}/v1/executions/{unknown}", plane.url)).await;
    assert!(!known.known);
    plane.stop().await.unwrap();
    assert!(!home.path().join("ready.json").exists());
    assert!(!home.path().join("enrol.token").exists(), "the token was used and is gone");

    // The identity and the journal are kept; no token is needed again.
    let plane = Process::start(&control, home.path()).await;
    let accepted: PlanAccepted = push(&caller, &plane.url, &token, &bytes).await.unwrap();
    assert!(accepted.replayed);
    assert_eq!(*control.heard.enrolments.lock().unwrap(), 1);
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_network_of_its_own_a_data_plane_reaches_the_control_plane_by_its_address_alone() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let address = format!("127.0.0.1:{}", control.url.rsplit(':').next().unwrap());
    let mut text = control.config_text(home.path());
    text = text.replace("driver = \"loopback\"", "driver = \"linux\"").replace(&control.url, NOWHERE);
    let config = |text: &str| read(text, control.files.path()).unwrap();
    let named = config(&format!("{text}control_plane_addr = \"{address}\"\n"));
    let plane = Process::start_with(&control, home.path(), named).await;
    let (execution_id, token, bytes) = control.plan();
    let caller = control.caller(Workload::ControlPlane);
    push(&caller, &plane.url, &token, &bytes).await.unwrap();
    // Enrolled, keys fetched, and the outcome told.
    until(|| control.outcome(execution_id)).await;
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_network_of_its_own_a_data_plane_has_the_control_plane_resolve_names() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let text = control.config_text(home.path()).replace("driver = \"loopback\"", "driver = \"linux\"");
    let config = read(&text, control.files.path()).unwrap();
    let plane = Process::start_with(&control, home.path(), config).await;
    let caller = control.caller(Workload::ControlPlane);
    for (name, reason) in [("refused.example", Reason::EgressDenied), ("gone.example", Reason::Http)] {
        let call = json!({"call": "http", "with": {"method": "get", "endpoint": format!("https://{name}/")}});
        let (execution_id, token, bytes) =
            control.plan_of(&document(json!([{ "ask": call }])), vec![host(name)]);
        push(&caller, &plane.url, &token, &bytes).await.unwrap();
        let outcome = until(|| control.outcome(execution_id)).await;
        assert_eq!((outcome.status, outcome.reason), (Status::Faulted, reason), "{name}");
    }
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_control_plane_is_served() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let plane = Process::start(&control, home.path()).await;
    let (_, token, bytes) = control.plan();
    let strangers = [
        Workload::DataPlane(tenant()),
        Workload::DataPlane(TenantId::from_bytes([7; 16])),
        Workload::Sidecar(tenant(), SidecarId::from_bytes([2; 16])),
    ];
    for stranger in strangers {
        let caller = control.caller(stranger);
        let refused = push(&caller, &plane.url, &token, &bytes).await.unwrap_err();
        assert_eq!(refused, (StatusCode::FORBIDDEN, "forbidden".to_owned()), "{stranger:?}");
    }
    // A certificate from elsewhere, and none at all, end in the handshake.
    let elsewhere = ControlPlane::start().await;
    let foreign = elsewhere.identity(Workload::ControlPlane);
    for identity in [Some(&foreign), None] {
        let config = tls::client_config_for_workload(&control.roots(), identity, control.data_plane());
        let client = Client::new(config.unwrap(), ClientOptions::default());
        let refused = client.send(request(&plane.url, &token, &bytes)).await.unwrap_err();
        assert!(matches!(refused, ClientError::Handshake { .. } | ClientError::Broken(_)), "{refused:?}");
    }
    let denied = until(|| {
        let events = control.heard.events.lock().unwrap();
        let denied = events.iter().filter(|event| event.kind == EventKind::AuthenticationFailed);
        let count: u64 = denied.map(|event| event.count).sum();
        (count >= 5).then_some(count)
    });
    assert_eq!(denied.await, 5, "three callers and two handshakes");
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_says_its_code_and_its_next_step() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let plane = Process::start(&control, home.path()).await;
    let caller = control.caller(Workload::ControlPlane);
    let (_, token, bytes) = control.plan();
    let mut other = bytes.clone();
    other.extend_from_slice(b" ");
    let rows = [
        (request(&plane.url, "not.a.token", &bytes), 400, "plan.token_encoding"),
        (request(&plane.url, &token, &other), 403, "plan.length_mismatch"),
        (request(&plane.url, &token, &vec![b' '; wire::plan::BYTES_MAX + 1]), 413, "plan.too_large"),
        (with_type(request(&plane.url, &token, &bytes), "application/json"), 415, "plan.media_type"),
        (without_token(request(&plane.url, &token, &bytes)), 400, "plan.token_missing"),
    ];
    for (request, status, code) in rows {
        let refused = answer::<PlanAccepted>(&caller, request).await.unwrap_err();
        assert_eq!(refused, (StatusCode::from_u16(status).unwrap(), code.to_owned()));
    }
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_data_planes_do_not_share_a_folder() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let plane = Process::start(&control, home.path()).await;
    let second = data::run(control.config(home.path()), std::future::pending()).await.unwrap_err();
    assert!(matches!(second, StartError::Lock(_)), "{second}");
    assert!(second.to_string().contains("pid"), "{second}");
    plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_without_the_loopback_driver_are_refused() {
    let control = ControlPlane::start().await;
    let home = private_dir();
    let mut text = control.config_text(home.path()).replace("loopback", "linux");
    text.push_str("[[egress_allow]]\nhost = \"localhost\"\nport = 8443\ncidr = \"127.0.0.0/8\"\n");
    let error = data::run(read(&text, home.path()).unwrap(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("driver"), "{error}");
}

#[test]
fn an_unknown_key_in_the_configuration_is_refused() {
    let home = private_dir();
    let error = read("state_dir = \"/x\"\nsurprise = 1\n", home.path()).unwrap_err();
    assert!(error.contains("surprise"), "{error}");
}

/// A control plane's side: an authority, a signing key, and what it was told.
struct ControlPlane {
    url: String,
    domain: TrustDomain,
    heard: Arc<Heard>,
    files: TempDir,
}

struct Heard {
    url: Mutex<String>,
    authority: Authority,
    signer: PlanSigner,
    outcomes: Mutex<Vec<wire::outcome::Outcome>>,
    events: Mutex<Vec<wire::event::SecurityEvent>>,
    enrolments: Mutex<u32>,
}

impl ControlPlane {
    async fn start() -> Self {
        let now = clock::now();
        let domain: TrustDomain = "palisade.internal".parse().unwrap();
        let authority = Authority::create(now, &domain, 86_400_000).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let heard = Arc::new(Heard {
            url: Mutex::default(),
            authority,
            signer: PlanSigner::generate().unwrap().0,
            outcomes: Mutex::default(),
            events: Mutex::default(),
            enrolments: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/enrol", post(enrol))
            .route("/.well-known/jwks.json", get(jwks))
            .route("/v1/outcomes", post(outcomes))
            .route("/v1/events", post(events))
            .route("/dns-query", post(dns_query))
            .with_state(Arc::clone(&heard));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().port());
        heard.url.lock().unwrap().clone_from(&url);
        let this = Self { url, domain, heard, files };
        let clients = ClientAuth::Optional(this.roots());
        let config = tls::server_config(&this.identity(Workload::ControlPlane), &clients).unwrap();
        tokio::spawn(listener.serve(config, router, ListenerLimits::default(), std::future::pending()));
        this
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.heard.authority.certificate_pem()).unwrap()
    }

    fn identity(&self, workload: Workload) -> Identity {
        let (certificate, key): (_, KeyPem) = {
            let spiffe = SpiffeId::new(self.domain.clone(), workload);
            self.heard.authority.issue_with_key(&subject(&spiffe)).unwrap()
        };
        Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap()
    }

    fn data_plane(&self) -> SpiffeId {
        SpiffeId::new(self.domain.clone(), Workload::DataPlane(tenant()))
    }

    /// A client that shows itself as `workload` and expects the tenant's data plane.
    fn caller(&self, workload: Workload) -> Client {
        let identity = self.identity(workload);
        let config = tls::client_config_for_workload(&self.roots(), Some(&identity), self.data_plane());
        Client::new(config.unwrap(), ClientOptions::default())
    }

    fn outcome(&self, id: ExecutionId) -> Option<wire::outcome::Outcome> {
        self.heard.outcomes.lock().unwrap().iter().find(|outcome| outcome.execution_id == id).copied()
    }

    fn plan(&self) -> (ExecutionId, String, Vec<u8>) {
        self.plan_of(&local(), vec![])
    }

    fn plan_of(&self, document: &Value, egress: Vec<HostPattern>) -> (ExecutionId, String, Vec<u8>) {
        let now = clock::now();
        let execution_id = ExecutionId::mint(now, host::entropy::fill().unwrap());
        let plan = Plan {
            v: 1,
            plan_id: PlanId::mint(now, host::entropy::fill().unwrap()),
            execution_id,
            tenant_id: tenant(),
            issuer: self.url.clone(),
            workflow: WorkflowVersion {
                id: WorkflowId::from_bytes([3; 16]),
                name: "demo".parse().unwrap(),
                version: 1,
            },
            issued_at: Timestamp::from_unix_s(now.unix_s()),
            limits: LIMITS,
            egress,
            document: serde_json::value::to_raw_value(document).unwrap(),
            input: serde_json::value::to_raw_value(&json!({"n": 20})).unwrap(),
        };
        let bytes = ::plan::write(&plan).unwrap();
        let token = self.heard.signer.sign(&::plan::claims(&bytes, &plan, self.data_plane().to_string()));
        (execution_id, token.unwrap(), bytes.into_bytes())
    }

    fn config_text(&self, home: &Path) -> String {
        format!(
            "state_dir = {:?}\ntenant = \"{}\"\ncontrol_plane_url = {:?}\ncontrol_plane_ca_file = {:?}\n\
             enrol_token_file = {:?}\nlisten = \"127.0.0.1:0\"\nmetering_socket = {:?}\nsidecar_uid = 0\n\
             driver = \"loopback\"\n",
            home,
            tenant(),
            self.url,
            self.files.path().join("ca.pem"),
            home.join("enrol.token"),
            home.join("meter.sock"),
        )
    }

    fn config(&self, home: &Path) -> Config {
        read(&self.config_text(home), self.files.path()).unwrap()
    }
}

/// A running data plane.
struct Process {
    url: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), StartError>>,
}

impl Process {
    async fn start(control: &ControlPlane, home: &Path) -> Self {
        Self::start_with(control, home, control.config(home)).await
    }

    async fn start_with(control: &ControlPlane, home: &Path, config: Config) -> Self {
        if *control.heard.enrolments.lock().unwrap() == 0 {
            let token = Token::mint("enrol", &[5; 32]);
            host::files::write_private_atomically(&home.join("enrol.token"), token.expose().as_bytes())
                .unwrap();
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(data::run(config, async {
            let _ = stopped.await;
        }));
        let ready: PathBuf = home.join("ready.json");
        let ready = until(|| std::fs::read(&ready).ok()).await;
        let ready: Value = serde_json::from_slice(&ready).unwrap();
        assert_eq!(ready["pid"], std::process::id());
        Self { url: ready["url"].as_str().unwrap().to_owned(), stop, running }
    }

    async fn stop(self) -> Result<(), StartError> {
        self.stop.send(()).unwrap();
        self.running.await.unwrap()
    }
}

async fn enrol(State(heard): State<Arc<Heard>>, Json(body): Json<Enrol>) -> Json<Enrolled> {
    *heard.enrolments.lock().unwrap() += 1;
    let domain: TrustDomain = "palisade.internal".parse().unwrap();
    let spiffe = SpiffeId::new(domain.clone(), Workload::DataPlane(tenant()));
    let issued = heard.authority.issue_from_csr(&body.csr, &subject(&spiffe)).unwrap();
    let certificate = IssuedCertificate {
        chain: issued.chain_pem,
        roots: heard.authority.certificate_pem().to_owned(),
        not_before: issued.not_before,
        not_after: issued.not_after,
    };
    Json(Enrolled {
        certificate,
        tenant: Some(tenant()),
        sidecar: None,
        node: None,
        trust_domain: domain.to_string(),
        issuer: heard.url.lock().unwrap().clone(),
    })
}

async fn jwks(State(heard): State<Arc<Heard>>) -> Json<Jwks> {
    Json(Jwks { keys: vec![heard.signer.jwk()] })
}

async fn outcomes(State(heard): State<Arc<Heard>>, Json(body): Json<DeliverOutcomes>) -> Json<Delivered> {
    let new = body.outcomes.len() as u64;
    heard.outcomes.lock().unwrap().extend(body.outcomes);
    Json(Delivered { new, known: 0, refused: 0 })
}

/// One name is refused, and there is no other.
async fn dns_query(body: bytes::Bytes) -> ([(&'static str, &'static str); 1], Vec<u8>) {
    let query = ::names::Query::read(&body).unwrap();
    let outcome = match query.ask() {
        Ask::Addresses(host) if host.as_str() == "refused.example" => ::names::Outcome::Refused,
        Ask::Addresses(_) | Ask::Settled(_) => ::names::Outcome::NoSuchName,
    };
    ([("content-type", api::names::MEDIA_TYPE)], query.answer(&outcome).unwrap())
}

async fn events(State(heard): State<Arc<Heard>>, Json(body): Json<DeliverEvents>) -> Json<Delivered> {
    let new = body.events.len() as u64;
    heard.events.lock().unwrap().extend(body.events);
    Json(Delivered { new, known: 0, refused: 0 })
}

fn subject(spiffe: &SpiffeId) -> Subject<'_> {
    const ADDRESSES: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];
    static NAMES: std::sync::LazyLock<[String; 2]> =
        std::sync::LazyLock::new(|| ["localhost", "control-plane.invalid"].map(ToOwned::to_owned));
    Subject {
        spiffe,
        dns_names: NAMES.as_slice(),
        ips: &ADDRESSES,
        usage: Use::Both,
        now: clock::now(),
        lifetime_ms: 3_600_000,
    }
}

fn tenant() -> TenantId {
    TenantId::from_bytes([1; 16])
}

fn read(text: &str, dir: &Path) -> Result<Config, String> {
    let path = dir.join("data.toml");
    std::fs::write(&path, text).unwrap();
    host::config::load(&path).map_err(|error| error.to_string())
}

fn request(url: &str, token: &str, plan: &[u8]) -> Request<Full<bytes::Bytes>> {
    Request::post(format!("{url}/v1/plans"))
        .header("content-type", MEDIA_TYPE)
        .header(HEADER_NAME, token)
        .body(Full::new(plan.to_vec().into()))
        .unwrap()
}

fn with_type(mut request: Request<Full<bytes::Bytes>>, kind: &'static str) -> Request<Full<bytes::Bytes>> {
    request.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    request
}

fn without_token(mut request: Request<Full<bytes::Bytes>>) -> Request<Full<bytes::Bytes>> {
    request.headers_mut().remove(HEADER_NAME);
    request
}

async fn push(
    caller: &Client,
    url: &str,
    token: &str,
    plan: &[u8],
) -> Result<PlanAccepted, (StatusCode, String)> {
    answer(caller, request(url, token, plan)).await
}

async fn answer<T: serde::de::DeserializeOwned>(
    caller: &Client,
    request: Request<Full<bytes::Bytes>>,
) -> Result<T, (StatusCode, String)> {
    let response = caller.send(request).await.unwrap();
    let status = response.status();
    let body = caller.read(response, 1 << 20).await.unwrap();
    if status.is_success() {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    let problem: api::Problem = serde_json::from_slice(&body).unwrap();
    assert!(!problem.next_step.is_empty());
    Err((status, problem.code))
}

async fn ask<T: serde::de::DeserializeOwned>(caller: &Client, url: &str) -> T {
    caller.json(Method::GET, url, None, None::<&()>, 1 << 20).await.unwrap()
}
