//! Probes of the host's networks when the control plane asks for them: one round at a time, beside supervision.

use super::task::Task;
use crate::networks::Probed;
use api::network::ReportProbe;
use api::network::limits::TEXT_MAX;
use core::pin::Pin;
use serve::client::CallError;
use serve::identity::ControlPlane;
use std::time::Duration;
use terms::Timestamp;
use tokio::time::Instant;

/// The largest answer to what was found: none.
const ANSWER_MAX: usize = 16 * 1024;

/// The wait after a round that nobody heard of: it takes a while of the processor, and the question comes again.
const REST: Duration = Duration::from_secs(10);

type UnderWay = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// One round for each question.
pub(super) struct Probes {
    to: ControlPlane,
    /// The question that is answered, or is being answered.
    asked_at: Option<Timestamp>,
    next: Instant,
    under_way: Option<UnderWay>,
}

impl Probes {
    pub(super) fn new(to: ControlPlane) -> Self {
        Self { to, asked_at: None, next: Instant::now(), under_way: None }
    }

    /// The control plane asks, again and again until it has its answer. A question that comes while another one is
    /// being answered comes again.
    pub(super) fn wanted(&mut self, asked_at: Timestamp, task: &Task) {
        if self.asked_at == Some(asked_at) || self.under_way.is_some() || Instant::now() < self.next {
            return;
        }
        self.asked_at = Some(asked_at);
        let (to, probing) = (self.to.clone(), task.probe());
        self.under_way = Some(Box::pin(async move {
            let found = match probing.await {
                Ok(Probed { version, rows }) => ReportProbe { asked_at, version, failed: None, rows },
                Err(error) => {
                    tracing::error!(%error, "the networks could not be probed");
                    let mut why = error.to_string();
                    why.truncate(why.floor_char_boundary(TEXT_MAX));
                    ReportProbe { asked_at, version: 0, failed: Some(why), rows: Vec::new() }
                }
            };
            to.post("/v1/networks/probe-report", &found, ANSWER_MAX).await
        }));
    }

    /// Goes on with the round that is under way, if there is one. A call that is dropped before it resolves goes on
    /// the next time.
    pub(super) async fn carry(&mut self) {
        let Some(under_way) = &mut self.under_way else { return core::future::pending().await };
        let told = under_way.await;
        self.under_way = None;
        if let Err(error) = told {
            tracing::warn!(%error, "what probes found could not be told");
            (self.asked_at, self.next) = (None, Instant::now() + REST);
        }
    }
}
