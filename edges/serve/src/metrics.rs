//! Metrics in the OpenMetrics text format, which Prometheus reads.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// The media type of the OpenMetrics text format (OpenMetrics 1.0, section "Media Type").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A process's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// No metrics yet; all will be named `palisade_...`.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("palisade"))))
    }

    /// Registers metrics: `add` calls [`Registry::register`] for each.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn text(&self) -> Result<String, core::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// Serves `metrics` at `/metrics`.
pub fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A counter per reason.
pub(crate) type Reasons = Family<[(&'static str, &'static str); 1], Counter>;

/// What one listener counts.
#[derive(Debug, Clone, Default)]
pub struct ListenerMetrics {
    pub(crate) accepted: Counter,
    pub(crate) active: Gauge,
    pub(crate) requests: Counter,
    pub(crate) panics: Counter,
    refused: Reasons,
    handshakes_failed: Reasons,
    closed: Reasons,
}

impl ListenerMetrics {
    /// Registers the counters of the listener `name` (`api`, `plans`, `metrics`).
    #[must_use]
    pub fn register(metrics: &Metrics, name: &'static str) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let label = (Cow::Borrowed("listener"), Cow::Borrowed(name));
            let at = registry.sub_registry_with_label(label);
            at.register("connections_accepted", "Connections accepted", own.accepted.clone());
            at.register("connections_active", "Connections open now", own.active.clone());
            at.register("connections_refused", "Connections refused, by reason", own.refused.clone());
            at.register(
                "handshakes_failed",
                "TLS handshakes failed, by reason",
                own.handshakes_failed.clone(),
            );
            at.register("connections_closed", "Connections closed by us, by reason", own.closed.clone());
            at.register("requests", "Requests received", own.requests.clone());
            at.register("handler_panics", "Handlers that panicked", own.panics.clone());
        });
        own
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn fail_handshake(&self, reason: &'static str) {
        self.handshakes_failed.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    /// How many handshakes failed for `reason`.
    #[must_use]
    pub fn handshakes_failed(&self, reason: &'static str) -> u64 {
        self.handshakes_failed.get_or_create(&[("reason", reason)]).get()
    }

    /// How many connections were refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: &'static str) -> u64 {
        self.refused.get_or_create(&[("reason", reason)]).get()
    }

    /// How many connections were closed by us for `reason`.
    #[must_use]
    pub fn closed(&self, reason: &'static str) -> u64 {
        self.closed.get_or_create(&[("reason", reason)]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_share_a_registry_and_keep_their_own_counters() {
        let metrics = Metrics::new();
        let (api, plans) =
            (ListenerMetrics::register(&metrics, "api"), ListenerMetrics::register(&metrics, "plans"));
        api.accepted.inc();
        plans.fail_handshake("no_tls13");
        let text = metrics.text().unwrap();
        assert!(text.contains("palisade_connections_accepted_total{listener=\"api\"} 1"), "{text}");
        assert!(text.contains("palisade_connections_accepted_total{listener=\"plans\"} 0"), "{text}");
        assert!(
            text.contains("palisade_handshakes_failed_total{listener=\"plans\",reason=\"no_tls13\"} 1"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
