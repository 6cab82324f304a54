//! Delivering: oldest first, in batches, with patience.

use crate::disk::Disk;
use crate::metering::{Metering, MeteringError, Notice, Outgoing};
use api::heartbeat::{DeliverHeartbeats, HeartbeatReceipts};
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
}

impl Delivery {
    pub(super) fn new(to: ControlPlane) -> Self {
        Self { to, next_try: Instant::now(), failures: 0 }
    }

    /// Waits until the next try may be made.
    pub(super) async fn is_due(&self) {
        sleep_until(self.next_try).await;
    }

    /// Whether a try may be made now.
    pub(super) fn may_try(&self) -> bool {
        Instant::now() >= self.next_try
    }

    /// Deliveries in a row that failed.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Delivers the next batch and takes the answer in. A delivery without an answer goes out again, the same
    /// bytes, after a while.
    pub(super) async fn deliver<D: Disk>(
        &mut self,
        metering: &mut Metering<D>,
    ) -> Result<Vec<Notice>, MeteringError> {
        let batch = metering.batch(BATCH_MAX)?;
        let body = DeliverHeartbeats { heartbeats: batch.iter().map(|beat| beat.envelope.clone()).collect() };
        let answer: Result<HeartbeatReceipts, CallError> =
            self.to.post("/v1/heartbeats/batch", &body, ANSWER_MAX).await;
        match answer {
            Ok(answer) if answer.receipts.len() == batch.len() => {
                self.failures = 0;
                metering.settle(&batch, &answer.receipts, &answer.nonce)
            }
            Ok(_) => Ok(self.failed(metering, "an answer with another number of receipts")),
            Err(CallError::Problem(problem, status)) if status.is_client_error() && is_final(status) => {
                tracing::error!(%problem, "the control plane does not read this sidecar's heartbeats");
                Ok(self.unread(metering, &batch, &problem.code))
            }
            Err(error) => Ok(self.failed(metering, &error.to_string())),
        }
    }

    /// A delivery that is refused whole for its form would be refused again for ever: its oldest heartbeat is
    /// given up, and its totals are in the next one.
    fn unread<D: Disk>(&mut self, metering: &mut Metering<D>, batch: &[Outgoing], code: &str) -> Vec<Notice> {
        self.failed(metering, code);
        batch.first().map(|oldest| metering.give_up(oldest, code)).into_iter().collect()
    }

    fn failed<D: Disk>(&mut self, metering: &mut Metering<D>, why: &str) -> Vec<Notice> {
        metering.not_delivered();
        let doublings = self.failures.min(16);
        let wait_ms = RETRY_MS.start().saturating_mul(1 << doublings).min(*RETRY_MS.end());
        self.failures = self.failures.saturating_add(1);
        self.next_try = Instant::now() + Duration::from_millis(wait_ms);
        tracing::warn!(why, wait_ms, "heartbeats wait");
        Vec::new()
    }
}

/// Whether the same bytes will never be read: not for a refused certificate, which is renewed, nor for haste.
const fn is_final(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 413 | 415 | 422)
}
