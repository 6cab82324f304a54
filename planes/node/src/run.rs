//! The shell: asks what to run, carries out what the supervisor decides, reports what runs.

use crate::config::{ConfigError, NodeConfig};
use crate::folders::{Folders, LOGS};
use crate::known::{Known, KnownError, Slot};
use crate::networking::{self, Ground, GroundError, NetworkReports, Networking};
use crate::process::{self, News, Order};
use crate::search::Searches;
use crate::seat::Seat;
use crate::supervise::{Action, Ended, Role, Supervisor};
use crate::uplink::{Polls, Reports};
use crate::walls::HostWalls;
use api::placement::{Placements, ReportPlacements, Walls};
use host::clock::Clock;
use host::files::{self, DirLock, FileError, LockError, Owner};
use serve::client::CallError;
use serve::identity::{ControlPlane, ControlPlaneAt, Enrolment, IdentityError, RenewalEnd, WorkloadIdentity};
use serve::outbox::{Courier, Outbox, Seen};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terms::{NodeId, SpiffeId, TenantId, Timestamp, Workload};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use wire::event::{EventKind, EventOutcome, Plane};

/// How often the supervisor is asked what is due.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is looked what there is to report of the networks and walls.
const STOCK: Duration = Duration::from_secs(1);

/// How long the last report and the last events may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Says why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another node uses the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The node's memory cannot be used.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// The host cannot have networks.
    #[error(transparent)]
    Networks(#[from] GroundError),
    /// What looks after the networks ended by itself.
    #[error("nobody looks after this host's networks any more: start the node again")]
    NetworksLost,
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity is somebody else's.
    #[error("this folder's identity is `{0}`, not a node's; remove the folder to enrol a new node")]
    Stranger(SpiffeId),
}

/// Why a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It was enrolled anew under another id and has to start again.
    EnrolledAnew,
}

/// Supervises until `stop` resolves, then stops everything in order.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run(
    config: &NodeConfig,
    clock: &Clock,
    stop: impl Future<Output = ()>,
) -> Result<End, RunError> {
    config.check(host::process::is_root())?;
    // As root, each process gets through to a folder of its own inside.
    let mode = if host::process::is_root() { 0o711 } else { 0o700 };
    files::create_dir(&config.state_dir, mode, Owner::This)?;
    let own = config.state_dir.join("node");
    files::create_private_dir(&own)?;
    files::create_private_dir(&own.join(LOGS))?;
    let _lock: DirLock = files::lock_dir(&own)?;
    let known = Known::load(&own)?;
    let ground = Box::pin(Ground::lay(config, &own, clock)).await?;
    tokio::pin!(stop);
    let enrolled = tokio::select! {
        enrolled = Box::pin(enrol(config, own, clock)) => enrolled?,
        () = &mut stop => {
            if let Some(ground) = ground {
                ground.end().await;
            }
            return Ok(End::Stopped);
        }
    };
    let Enrolled { at, enrolment, identity } = enrolled;
    let Workload::Node(id) = identity.spiffe().workload() else {
        return Err(RunError::Stranger(identity.spiffe().clone()));
    };
    let control_plane = identity.control_plane(&at)?;
    let networking = match ground {
        Some(ground) => Networking::on(ground, &control_plane, (id, identity.issuer()), clock.clone()),
        None => Networking::none(clock.clone()),
    };
    let mut node = Box::new(Node::new(config.clone(), clock.clone(), &control_plane, id, known, networking));
    let end = tokio::select! {
        end = identity.keep_renewed(&enrolment, &control_plane, clock) => match end {
            RenewalEnd::EnrolledAnew => Ok(End::EnrolledAnew),
        },
        lost = node.supervise() => Err(lost),
        () = &mut stop => Ok(End::Stopped),
    };
    node.end().await;
    end
}

/// Who the node is.
struct Enrolled {
    at: ControlPlaneAt,
    enrolment: Enrolment,
    identity: WorkloadIdentity,
}

/// Waits for an identity. A control plane on this host begins in a network of the node's, so after it, and may bring
/// its roots only then.
async fn enrol(config: &NodeConfig, dir: PathBuf, clock: &Clock) -> Result<Enrolled, RunError> {
    let (url, roots) = (&config.control_plane_url, &config.control_plane_ca_file);
    if config.networks.is_control_plane_here() && !roots.exists() {
        tracing::info!("the control plane's network stands; waiting for its roots");
        while !roots.exists() {
            sleep(LOOK).await;
        }
    }
    let at = ControlPlaneAt::with_roots_file(url, roots)?;
    let token_file = config.enrol_token_file.clone();
    let enrolment = Enrolment { dir, at: at.clone(), token_file, public_key: None };
    let identity = enrolment.await_identity(clock).await?;
    Ok(Enrolled { at, enrolment, identity })
}

struct Node {
    config: Arc<NodeConfig>,
    clock: Clock,
    control_plane: ControlPlane,
    id: NodeId,
    known: Known,
    walls: HostWalls,
    supervisor: Supervisor,
    stops: BTreeMap<(TenantId, Role), oneshot::Sender<()>>,
    news: mpsc::UnboundedReceiver<News>,
    tell: mpsc::UnboundedSender<News>,
    polls: Polls,
    reports: Reports<ReportPlacements>,
    searches: Searches,
    networking: Networking,
    network_reports: NetworkReports,
    events: Courier,
    begun: Instant,
    /// Whether the last question went unanswered, so that it is told once.
    deaf: bool,
}

impl Node {
    fn new(
        config: NodeConfig,
        clock: Clock,
        control_plane: &ControlPlane,
        id: NodeId,
        known: Known,
        networking: Networking,
    ) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        let outbox = Outbox::new(Plane::Node, format!("node/{id}"));
        let mut supervisor = Supervisor::new(known.tenants(id));
        if networking.are_own() {
            supervisor = supervisor.with_own_networks();
            supervisor.remember(networking.remembered());
        }
        let mut node = Self {
            supervisor,
            polls: Polls::new(control_plane.clone(), config.poll_ms),
            reports: Reports::new(control_plane.clone(), "/v1/placements/report", PartialEq::eq),
            searches: Searches::new(control_plane.clone(), config.state_dir.clone()),
            events: Courier::new(outbox, control_plane.clone()),
            control_plane: control_plane.clone(),
            config: Arc::new(config),
            clock,
            id,
            known,
            walls: HostWalls::around(id),
            stops: BTreeMap::new(),
            news,
            tell,
            networking,
            network_reports: NetworkReports::new(control_plane.clone()),
            begun: Instant::now(),
            deaf: false,
        };
        node.take_stock();
        node
    }

    /// The supervisor's time: it never goes back.
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Asks, acts and reports, until it cannot any more.
    async fn supervise(&mut self) -> RunError {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stocks = interval(STOCK);
        stocks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.act();
            let report = self.report();
            tokio::select! {
                Some(news) = self.news.recv() => self.hear(news),
                answer = self.polls.answer() => self.place(answer),
                () = self.reports.tell(&report) => {}
                () = self.network_reports.tell() => {}
                () = self.searches.carry() => {}
                news = self.networking.carry() => match news {
                    networking::News::Seen(seen) => seen.into_iter().for_each(|seen| self.events.push(seen)),
                    networking::News::Moved => self.take_stock(),
                    networking::News::Lost => return RunError::NetworksLost,
                },
                () = self.events.carry(|| self.clock.now()) => {}
                _ = stocks.tick() => self.take_stock(),
                _ = looks.tick() => {}
            }
        }
    }

    /// Takes in how the networks stand.
    fn take_stock(&mut self) {
        self.supervisor.open(self.networking.open());
        for tenant in self.networking.displaced() {
            tracing::warn!(%tenant, "its network went or was made anew: what runs in the old one has to start again");
            self.supervisor.displace(tenant);
        }
        for tenant in self.networking.open() {
            self.walls.adjust(tenant, self.networking.quota(tenant));
        }
        let walls = &self.walls;
        let cpu_time_us = |tenant| walls.cpu_time_us(tenant);
        self.network_reports.take(self.networking.report(), walls.missing(), cpu_time_us);
    }

    fn report(&self) -> ReportPlacements {
        let own_networks = self.networking.stand_as_asked();
        let walls = Walls { own_uids: host::process::is_root(), own_networks };
        ReportPlacements { running: self.supervisor.running(), walls }
    }

    fn place(&mut self, answer: Result<Placements, CallError>) {
        match answer {
            Ok(answer) => {
                self.supervisor.place(&answer.placements, self.now());
                self.networking.asked(answer.networks_version, answer.probe_asked_at);
                if let Some(asked_at) = answer.search_asked_at {
                    self.searches.wanted(asked_at);
                }
                self.deaf = false;
            }
            Err(error) => {
                // What runs goes on: an unreachable control plane is no reason to stop a tenant.
                if !self.deaf {
                    tracing::warn!(%error, "the control plane does not say what to run");
                }
                self.deaf = true;
            }
        }
    }

    fn hear(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Started(tenant, role, pid, url) => {
                if !self.networking.are_own()
                    && let Some(port) = url.as_deref().and_then(port_of)
                    && let Err(error) = self.known.took_port(tenant, port)
                {
                    tracing::warn!(%error, "a port could not be remembered");
                }
                let name = self.supervisor.name_of(tenant).map(tracing::field::display);
                tracing::info!(%tenant, name, ?role, pid, "started");
                self.note(tenant, role, EventOutcome::Success, "started");
                self.supervisor.started(tenant, role, pid, url, now);
            }
            News::Ended(tenant, role) => {
                self.stops.remove(&(tenant, role));
                match self.supervisor.ended(tenant, role, now) {
                    Ended::Stopped => self.note(tenant, role, EventOutcome::Success, "stopped"),
                    Ended::Crashed { times } => {
                        tracing::error!(%tenant, ?role, times, "crashed");
                        self.note(tenant, role, EventOutcome::Failure, "crashed");
                    }
                }
            }
            News::Removed(tenant, true) => {
                if let Err(error) = self.known.forget(tenant) {
                    tracing::warn!(%error, "a removed tenant could not be forgotten");
                }
                self.supervisor.removed(tenant);
            }
            News::Removed(tenant, false) => self.supervisor.not_removed(tenant, now),
        }
    }

    fn act(&mut self) {
        for action in self.supervisor.next(self.now()) {
            match action {
                Action::Start(tenant, role) => self.start(tenant, role),
                Action::Stop(tenant, role) => match self.stops.remove(&(tenant, role)) {
                    // Its end is told by the task itself.
                    Some(stop) => drop(stop.send(())),
                    None => drop(self.supervisor.ended(tenant, role, self.now())),
                },
                Action::Remove(tenant) => self.remove(tenant),
            }
        }
    }

    fn start(&mut self, tenant: TenantId, role: Role) {
        let slot = match self.known.slot(tenant, self.id) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!(%error, %tenant, "no slot can be given away");
                self.supervisor.ended(tenant, role, self.now());
                return;
            }
        };
        let Some(seat) = self.seat(tenant, slot) else {
            self.supervisor.ended(tenant, role, self.now());
            return;
        };
        let order = Order {
            config: Arc::clone(&self.config),
            control_plane: self.control_plane.clone(),
            tenant,
            role,
            slot,
            seat,
            quota: self.networking.quota(tenant),
            walls: self.walls.clone(),
            news: self.tell.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        self.stops.insert((tenant, role), stop);
        tokio::spawn(process::live(order, stopped));
    }

    /// Where a tenant's processes are on the network; none if they cannot be anywhere now.
    fn seat(&mut self, tenant: TenantId, slot: Slot) -> Option<Seat> {
        if self.networking.are_own() {
            return self.networking.seat(tenant);
        }
        let first = if slot.slot == 1 { self.config.data_plane_port } else { 0 };
        Some(Seat::Loopback { port: free_or_any(if slot.port == 0 { first } else { slot.port }) })
    }

    fn remove(&mut self, tenant: TenantId) {
        let folders = match self.known.slot(tenant, self.id) {
            Ok(slot) => Folders::of(&self.config, tenant, slot),
            Err(error) => {
                tracing::error!(%tenant, %error, "a deleted tenant's folders stay for now");
                return self.supervisor.not_removed(tenant, self.now());
            }
        };
        let tell = self.tell.clone();
        // A journal may be large, and everybody else's processes are looked after meanwhile.
        tokio::task::spawn_blocking(move || {
            let removed = folders.remove();
            if let Err(error) = &removed {
                tracing::error!(%tenant, %error, "a deleted tenant's folders stay for now");
            }
            let _gone = tell.send(News::Removed(tenant, removed.is_ok()));
        });
    }

    fn note(&mut self, tenant: TenantId, role: Role, outcome: EventOutcome, reason: &str) {
        let part = match role {
            Role::DataPlane => "data-plane",
            Role::Sidecar => "sidecar",
        };
        self.events.push(Seen {
            time: self.clock.now(),
            kind: EventKind::ProcessChanged,
            resource: format!("process/{part}"),
            tenant: Some(tenant),
            outcome,
            reason: format!("process.{reason}"),
            count: 1,
        });
    }

    /// Stops everything: each tenant's data plane first, then its sidecar, which meters the rest, then its network.
    async fn end(mut self: Box<Self>) {
        self.supervisor.end();
        loop {
            self.act();
            if self.supervisor.is_idle() {
                break;
            }
            if let Ok(Some(news)) = tokio::time::timeout(LOOK, self.news.recv()).await {
                self.hear(news);
            }
        }
        let report = self.report();
        self.networking.end().await;
        let last_words = async {
            // One that was under way says what ran before.
            while !self.reports.are_told(&report) {
                self.reports.tell(&report).await;
            }
            while !self.events.is_empty() {
                self.events.carry(|| self.clock.now()).await;
            }
        };
        let _heard_or_not = tokio::time::timeout(FAREWELL, last_words).await;
    }
}

/// The port of `https://host:port`.
fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

/// `port` if nobody has it; else 0, which is any: a tenant that can be reached beats a port that stays.
fn free_or_any(port: u16) -> u16 {
    if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() { port } else { 0 }
}
