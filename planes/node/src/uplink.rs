//! A node's calls to the control plane, each under way beside supervision: a control plane that hangs holds up
//! no restart and no stop.

use api::placement::Placements;
use core::pin::Pin;
use serde::Serialize;
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

/// Tells how things are: when that changed, and every now and then.
pub(crate) struct Reports<T> {
    to: ControlPlane,
    path: &'static str,
    /// Whether two of them say the same, as far as it cannot wait.
    same: fn(&T, &T) -> bool,
    /// What the control plane was last told, and when.
    told: Option<(T, Instant)>,
    next: Instant,
    under_way: Option<(T, UnderWay<()>)>,
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

impl<T: Serialize + Clone + Send + Sync + 'static> Reports<T> {
    /// Tells nothing yet. `same` says whether a report brings no news after another one.
    pub(crate) fn new(to: ControlPlane, path: &'static str, same: fn(&T, &T) -> bool) -> Self {
        Self { to, path, same, told: None, next: Instant::now(), under_way: None }
    }

    /// Tells `now` once it is time to; resolves when it was told, or could not be. A call that is dropped before
    /// that takes up the same report the next time.
    pub(crate) async fn tell(&mut self, now: &T) {
        if self.under_way.is_none() {
            sleep_until(self.due(now)).await;
        }
        let (to, path) = (&self.to, self.path);
        let report = || (now.clone(), call(to.clone(), path, now.clone()));
        let answer = self.under_way.get_or_insert_with(report).1.as_mut().await;
        let Some((told, _)) = self.under_way.take() else { return };
        match answer {
            Ok(()) => self.told = Some((told, Instant::now())),
            Err(error) => {
                tracing::debug!(%error, path, "a report could not be told");
                self.next = Instant::now() + REPORT_RETRY;
            }
        }
    }

    /// Whether the control plane knows that this is how things are.
    pub(crate) fn are_told(&self, now: &T) -> bool {
        self.told.as_ref().is_some_and(|(told, _)| (self.same)(told, now))
    }

    fn due(&self, now: &T) -> Instant {
        match &self.told {
            Some((told, at)) if (self.same)(told, now) => self.next.max(*at + REPORT_EVERY),
            Some(_) | None => self.next,
        }
    }
}

fn call(to: ControlPlane, path: &'static str, body: impl Serialize + Send + Sync + 'static) -> UnderWay<()> {
    Box::pin(async move { to.post(path, &body, ANSWER_MAX).await })
}
