//! Starts a data plane and runs it until it is told to stop.
//!
//! The journal comes before the identity: a data plane that has an identity but no journal has lost one.

use crate::config::{Config, ConfigError, Driver};
use crate::counters::{Counters, Socket, SocketError};
use crate::egress::{Egress, Exception, Names};
use crate::events::{Events, Happened};
use crate::gate::Gate;
use crate::journal::{Fate, Journal, JournalError, Recovered};
use crate::keys::PlanKeys;
use crate::outcome::{self, Waiting};
use crate::routes::{self, Api};
use crate::runtime::{Parts, Runtime};
use crate::uplink::Uplink;
use host::clock::Clock;
use host::files::{DirLock, FileError, LockError};
use notary::Expected;
use plan::Admission;
use serve::identity::{ControlPlane, Enrolment, IdentityError, WorkloadIdentity};
use serve::listener::BindError;
use serve::metrics::ListenerMetrics;
use serve::tls::TlsError;
use serve::{Listener, ListenerLimits};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use terms::{SpiffeId, Workload};
use wire::event::{EventKind, EventOutcome};
use workflow::Checks;

/// How often old executions are forgotten and disk is freed.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often failed handshakes are looked at.
const HANDSHAKES_EVERY: Duration = Duration::from_secs(5);

/// How long calls under way may take to their end when the process stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long the last deliveries may take when the process stops; what is left is sent after the next start.
const LAST_DELIVERIES: Duration = Duration::from_secs(3);

/// Why a handshake was refused that a stranger made; other reasons are networks' own.
const REFUSED_HANDSHAKES: [&str; 4] = ["no_certificate", "bad_certificate", "no_tls13", "incompatible"];

/// The file that says where plans are taken, while they are.
const READY: &str = "ready.json";

/// Says why a data plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data plane's folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another data plane runs in the same folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity is not this data plane's.
    #[error("the identity in `state_dir` is `{found}`, not the data plane of the configured tenant")]
    Stranger {
        /// Whose it is.
        found: SpiffeId,
    },
    /// The port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metering socket cannot be used.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal stopped taking records.
    #[error("the journal takes no more records; the data plane stopped so that nothing unrecorded is told")]
    JournalStopped,
    /// The certificate expired, and a new enrolment gave another identity.
    #[error("the identity changed; start again")]
    IdentityChanged,
}

/// What runs beside the listener.
struct Running {
    journal: Journal,
    runtime: Runtime,
    events: Events,
    uplink: Arc<ControlPlane>,
    waiting: Waiting,
    counters: Arc<Counters>,
    socket: Socket,
    api: Arc<Api>,
    clock: Clock,
}

/// Runs a data plane until `stop` resolves.
///
/// # Errors
/// [`StartError`] when it cannot start, or cannot go on safely.
pub async fn run(config: Config, stop: impl Future<Output = ()> + Send) -> Result<(), StartError> {
    let clock = Clock::system();
    let _lock = prepare(&config)?;
    let exceptions = config.exceptions()?;
    let at = config.control_plane()?;
    let ran_before = WorkloadIdentity::load(&config.state_dir)?.is_some();
    let (journal, recovered) = Journal::open(&config.state_dir, config.tenant, ran_before, clock.now())?;
    let enrolment = Enrolment {
        dir: config.state_dir.clone(),
        at: at.clone(),
        token_file: config.enrol_token_file.clone(),
        public_key: None,
    };
    let mut stop = core::pin::pin!(stop);
    let identity = tokio::select! {
        identity = enrolment.await_identity(&clock) => identity?,
        () = stop.as_mut() => return Ok(()),
    };
    let tenant = config.tenant;
    if identity.spiffe().workload() != Workload::DataPlane(tenant) {
        return Err(StartError::Stranger { found: identity.spiffe().clone() });
    }
    let uplink = Arc::new(identity.control_plane(&at)?);
    let events = Events::new(tenant, clock.clone());
    say_fate(&events, recovered.fate);
    say_exceptions(&events, &config);

    let (outbox, waiting) = outcome::outbox();
    for outcome in &recovered.outcomes {
        // The receiver is right here.
        let _ = outbox.send(*outcome);
    }
    let runtime = Runtime::new(Parts {
        tenant,
        journal: journal.clone(),
        egress: egress(&config, exceptions, &uplink, &clock)?,
        outbox,
        events: events.clone(),
        clock: clock.clone(),
        policy: config.limits.policy(),
        checks: Checks { any_port: !config.egress_allow.is_empty() },
    });
    let api = api(&recovered, &identity, &uplink, &journal, &runtime, &events, &clock);
    let socket = Socket::bind(&config.metering_socket, config.sidecar_uid)?;
    let listener = Listener::bind(config.listen).await?;
    let metrics = ListenerMetrics::default();
    let listener = listener.with_metrics(metrics.clone());
    let ready = Ready::say(&config.state_dir, &listener)?;
    tracing::info!(tenant = %tenant, address = %listener.local_addr(), live = recovered.live.len(), "taking plans");

    let running = Running {
        counters: Arc::new(Counters::new(journal.clone())),
        journal,
        runtime,
        events,
        uplink,
        waiting,
        socket,
        api: Arc::clone(&api),
        clock,
    };
    let server = identity.server_config()?;
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.serve(server, routes::router(api), ListenerLimits::default(), async {
        // Dropped or sent, it is time.
        let _ = stopped.await;
    });
    let ended = running.until(stop, serving, stopping, &identity, &enrolment, &metrics, recovered.live).await;
    drop(ready);
    ended
}

fn prepare(config: &Config) -> Result<DirLock, StartError> {
    host::files::create_private_dir(&config.state_dir)?;
    Ok(host::files::lock_dir(&config.state_dir)?)
}

fn egress(
    config: &Config,
    exceptions: Vec<Exception>,
    uplink: &Arc<ControlPlane>,
    clock: &Clock,
) -> Result<Egress, TlsError> {
    match config.driver {
        Driver::Loopback => Egress::new(exceptions),
        Driver::Linux => Egress::with_names(Names::new(Arc::clone(uplink), clock.clone())),
    }
}

fn api(
    recovered: &Recovered,
    identity: &WorkloadIdentity,
    uplink: &Arc<ControlPlane>,
    journal: &Journal,
    runtime: &Runtime,
    events: &Events,
    clock: &Clock,
) -> Arc<Api> {
    let expected = Expected {
        issuer: identity.issuer().to_owned(),
        audience: identity.spiffe().to_string(),
        tenant: events.tenant(),
    };
    let keys = PlanKeys::new(Arc::clone(uplink) as Arc<dyn Uplink>, clock.clone());
    keys.warm();
    let gate =
        Gate::new(keys, expected, admission(recovered), runtime.clone(), events.clone(), clock.clone());
    Arc::new(Api {
        gate,
        runtime: runtime.clone(),
        journal: journal.clone(),
        events: events.clone(),
        control_plane: SpiffeId::new(identity.spiffe().domain().clone(), Workload::ControlPlane),
        journal_since: recovered.began_at,
    })
}

/// Admission as the journal left it.
#[must_use]
pub fn admission(recovered: &Recovered) -> Admission {
    // A journal that begins knows nothing of what ran before it, whether or not there was something.
    let mut admission = Admission::after_loss(recovered.issued_from, 0);
    admission.restore(recovered.tickets.iter().cloned());
    admission
}

impl Running {
    #[expect(clippy::too_many_arguments, reason = "everything that ends together is here in one place")]
    async fn until(
        self,
        mut stop: core::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
        serving: impl Future<Output = ()>,
        stopping: tokio::sync::oneshot::Sender<()>,
        identity: &WorkloadIdentity,
        enrolment: &Enrolment,
        metrics: &ListenerMetrics,
        live: Vec<terms::ExecutionId>,
    ) -> Result<(), StartError> {
        let Self { journal, runtime, events, uplink, waiting, counters, socket, api, clock } = self;
        let outcomes = {
            let (uplink, journal) = (Arc::clone(&uplink), journal.clone());
            tokio::spawn(async move { waiting.deliver(uplink.as_ref(), &journal).await })
        };
        let resuming = {
            let runtime = runtime.clone();
            tokio::spawn(async move { runtime.resume(live).await })
        };
        let told = tokio::spawn(socket.serve(Arc::clone(&counters), events.clone()));
        let mut serving = core::pin::pin!(serving);
        let ended = {
            let upkeep = async {
                tokio::join!(
                    events.deliver(uplink.as_ref()),
                    sweep(&journal, &api, &clock),
                    watch_handshakes(metrics, &events),
                )
            };
            tokio::select! {
                () = stop.as_mut() => Ok(()),
                () = serving.as_mut() => Ok(()),
                () = journal.stopped() => Err(StartError::JournalStopped),
                _end = identity.keep_renewed(enrolment, &uplink, &clock) => Err(StartError::IdentityChanged),
                _never = upkeep => Ok(()),
            }
        };
        tracing::info!("stopping");
        // No new plans, then no new steps, then the last words.
        drop(stopping);
        serving.await;
        resuming.abort();
        runtime.stop(STOP_GRACE).await;
        counters.all_told().await;
        told.abort();
        let _ = tokio::time::timeout(LAST_DELIVERIES, events.flush(uplink.as_ref())).await;
        journal.close().await;
        outcomes.abort();
        ended
    }
}

async fn sweep(journal: &Journal, api: &Api, clock: &Clock) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Ok(Some(expiry)) = journal.sweep(clock.now()).await {
            api.gate.forget(expiry);
        }
    }
}

/// Refused handshakes never reach a handler, so they are read off the listener's counters.
async fn watch_handshakes(metrics: &ListenerMetrics, events: &Events) {
    let mut seen = [0; REFUSED_HANDSHAKES.len()];
    loop {
        tokio::time::sleep(HANDSHAKES_EVERY).await;
        for (reason, seen) in REFUSED_HANDSHAKES.iter().zip(&mut seen) {
            let count = metrics.handshakes_failed(reason);
            let new = count.saturating_sub(*seen);
            *seen = count;
            if new > 0 {
                let reason = format!("handshake.{reason}");
                say(events, EventKind::AuthenticationFailed, EventOutcome::Denied, reason, "unknown", new);
            }
        }
    }
}

fn say_fate(events: &Events, fate: Fate) {
    match fate {
        Fate::New | Fate::Whole => {}
        Fate::CutBack(bytes) => {
            tracing::warn!(bytes, "the journal's torn tail was cut back; nothing that was told is lost");
            say(
                events,
                EventKind::JournalRecovered,
                EventOutcome::Success,
                "journal.cut_back".into(),
                "system",
                1,
            );
        }
        Fate::Lost => {
            tracing::error!("the journal is gone; plans that may have run already are refused");
            say(events, EventKind::JournalDamaged, EventOutcome::Failure, "journal.lost".into(), "system", 1);
        }
    }
}

fn say_exceptions(events: &Events, config: &Config) {
    for allowed in &config.egress_allow {
        let (host, port, cidr) = (allowed.host.as_str(), allowed.port, allowed.cidr);
        tracing::warn!(host, port, %cidr, "the operator allows calls beside the public internet");
        events.report(Happened {
            kind: EventKind::EgressException,
            outcome: EventOutcome::Success,
            reason: "egress.operator_exception".to_owned(),
            actor: "system".to_owned(),
            resource: format!("egress/{host}:{port}/{cidr}"),
            address: None,
            count: 1,
        });
    }
}

fn say(events: &Events, kind: EventKind, outcome: EventOutcome, reason: String, actor: &str, count: u64) {
    let (actor, resource) = (actor.to_owned(), events.own_resource());
    events.report(Happened { kind, outcome, reason, actor, resource, address: None, count });
}

/// The ready file, while plans are taken.
struct Ready(std::path::PathBuf);

impl Ready {
    fn say(state_dir: &Path, listener: &Listener) -> Result<Self, FileError> {
        let path = state_dir.join(READY);
        let content = serde_json::json!({
            "url": format!("https://{}", listener.local_addr()),
            "pid": std::process::id(),
        });
        host::files::write_private_atomically(&path, content.to_string().as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // A file that stays names a process that is gone, which its reader checks.
        let _ = std::fs::remove_file(&self.0);
    }
}
