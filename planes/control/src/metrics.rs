//! What the control plane counts (Prometheus).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serve::metrics::Metrics;

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
    walls: Family<[(&'static str, String); 1], Gauge>,
}

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
                "walls",
                "Whether a wall between zones stands (1) or not (0)",
                own.walls.clone(),
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

    /// Says whether a wall stands.
    pub(crate) fn wall(&self, wall: &str, stands: bool) {
        self.walls.get_or_create(&[("wall", wall.to_owned())]).set(i64::from(stands));
    }
}
