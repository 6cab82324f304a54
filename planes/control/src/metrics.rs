//! What the control plane counts (Prometheus).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serve::metrics::Metrics;
use terms::NodeId;

type ByLabel<const N: usize> = Family<[(&'static str, String); N], Counter>;

/// The control plane's own metrics; listeners add theirs.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlMetrics {
    requests: ByLabel<2>,
    refusals: ByLabel<1>,
    heartbeats: ByLabel<1>,
    outcomes: ByLabel<1>,
    pushes: ByLabel<1>,
    events_dropped: Counter,
    names: ByLabel<1>,
    names_unanswered: ByLabel<1>,
    addresses_not_public: Counter,
    walls: Family<[(&'static str, String); 1], Gauge>,
    network_drift: Family<[(&'static str, String); 2], Gauge>,
    network_behind: Family<[(&'static str, String); 1], Gauge>,
}

/// What is shown of a host's drift.
const DRIFT: [&str; 3] = ["open", "found", "repaired"];

impl ControlMetrics {
    /// Registers everything.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("requests", "Requests by route and status", own.requests.clone());
            registry.register("refusals", "Refused requests by problem code", own.refusals.clone());
            registry.register("heartbeats", "Heartbeats by receipt code", own.heartbeats.clone());
            registry.register("outcomes", "Outcomes of executions by reason", own.outcomes.clone());
            registry.register("plan_pushes", "Plans pushed to data planes by answer", own.pushes.clone());
            registry.register(
                "events_dropped",
                "Security events that were not kept",
                own.events_dropped.clone(),
            );
            registry.register(
                "names",
                "Names that data planes asked for, by what came of it",
                own.names.clone(),
            );
            registry.register(
                "names_unanswered",
                "Names that no server answered for, by reason",
                own.names_unanswered.clone(),
            );
            registry.register(
                "addresses_not_public",
                "Addresses left out of answers because they are not public",
                own.addresses_not_public.clone(),
            );
            registry.register(
                "walls",
                "Whether a wall between zones stands (1) or not (0)",
                own.walls.clone(),
            );
            registry.register(
                "network_drift",
                "Differences of a host's networks: open now, found and repaired since its node started",
                own.network_drift.clone(),
            );
            registry.register(
                "network_behind_ms",
                "Milliseconds for which a host has not had the networks that it should have",
                own.network_behind.clone(),
            );
        });
        own
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&[("route", route.to_owned()), ("status", status.to_string())]).inc();
    }

    /// Counts a refused request.
    pub(crate) fn refused(&self, code: &str) {
        self.refusals.get_or_create(&[("code", code.to_owned())]).inc();
    }

    /// Counts a heartbeat's receipt.
    pub(crate) fn heartbeat(&self, code: &str) {
        self.heartbeats.get_or_create(&[("code", code.to_owned())]).inc();
    }

    /// Counts an execution's outcome.
    pub(crate) fn outcome(&self, reason: &str) {
        self.outcomes.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    /// Counts a pushed plan.
    pub(crate) fn pushed(&self, answer: &str) {
        self.pushes.get_or_create(&[("answer", answer.to_owned())]).inc();
    }

    /// Counts events that were not kept.
    pub(crate) fn dropped(&self, count: u64) {
        self.events_dropped.inc_by(count);
    }

    /// Counts a name that was asked for.
    pub(crate) fn name(&self, outcome: &str) {
        self.names.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// Counts a name that no server answered for.
    pub(crate) fn name_unanswered(&self, reason: &str) {
        self.names_unanswered.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    /// Counts addresses that were left out of an answer.
    pub(crate) fn addresses_not_public(&self, count: u64) {
        self.addresses_not_public.inc_by(count);
    }

    /// Says how far a host's networks are from what they should be.
    pub(crate) fn host_networks(&self, node: NodeId, drift: [u64; 3], behind_ms: i64) {
        for (what, value) in DRIFT.into_iter().zip(drift) {
            let labels = [("node", node.to_string()), ("differences", what.to_owned())];
            self.network_drift.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.network_behind.get_or_create(&[("node", node.to_string())]).set(behind_ms);
    }

    /// Shows nothing more of a host that is gone.
    pub(crate) fn forget_host(&self, node: NodeId) {
        for what in DRIFT {
            self.network_drift.remove(&[("node", node.to_string()), ("differences", what.to_owned())]);
        }
        self.network_behind.remove(&[("node", node.to_string())]);
    }

    /// Says whether a wall stands.
    pub(crate) fn wall(&self, wall: &str, stands: bool) {
        self.walls.get_or_create(&[("wall", wall.to_owned())]).set(i64::from(stands));
    }
}
