//! A node's calls to the control plane, each under way beside supervision: a control plane that hangs holds up
//! no restart and no stop.

use api::placement::{Placements, ReportPlacements, RunningPlacement, Walls};
use core::pin::Pin;
use serve::client::CallError;
use serve::identity::ControlPlane;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The largest answer: 155 placements.
const ANSWER_MAX: usize = 256 * 1024;

/// A report goes out at least this often, so that silence means a dead node.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The wait after a report without an answer.
const REPORT_RETRY: Duration = Duration::from_secs(1);

type UnderWay<T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send>>;

/// Asks, again and again, what to run.
pub(crate) struct Polls {
    to: ControlPlane,
    every: Duration,
    next: Instant,
    under_way: Option<UnderWay<Placements>>,
}

/// Tells what runs: when it changed, and every now and then.
pub(crate) struct Reports {
    to: ControlPlane,
    told: Vec<RunningPlacement>,
    /// When the control plane was last told.
    told_at: Option<Instant>,
    next: Instant,
    under_way: Option<(Vec<RunningPlacement>, UnderWay<()>)>,
}

impl Polls {
    pub(crate) fn new(to: ControlPlane, every_ms: u64) -> Self {
        Self { to, every: Duration::from_millis(every_ms), next: Instant::now(), under_way: None }
    }

    /// The next answer. A call that is dropped before it resolves takes up the same question the next time.
    pub(crate) async fn answer(&mut self) -> Result<Placements, CallError> {
        if self.under_way.is_none() {
            sleep_until(self.next).await;
        }
        let to = &self.to;
        let ask = || -> UnderWay<Placements> {
            let to = to.clone();
            Box::pin(async move { to.get("/v1/placements", ANSWER_MAX).await })
        };
        let answer = self.under_way.get_or_insert_with(ask).as_mut().await;
        self.under_way = None;
        self.next = Instant::now() + self.every;
        answer
    }
}

impl Reports {
    pub(crate) fn new(to: ControlPlane) -> Self {
        Self { to, told: Vec::new(), told_at: None, next: Instant::now(), under_way: None }
    }

    /// Tells what runs once it is time to; resolves when it was told, or could not be. A call that is dropped
    /// before that takes up the same report the next time.
    pub(crate) async fn tell(&mut self, running: &[RunningPlacement]) {
        if self.under_way.is_none() {
            sleep_until(self.due(running)).await;
        }
        let to = &self.to;
        let report = || (running.to_vec(), call(to.clone(), running.to_vec()));
        let (told, answer) = self.under_way.get_or_insert_with(report);
        let answer = answer.as_mut().await;
        let told = core::mem::take(told);
        self.under_way = None;
        match answer {
            Ok(()) => (self.told, self.told_at) = (told, Some(Instant::now())),
            Err(error) => {
                tracing::debug!(%error, "what runs could not be told");
                self.next = Instant::now() + REPORT_RETRY;
            }
        }
    }

    /// Whether the control plane knows that just `running` runs.
    pub(crate) fn are_told(&self, running: &[RunningPlacement]) -> bool {
        self.told_at.is_some() && self.told == running
    }

    fn due(&self, running: &[RunningPlacement]) -> Instant {
        match self.told_at {
            Some(at) if self.told == running => self.next.max(at + REPORT_EVERY),
            Some(_) | None => self.next,
        }
    }
}

fn call(to: ControlPlane, running: Vec<RunningPlacement>) -> UnderWay<()> {
    let walls = Walls { own_uids: host::process::is_root(), own_networks: false };
    let body = ReportPlacements { running, walls };
    Box::pin(async move { to.post("/v1/placements/report", &body, ANSWER_MAX).await })
}
