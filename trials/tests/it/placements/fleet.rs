//! A control plane by itself, and hosts that speak for nodes: enrolled as nodes are, with no kernel behind them.

use anyhow::{Context as _, Result, bail, ensure};
use api::enrolment::{EnrolmentKind, IssueEnrolment, IssuedEnrolment};
use api::event::DeliverEvents;
use api::execution::Delivered;
use api::network::{
    DriftReport, Driver, NetworkView, Place, ReportNetworks, ReportProbe, RouteOnHost, TenantTraffic,
};
use api::node::NodeView;
use api::placement::Placements;
use http::Method;
use notary::{KeySet, verify_networks};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serve::client::CallError;
use serve::identity::{ControlPlane, ControlPlaneAt, Enrolment, WorkloadIdentity};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use terms::{NodeId, SidecarId, TenantId, Timestamp, Token, Unverified, Workload};
use trials::{Api, Denied, Options, Site, signal, skipped, wait_until};
use wire::event::SecurityEvent;
use wire::networks::{HostNetworks, SignedNetworks};

const PATIENCE: Duration = Duration::from_secs(60);

const ANSWER_MAX: usize = 4 << 20;

/// The shortest rest of a number, so that a clock need not be set far.
pub(super) const QUARANTINE_S: i64 = 3 * 3_600;

/// A control plane without nodes of its own.
pub(super) struct Fleet {
    pub(super) api: Api,
    at: ControlPlaneAt,
    control: Option<Child>,
    /// Dropped last: it clears the folder away.
    site: Site,
}

/// Speaks for a node.
pub(super) struct Host {
    pub(super) id: NodeId,
    to: ControlPlane,
    /// How many there were: the time by this host's clock.
    reports: AtomicI64,
}

impl Fleet {
    /// Starts a control plane.
    pub(super) async fn new() -> Result<Self> {
        Self::start(Site::prepare(Options::default())?).await
    }

    /// Starts a control plane whose clock can be set; none without a C compiler.
    pub(super) async fn with_clock() -> Result<Option<Self>> {
        let mut site = Site::prepare(Options::default())?;
        if !site.set_clock(0)? {
            skipped("placements over time", "there is no C compiler");
            return Ok(None);
        }
        Self::start(site).await.map(Some)
    }

    async fn start(site: Site) -> Result<Self> {
        let private = |name: &str, text: &str| -> Result<()> {
            fs::write(site.folder().join(name), text)?;
            Ok(fs::set_permissions(site.folder().join(name), Permissions::from_mode(0o600))?)
        };
        let token = Token::mint("operator", &host::entropy::bytes()?);
        private("operator.token", token.expose())?;
        private("root.key", &hex::encode(host::entropy::bytes::<32>()?))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let here = |name: &str| site.folder().join(name).display().to_string();
        let config = format!(
            "state_dir = \"{}\"\npublic_url = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\n\
             root_key_file = \"{}\"\noperator_token_sha256 = [\"{}\"]\n\n\
             [networks]\naddresses = [\"192.0.2.7\"]\nquarantine_ms = {}\n",
            here("control"),
            here("root.key"),
            token.digest(),
            QUARANTINE_S * 1_000,
        );
        private("control.toml", &config)?;
        let log = File::create(site.folder().join("control.log"))?;
        let mut command = site.program("palisade-control");
        command.args(["--config", &here("control.toml")]).stdout(log.try_clone()?).stderr(log);
        let control = command.spawn().context("palisade-control is not built")?;
        let ready = site.folder().join("control/ready.json");
        ensure!(
            wait_until(PATIENCE, async || ready.is_file()).await,
            "{}",
            fs::read_to_string(site.folder().join("control.log"))?
        );
        let (url, roots) = (format!("https://localhost:{port}"), site.folder().join("control/ca.pem"));
        Ok(Self {
            api: Api::connect(&url, &roots, &site.folder().join("operator.token"))?,
            at: ControlPlaneAt::with_roots_file(&url, &roots)?,
            control: Some(control),
            site,
        })
    }

    /// Sets the control plane's clock, in seconds from the system's.
    pub(super) fn set_clock(&mut self, shift_s: i64) -> Result<()> {
        ensure!(self.site.set_clock(shift_s)?, "no clock");
        Ok(())
    }

    /// Enrols a node.
    pub(super) async fn host(&self, name: &str) -> Result<Host> {
        let body = IssueEnrolment { kind: EnrolmentKind::Node, tenant: None };
        let issued: IssuedEnrolment = self.api.post("/v1/enrolments", &body).await?;
        let identity = self.enrolled(name, &issued, None).await?;
        let Workload::Node(id) = identity.spiffe().workload() else { bail!("{}", identity.spiffe()) };
        Ok(Host { id, to: identity.control_plane(&self.at)?, reports: AtomicI64::new(1) })
    }

    /// Enrols a sidecar of a tenant on `host`, with the public key that it signs with.
    pub(super) async fn sidecar(
        &self,
        host: &Host,
        tenant: TenantId,
        public_key: [u8; 32],
    ) -> Result<(SidecarId, ControlPlane)> {
        let body = IssueEnrolment { kind: EnrolmentKind::Sidecar, tenant: Some(tenant) };
        let issued: IssuedEnrolment = host.to.post("/v1/enrolments", &body, ANSWER_MAX).await?;
        let identity = self.enrolled("sidecar", &issued, Some(public_key)).await?;
        let Workload::Sidecar(_, id) = identity.spiffe().workload() else { bail!("{}", identity.spiffe()) };
        Ok((id, identity.control_plane(&self.at)?))
    }

    async fn enrolled(
        &self,
        name: &str,
        issued: &IssuedEnrolment,
        public_key: Option<[u8; 32]>,
    ) -> Result<WorkloadIdentity> {
        let dir = self.site.folder().join(name);
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        let token_file = dir.join("enrol.token");
        fs::write(&token_file, &issued.token)?;
        fs::set_permissions(&token_file, Permissions::from_mode(0o600))?;
        let enrolment = Enrolment { dir, at: self.at.clone(), token_file, public_key };
        Ok(enrolment.enrol().await?)
    }

    /// Enrols a node whose host has networks, and reports them.
    pub(super) async fn linux(&self, name: &str) -> Result<Host> {
        let host = self.host(name).await?;
        host.report(host.linux(Place::Here)).await?;
        Ok(host)
    }

    pub(super) async fn tenant(&self, name: &str) -> Result<TenantId> {
        Ok(self.api.create_tenant(name).await?.id)
    }

    /// Creates a tenant that has to be refused.
    pub(super) async fn refused(&self, name: &str) -> Result<(Denied, String)> {
        let body = api::tenant::CreateTenant { name: name.parse()? };
        match self.api.post::<api::tenant::TenantView>("/v1/tenants", &body).await {
            Err(CallError::Problem(problem, status)) => {
                let denied = Denied { status: status.as_u16(), code: problem.code.clone() };
                Ok((denied, problem.detail.unwrap_or_default()))
            }
            other => bail!("{other:?}"),
        }
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        self.ask("DELETE", &format!("/v1/tenants/{name}"), None).await.unwrap();
        Ok(())
    }

    /// Asks as the operator, without or with a body, for an answer that has to be a success.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<serde_json::Value, Denied> {
        let request = http::Request::builder().method(method).header("content-type", "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, answer) = self.api.raw_as_operator(request, path, body.into_bytes()).await.unwrap();
        if status < 300 {
            return Ok(serde_json::from_slice(&answer).unwrap_or_default());
        }
        let problem: api::Problem = serde_json::from_slice(&answer).unwrap();
        Err(Denied { status, code: problem.code })
    }

    pub(super) async fn drain(&self, host: &Host) -> Result<NodeView> {
        Ok(self.api.call(Method::POST, &format!("/v1/nodes/{}/drain", host.id), None::<&()>).await?)
    }

    pub(super) async fn networks(&self) -> Result<Vec<NetworkView>> {
        self.api.all("/v1/networks").await
    }

    /// What is signed for a host, read as its node has to.
    pub(super) async fn desired(&self, host: &Host) -> Result<HostNetworks> {
        let envelope: serde_json::Value = host.get("/v1/networks/desired").await?;
        let (keys, _) = KeySet::from_jwks(&self.api.get(wire::jwks::PATH).await?);
        let signed = SignedNetworks::read(envelope.to_string().as_bytes())?;
        Ok(verify_networks(Unverified::new(signed), |kid| keys.find(kid))?.into_inner())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let Some(mut control) = self.control.take() else { return };
        let _already_gone = signal(control.id(), "TERM");
        let _already_gone = control.wait();
    }
}

impl Host {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.to.get(path, ANSWER_MAX).await
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<(), CallError> {
        self.to.post(path, body, ANSWER_MAX).await
    }

    /// What this host has to run.
    pub(super) async fn poll(&self) -> Result<Placements> {
        Ok(self.get("/v1/placements").await?)
    }

    /// The tenants that it has to run.
    pub(super) async fn tenants(&self) -> Result<Vec<TenantId>> {
        Ok(self.poll().await?.placements.iter().map(|placement| placement.tenant).collect())
    }

    /// The report of a host with networks that is as it should be.
    pub(super) fn linux(&self, place: Place) -> ReportNetworks {
        ReportNetworks {
            driver: Driver::Linux,
            place,
            address: Some([192, 0, 2, 8].into()),
            counted_at: Some(Timestamp::from_unix_ms(self.reports.fetch_add(1, Ordering::Relaxed))),
            routes: Vec::new(),
            applied: 0,
            gone: Vec::new(),
            traffic: Vec::new(),
            drift: DriftReport::default(),
            missing: Vec::new(),
        }
    }

    pub(super) async fn report(&self, report: ReportNetworks) -> Result<(), CallError> {
        self.post("/v1/networks/report", &report).await
    }

    /// Tells of a security event.
    pub(super) async fn tell(&self, event: &SecurityEvent) -> Result<Delivered, CallError> {
        self.to.post("/v1/events", &DeliverEvents { events: vec![event.clone()] }, ANSWER_MAX).await
    }

    pub(super) async fn answer(&self, asked_at: Timestamp) -> Result<(), CallError> {
        let report = ReportProbe { asked_at, version: 1, failed: None, rows: Vec::new() };
        self.post("/v1/networks/probe-report", &report).await
    }
}

pub(super) fn route(destination: &str, link: &str) -> RouteOnHost {
    RouteOnHost { destination: destination.to_owned(), link: link.to_owned() }
}

/// Counts as a kernel would have them.
pub(super) fn traffic(tenant: TenantId, bytes: u64) -> TenantTraffic {
    TenantTraffic {
        tenant,
        since: Timestamp::from_unix_ms(1),
        sent_bytes: bytes,
        sent_packets: 1,
        received_bytes: bytes,
        received_packets: 1,
        cpu_time_us: None,
    }
}

/// The refusal in an answer.
pub(super) fn refusal<T>(answer: Result<T, CallError>) -> Denied {
    Denied::of(answer).unwrap()
}
