//! Renewal: long before a certificate ends, and again and again until it is done.

use super::kept::{self, Request};
use super::{ControlPlane, Enrolment, IdentityError, MAX_ANSWER_BYTES, Validity, WorkloadIdentity};
use api::enrolment::{IssuedCertificate, RenewCertificate};
use host::clock::Clock;
use std::time::Duration;
use terms::Timestamp;

/// The longest sleep between two looks at the clock: a host that was suspended for a night must not believe
/// that it has until tomorrow.
const LOOK_EVERY_MS: i64 = 30_000;

/// The first and the longest wait after a renewal that failed.
const RETRY_MS: core::ops::RangeInclusive<i64> = 1_000..=60_000;

/// Says why renewal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalEnd {
    /// The certificate had expired and the workload was enrolled anew, under another id: it must start again.
    EnrolledAnew,
}

/// When a certificate is renewed: at two thirds of its life, less up to a twentieth, so that workloads which
/// were enrolled together do not all come at once. `jitter` is drawn once per certificate.
#[must_use]
pub fn renewal_due(validity: Validity, jitter: u8) -> Timestamp {
    let life = validity.not_after.ms_since(validity.not_before);
    let earlier = life / 20 * i64::from(jitter) / i64::from(u8::MAX);
    validity.not_before.plus_ms(life / 3 * 2 - earlier)
}

impl WorkloadIdentity {
    /// Renews the certificate for as long as the workload runs. Meanwhile the old one is shown; if it expires
    /// before the control plane answers, a new enrolment token is asked for and used.
    pub async fn keep_renewed(
        &self,
        enrolment: &Enrolment,
        asked: &ControlPlane,
        clock: &Clock,
    ) -> RenewalEnd {
        let mut retry_ms = *RETRY_MS.start();
        let mut due = self.next_renewal();
        loop {
            sleep_until(due, clock).await;
            let ended = if clock.now() < self.validity().not_after {
                self.renew(asked).await.map(|()| None)
            } else {
                self.enrol_anew(enrolment).await
            };
            match ended {
                Ok(Some(end)) => return end,
                Ok(None) => {
                    retry_ms = *RETRY_MS.start();
                    due = self.next_renewal();
                    tracing::info!(not_after = %self.validity().not_after, "certificate renewed");
                }
                Err(error) => {
                    tracing::warn!(%error, retry_ms, not_after = %self.validity().not_after, "certificate not renewed");
                    due = clock.now().plus_ms(retry_ms);
                    retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
                }
            }
        }
    }

    /// Renews the certificate now.
    ///
    /// # Errors
    /// [`IdentityError`]; the old certificate then stays.
    pub async fn renew(&self, asked: &ControlPlane) -> Result<(), IdentityError> {
        let request = Request::pending(&self.dir)?;
        let body = RenewCertificate { csr: request.csr.clone() };
        let issued: IssuedCertificate = asked.post("/v1/certificates/renew", &body, MAX_ANSWER_BYTES).await?;
        self.take_over(&request.key, issued)
    }

    async fn enrol_anew(&self, enrolment: &Enrolment) -> Result<Option<RenewalEnd>, IdentityError> {
        let fresh = enrolment.enrol().await?;
        if fresh.spiffe != self.spiffe {
            return Ok(Some(RenewalEnd::EnrolledAnew));
        }
        let Some(kept) = kept::Kept::load(&self.dir)? else { return Ok(None) };
        self.show(&kept, fresh.validity())?;
        Ok(None)
    }

    fn next_renewal(&self) -> Timestamp {
        // Without entropy there is no jitter, which harms nobody.
        let [jitter] = host::entropy::bytes::<1>().unwrap_or_default();
        renewal_due(self.validity(), jitter)
    }
}

async fn sleep_until(due: Timestamp, clock: &Clock) {
    loop {
        let left = due.ms_since(clock.now());
        if left <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left.min(LOOK_EVERY_MS).unsigned_abs())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_before() {
        let validity =
            Validity { not_before: Timestamp::from_unix_s(0), not_after: Timestamp::from_unix_s(24 * 3_600) };
        assert_eq!(renewal_due(validity, 0), Timestamp::from_unix_s(16 * 3_600));
        let earliest = renewal_due(validity, u8::MAX);
        assert_eq!(earliest, Timestamp::from_unix_s(16 * 3_600 - 24 * 180));
    }
}
