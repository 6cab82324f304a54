//! The task that speaks to the host's networks: orders go in, how things stand comes out. An order that takes long
//! holds up nothing but the next one.

use crate::config::{Linux, NodeConfig, OnDrift};
use crate::desired::Accepted;
use crate::networks::{Finding, Networks, NetworksError, Probed, Settings};
use crate::process::program;
use api::network::ReportNetworks;
use core::ops::ControlFlow;
use core::pin::Pin;
use host::clock::Clock;
use network::{Addresses, DesiredError, NetworkNumber};
use serve::outbox::Seen;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use terms::TenantId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use wire::event::{EventKind, EventOutcome};
use wire::networks::HostNetworks;

/// How often what passes is counted: twice for each report.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// The first and the longest wait before networks that could not be built are tried again.
const RETRY_MS: core::ops::RangeInclusive<u64> = 500..=30_000;

/// How often it is tried whether the host has room by now for a tenant that it had none for.
const ROOM_AGAIN: Duration = Duration::from_secs(15);

/// Most events that wait to be heard. While nobody hears (the node has no identity yet), the first ones say what
/// began.
const SEEN_MAX: usize = 1_024;

/// The node's end. Dropping it leaves the networks as they are.
pub(crate) struct Task {
    orders: mpsc::UnboundedSender<Order>,
    standing: watch::Receiver<Standing>,
    seen: mpsc::Receiver<Seen>,
}

/// What happened.
pub(crate) enum News {
    /// Something to be told.
    Seen(Vec<Seen>),
    /// Networks may have come, gone, or been made anew.
    Moved,
    /// Nobody looks after the networks any more.
    Lost,
}

/// How things stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The version that the host has; 0 before the first.
    pub(crate) version: u64,
    /// The tenants whose networks stand and let flows pass.
    pub(crate) open: BTreeMap<TenantId, NetworkNumber>,
    /// When each tenant's network was made, or its namespace made anew: in a count of all such times.
    pub(crate) made: BTreeMap<TenantId, u64>,
    /// What there is to report.
    pub(crate) report: Option<ReportNetworks>,
}

/// What probes find, whatever becomes of the task meanwhile.
type Probing = Pin<Box<dyn Future<Output = Result<Probed, NetworksError>> + Send>>;

enum Order {
    Apply(HostNetworks),
    Clear,
    Probe(oneshot::Sender<Probing>),
    End(oneshot::Sender<()>),
}

/// Says why the host has no networks.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// They cannot be made.
    #[error("this host's networks cannot be made: {0}")]
    Networks(#[from] NetworksError),
    /// The system does not say which program this is.
    #[error("the program that keeps the networks cannot be found: {0}")]
    Program(#[from] std::io::Error),
}

// === impl Task ===

impl Task {
    /// Begins with `kept`, or with nothing but the way to a control plane on this host.
    ///
    /// # Errors
    /// When the host cannot have networks.
    pub(crate) async fn start(
        config: &NodeConfig,
        linux: &Linux,
        folder: &Path,
        kept: Option<Accepted>,
        clock: Clock,
    ) -> Result<Self, TaskError> {
        let settings = Settings {
            folder: folder.to_owned(),
            program: program(config, "palisade-node")?,
            place: linux.place.clone(),
            interfaces: linux.interfaces.clone(),
            repair: linux.drift == OnDrift::Repair,
        };
        let mut wanted = kept.map(|kept| Wanted::new(kept.document().clone()));
        let networks = loop {
            let document = wanted.as_ref().map(|wanted| &wanted.document);
            let error = match Networks::start(settings.clone(), clock.clone(), document).await {
                Ok(networks) => break networks,
                Err(error) => error,
            };
            if !wanted.as_mut().is_some_and(|wanted| wanted.leave_out(&error)) {
                return Err(error.into());
            }
        };
        let (orders, received) = mpsc::unbounded_channel();
        let (tell, seen) = mpsc::channel(SEEN_MAX);
        let (publish, standing) = watch::channel(Standing::default());
        let mut keeping = Keeping {
            networks,
            clock,
            last: None,
            wanted: wanted.as_ref().map(|wanted| wanted.all.clone()),
            left_out: BTreeMap::new(),
            retry: None,
            retry_ms: *RETRY_MS.start(),
            made: BTreeMap::new(),
            made_last: 0,
            tell,
            publish,
        };
        if let Some(wanted) = wanted {
            keeping.stands(wanted);
        }
        keeping.hear_the_rest().await;
        let _said = keeping.say().await;
        tokio::spawn(keeping.serve(received));
        Ok(Self { orders, standing, seen })
    }

    /// Builds what was accepted.
    pub(crate) fn apply(&self, accepted: &Accepted) {
        let _ended = self.orders.send(Order::Apply(accepted.document().clone()));
    }

    /// Takes every tenant's network away.
    pub(crate) fn clear(&self) {
        let _ended = self.orders.send(Order::Clear);
    }

    /// Tries what the networks let through. They are looked after meanwhile.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub(crate) fn probe(&self) -> impl Future<Output = Result<Probed, NetworksError>> + Send + use<> {
        let (reply, probing) = oneshot::channel();
        let _ended = self.orders.send(Order::Probe(reply));
        async move { probing.await.map_err(|_| NetworksError::Ended)?.await }
    }

    /// How things stand. Let it go before anything is waited for.
    pub(crate) fn standing(&self) -> watch::Ref<'_, Standing> {
        self.standing.borrow()
    }

    /// Waits for what is to be told, or done, next. Safe to cancel.
    pub(crate) async fn news(&mut self) -> News {
        tokio::select! {
            moved = self.standing.changed() => if moved.is_ok() { News::Moved } else { News::Lost },
            Some(seen) = self.seen.recv() => News::Seen(vec![seen]),
        }
    }

    /// Takes the tenants' networks down.
    pub(crate) async fn end(self) {
        let (reply, done) = oneshot::channel();
        if self.orders.send(Order::End(reply)).is_ok() {
            let _ended = done.await;
        }
    }
}

/// A document on its way to the host.
struct Wanted {
    all: HostNetworks,
    /// What the host has room for.
    document: HostNetworks,
    /// Tenants whose networks overlap with a route of the host, and why.
    left_out: BTreeMap<TenantId, String>,
}

impl Wanted {
    fn new(all: HostNetworks) -> Self {
        Self { document: all.clone(), all, left_out: BTreeMap::new() }
    }

    /// Leaves the tenant out who alone is the reason of `error`; false, if there is none.
    fn leave_out(&mut self, error: &NetworksError) -> bool {
        let NetworksError::Desired(refusal @ DesiredError::Overlaps { network, .. }) = error else {
            return false;
        };
        let is_meant = |number: u8| {
            NetworkNumber::try_from(u32::from(number)).is_ok_and(|n| Addresses::of(n).network == *network)
        };
        let meant = self.document.tenants.iter().find(|tenant| is_meant(tenant.number));
        let Some(tenant) = meant.map(|tenant| tenant.tenant) else { return false };
        self.document.tenants.retain(|other| other.tenant != tenant);
        self.left_out.insert(tenant, refusal.to_string());
        true
    }
}

/// The task's own end.
struct Keeping {
    networks: Networks,
    clock: Clock,
    /// What stands, but for tenants that the host has no room for.
    last: Option<HostNetworks>,
    /// What does not stand yet, or not all of it.
    wanted: Option<HostNetworks>,
    /// Tenants that the host has no room for, and why.
    left_out: BTreeMap<TenantId, String>,
    /// When it is tried again.
    retry: Option<Instant>,
    retry_ms: u64,
    made: BTreeMap<TenantId, u64>,
    made_last: u64,
    tell: mpsc::Sender<Seen>,
    publish: watch::Sender<Standing>,
}

// === impl Keeping ===

impl Keeping {
    async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut counts = interval(COUNT_EVERY);
        counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry = self.retry;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Apply(document)) => self.want(Some(document)).await,
                    Some(Order::Clear) => self.want(self.without_tenants()).await,
                    Some(Order::Probe(reply)) => drop(reply.send(Box::pin(self.networks.probe()))),
                    Some(Order::End(reply)) => {
                        self.networks.end().await;
                        let _nobody_waits = reply.send(());
                        return;
                    }
                    None => return,
                },
                finding = self.networks.watch() => self.found(finding),
                () = until(retry) => self.apply().await,
                _ = counts.tick() => {}
            }
            self.hear_the_rest().await;
            if self.say().await.is_break() {
                return;
            }
        }
    }

    async fn want(&mut self, document: Option<HostNetworks>) {
        self.wanted = document.or(self.wanted.take());
        self.retry_ms = *RETRY_MS.start();
        self.apply().await;
    }

    /// What stands, without its tenants.
    fn without_tenants(&self) -> Option<HostNetworks> {
        let last = self.last.as_ref()?.clone();
        Some(HostNetworks { version: 0, tenants: Vec::new(), ..last })
    }

    /// Builds what is wanted, but for tenants that the host has no room for.
    async fn apply(&mut self) {
        let Some(document) = self.wanted.clone() else { return };
        let mut wanted = Wanted::new(document);
        let error = loop {
            match self.networks.apply(&wanted.document).await {
                Ok(()) => return self.stands(wanted),
                Err(error) if wanted.leave_out(&error) => {}
                Err(error) => break error,
            }
        };
        let (version, retry_ms) = (wanted.document.version, self.retry_ms);
        tracing::error!(%error, version, retry_ms, "the networks are not what they should be");
        if retry_ms == *RETRY_MS.start() {
            self.changed(None, EventOutcome::Failure, "not_applied");
        }
        self.retry = Some(Instant::now() + Duration::from_millis(retry_ms));
        self.retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
    }

    fn stands(&mut self, wanted: Wanted) {
        let Wanted { all, document, left_out } = wanted;
        self.made.retain(|tenant, _| document.tenants.iter().any(|found| found.tenant == *tenant));
        for tenant in document.tenants.iter().map(|found| found.tenant) {
            if !self.made.contains_key(&tenant) {
                self.was_made(tenant);
            }
        }
        if self.last.as_ref() != Some(&document) {
            self.changed(None, EventOutcome::Success, "applied");
        }
        for (tenant, why) in &left_out {
            if !self.left_out.contains_key(tenant) {
                tracing::error!(%tenant, why, "a tenant has no network");
                self.changed(Some(*tenant), EventOutcome::Failure, "overlap");
            }
        }
        // The route that is in the way may go.
        self.wanted = (!left_out.is_empty()).then_some(all);
        self.retry = self.wanted.as_ref().map(|_| Instant::now() + ROOM_AGAIN);
        self.retry_ms = *RETRY_MS.start();
        (self.last, self.left_out) = (Some(document), left_out);
    }

    fn was_made(&mut self, tenant: TenantId) {
        self.made_last = self.made_last.saturating_add(1);
        self.made.insert(tenant, self.made_last);
    }

    fn found(&mut self, finding: Finding) {
        let tenants = self.last.iter().flat_map(|document| &document.tenants);
        let tenants: BTreeMap<u8, TenantId> = tenants.map(|found| (found.number, found.tenant)).collect();
        let whose = |number: NetworkNumber| tenants.get(&number.value()).copied();
        for tenant in finding.rebuilt.iter().copied().filter_map(whose) {
            self.was_made(tenant);
        }
        for drift in &finding.drifts {
            let tenant = match drift.namespace {
                network::Namespace::Tenant(number) => whose(number),
                network::Namespace::Host | network::Namespace::Router | network::Namespace::ControlPlane => {
                    None
                }
            };
            self.tell(Seen {
                time: finding.at,
                kind: EventKind::NetworkDrift,
                resource: format!("network/{}", drift.namespace),
                tenant,
                outcome: if finding.repaired { EventOutcome::Success } else { EventOutcome::Failure },
                reason: format!("drift.{}", drift.kind.code()),
                count: 1,
            });
        }
    }

    fn changed(&self, tenant: Option<TenantId>, outcome: EventOutcome, reason: &str) {
        self.tell(Seen {
            time: self.clock.now(),
            kind: EventKind::NetworkChanged,
            resource: "network/host".to_owned(),
            tenant,
            outcome,
            reason: format!("networks.{reason}"),
            count: 1,
        });
    }

    fn tell(&self, seen: Seen) {
        if let Err(error) = self.tell.try_send(seen) {
            tracing::warn!(%error, "an event of the networks is not told");
        }
    }

    /// Takes in what was found already: a network that was made anew must be known to be that when somebody starts in
    /// it.
    async fn hear_the_rest(&mut self) {
        loop {
            let found = tokio::select! {
                biased;
                finding = self.networks.watch() => finding,
                () = core::future::ready(()) => return,
            };
            self.found(found);
        }
    }

    /// Says how things stand, unless nobody looks after the networks any more.
    async fn say(&self) -> ControlFlow<()> {
        let counted_at = Some(self.clock.now());
        let report = match self.networks.report().await {
            Ok(report) => Some(ReportNetworks { counted_at, ..report }),
            Err(NetworksError::Ended) => return ControlFlow::Break(()),
            Err(error) => {
                tracing::debug!(%error, "what passed could not be counted");
                None
            }
        };
        self.publish.send_modify(|standing| {
            standing.version = self.networks.applied();
            standing.open = self.open();
            standing.made.clone_from(&self.made);
            standing.report = report.or_else(|| standing.report.take());
        });
        ControlFlow::Continue(())
    }

    fn open(&self) -> BTreeMap<TenantId, NetworkNumber> {
        let tenants = self.last.iter().flat_map(|document| &document.tenants);
        let number = |number: u8| NetworkNumber::try_from(u32::from(number)).ok();
        tenants
            .filter(|found| found.live)
            .filter_map(|found| Some((found.tenant, number(found.number)?)))
            .collect()
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => core::future::pending().await,
    }
}
