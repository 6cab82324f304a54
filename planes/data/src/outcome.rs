//! Outcomes on their way out: typed fields only, sent at once when idle and in batches under load, until the
//! control plane has them. What is not acknowledged comes back out of the journal after a restart.

use crate::journal::Journal;
use crate::journal::record::{Head, Record};
use crate::uplink::Uplink;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::outcome::Outcome;

/// Outcomes in one delivery: 300 kB.
const BATCH_MAX: usize = 500;

/// The first and the longest wait after a delivery that failed.
const RETRY_MS: core::ops::RangeInclusive<u64> = 100..=10_000;

/// Where executions put their outcomes. Unbounded, because every outcome is of an admitted execution, and those
/// are bounded.
pub type Outbox = mpsc::UnboundedSender<Outcome>;

/// Outcomes that wait for delivery.
#[derive(Debug)]
pub struct Waiting(mpsc::UnboundedReceiver<Outcome>);

/// A new outbox with its waiting outcomes.
#[must_use]
pub fn outbox() -> (Outbox, Waiting) {
    let (outbox, waiting) = mpsc::unbounded_channel();
    (outbox, Waiting(waiting))
}

impl Waiting {
    /// Delivers outcomes until the outbox is closed.
    pub async fn deliver(mut self, uplink: &dyn Uplink, journal: &Journal) {
        let mut batch = Vec::new();
        while self.0.recv_many(&mut batch, BATCH_MAX).await > 0 {
            send(uplink, &batch).await;
            let ids = batch.drain(..).map(|outcome| outcome.execution_id).collect();
            // Lost with the process, it is only sent again.
            let _ = journal.note(Record::new(Head::Acknowledged(ids))).await;
        }
    }
}

async fn send(uplink: &dyn Uplink, batch: &[Outcome]) {
    let mut retry_ms = *RETRY_MS.start();
    loop {
        match uplink.outcomes(batch.to_vec()).await {
            Ok(delivered) => {
                if delivered.refused > 0 {
                    tracing::warn!(
                        refused = delivered.refused,
                        "the control plane refused outcomes; its audit log says why"
                    );
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, retry_ms, outcomes = batch.len(), "outcomes were not delivered");
                tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
            }
        }
    }
}
