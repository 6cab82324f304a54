//! Delivering: oldest first, in batches, with patience, and beside everything else that the sidecar does.

use crate::disk::Disk;
use crate::metering::{Metering, MeteringError, Notice, Outgoing};
use api::heartbeat::{DeliverHeartbeats, HeartbeatReceipts};
use core::pin::Pin;
use serve::client::CallError;
use serve::identity::ControlPlane;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Most heartbeats of one delivery: about 150 kB.
const BATCH_MAX: usize = 100;

/// The largest answer: a receipt for each, or a problem.
const ANSWER_MAX: usize = 256 * 1024;

/// The first and the longest wait after a delivery that failed.
const RETRY_MS: core::ops::RangeInclusive<u64> = 500..=10_000;

/// Carries heartbeats to the control plane.
pub(super) struct Delivery {
    to: ControlPlane,
    next_try: Instant,
    failures: u32,
    under_way: Option<UnderWay>,
}

/// A delivery that has no answer yet.
struct UnderWay {
    batch: Vec<Outgoing>,
    answer: Pin<Box<dyn Future<Output = Result<HeartbeatReceipts, CallError>> + Send>>,
}

/// A delivery with what came of it.
pub(super) struct Answered {
    batch: Vec<Outgoing>,
    answer: Result<HeartbeatReceipts, CallError>,
}

impl Delivery {
    pub(super) fn new(to: ControlPlane) -> Self {
        Self { to, next_try: Instant::now(), failures: 0, under_way: None }
    }

    /// Deliveries in a row that failed.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Delivers the next batch; waits for as long as there is none. A call that is dropped before it resolves
    /// takes up the same delivery the next time.
    pub(super) async fn answered<D: Disk>(
        &mut self,
        metering: &Metering<D>,
    ) -> Result<Answered, MeteringError> {
        if self.under_way.is_none() {
            if metering.is_settled() {
                core::future::pending::<()>().await;
            }
            sleep_until(self.next_try).await;
        }
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            none => none.insert(UnderWay::begin(&self.to, metering.batch(BATCH_MAX)?)),
        };
        let answer = under_way.answer.as_mut().await;
        let batch = core::mem::take(&mut under_way.batch);
        self.under_way = None;
        Ok(Answered { batch, answer })
    }

    /// Takes an answer in. A delivery without one goes out again, the same bytes, after a while.
    pub(super) fn take<D: Disk>(
        &mut self,
        answered: Answered,
        metering: &mut Metering<D>,
    ) -> Result<Vec<Notice>, MeteringError> {
        let Answered { batch, answer } = answered;
        match answer {
            Ok(answer) if answer.receipts.len() == batch.len() => {
                self.failures = 0;
                metering.settle(&batch, &answer.receipts, &answer.nonce)
            }
            Ok(_) => {
                self.failed(metering, "an answer with another number of receipts");
                Ok(Vec::new())
            }
            Err(CallError::Problem(problem, status)) if is_final(status) => {
                tracing::error!(%problem, "the control plane does not read this sidecar's heartbeats");
                self.failed(metering, &problem.code);
                // Refused whole for its form, it would be refused again for ever: the oldest is given up, and
                // its totals are in the next one.
                Ok(batch.first().map(|oldest| metering.give_up(oldest, &problem.code)).into_iter().collect())
            }
            Err(error) => {
                self.failed(metering, &error.to_string());
                Ok(Vec::new())
            }
        }
    }

    fn failed<D: Disk>(&mut self, metering: &mut Metering<D>, why: &str) {
        metering.not_delivered();
        let doublings = self.failures.min(16);
        let wait_ms = RETRY_MS.start().saturating_mul(1 << doublings).min(*RETRY_MS.end());
        self.failures = self.failures.saturating_add(1);
        self.next_try = Instant::now() + Duration::from_millis(wait_ms);
        tracing::warn!(why, wait_ms, "heartbeats wait");
    }
}

impl UnderWay {
    fn begin(to: &ControlPlane, batch: Vec<Outgoing>) -> Self {
        let body = DeliverHeartbeats { heartbeats: batch.iter().map(|beat| beat.envelope.clone()).collect() };
        let to = to.clone();
        let answer = async move { to.post("/v1/heartbeats/batch", &body, ANSWER_MAX).await };
        Self { batch, answer: Box::pin(answer) }
    }
}

/// Whether the same bytes will never be read: not for a refused certificate, which is renewed, nor for haste.
const fn is_final(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 413 | 415 | 422)
}
