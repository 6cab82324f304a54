//! DET-4: certificates that near their end.

use super::facts::{Facts, RequiredRow};
use crate::observation::{CertificateWatch, WatchedCertificate};
use RequiredRow::{Allowed, Refused};

/// The tries that DET-4 consists of, with the clock moved: a certificate that was renewed in time raises nothing, one
/// that was not raises an alarm.
pub const WATCH_ROWS: [RequiredRow; 2] = [Allowed("renewed-in-time"), Refused("not-renewed")];

pub(super) fn certificates(watch: &CertificateWatch, facts: &mut Facts) {
    facts.rows(&watch.drill, &WATCH_ROWS);
    facts.some("certificates", watch.certificates.len() as u64);
    for certificate in &watch.certificates {
        let overdue = watch.now >= certificate.renew_by || watch.now >= certificate.expires_at;
        facts.check(
            &certificate.subject,
            state(certificate, overdue),
            !overdue || certificate.alarmed,
            "alarmed",
        );
    }
}

fn state(certificate: &WatchedCertificate, overdue: bool) -> String {
    let alarm = match (overdue, certificate.alarmed) {
        (true, true) => "overdue, alarmed",
        (true, false) => "overdue, not alarmed",
        (false, true) => "in time, an alarm is open",
        (false, false) => "in time",
    };
    format!("{alarm}, ends {}", certificate.expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ControlId::Det4;
    use crate::judge::tests::{assert_each_breaks, outcome, rows};
    use crate::observation::Observation;
    use crate::outcome::CheckOutcome::{NotRun, Pass};
    use terms::Timestamp;

    #[test]
    fn a_watch_passes_and_each_part_can_break_it() {
        let good = watch();
        assert_each_breaks(
            Det4,
            good.clone(),
            Observation::Certificates,
            &[
                |w| w.now = w.certificates[0].renew_by,
                |w| w.certificates[0].expires_at = w.now,
                |w| w.certificates.clear(),
                |w| w.drill[0].actual = "low".to_owned(),
                |w| w.drill[1].actual = "ok".to_owned(),
                |w| w.drill[1].actual = "high".to_owned(),
            ],
        );
        assert_eq!(
            outcome(Det4, Observation::Certificates(CertificateWatch { drill: vec![], ..good })),
            NotRun
        );
    }

    #[test]
    fn an_overdue_certificate_with_its_alarm_is_what_was_promised() {
        let mut watch = watch();
        watch.now = watch.certificates[0].renew_by;
        watch.certificates[0].alarmed = true;
        assert_eq!(outcome(Det4, Observation::Certificates(watch)), Pass);
    }

    fn watch() -> CertificateWatch {
        let certificate = WatchedCertificate {
            subject: "tenant/x/data-plane".to_owned(),
            renew_by: Timestamp::from_unix_s(1_000),
            expires_at: Timestamp::from_unix_s(2_000),
            alarmed: false,
        };
        let drill = rows(&WATCH_ROWS);
        CertificateWatch { now: Timestamp::from_unix_s(999), certificates: vec![certificate], drill }
    }
}
