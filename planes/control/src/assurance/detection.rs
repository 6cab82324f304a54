//! DET-4: every certificate is renewed in time, or an alarm says that it was not.

use super::own::Target;
use super::{Looked, NoMeans, own, sample};
use crate::app::App;
use crate::certificate;
use crate::identity::CERTIFICATE_MS;
use ::assurance::{CertificateWatch, Observation, Row, WatchedCertificate};
use serve::tls;
use std::collections::BTreeSet;
use store::{AlarmState, LIMIT_MAX, Page};
use terms::Timestamp;

/// The watch looks once a minute; an alarm may come that much later, and once more for a look that failed.
const GRACE_MS: i64 = 2 * 60_000;

/// Further ahead than any certificate of ours lives.
const HORIZON_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// Most pages of alarms that are searched for open ones.
const PAGES_MAX: usize = 10;

/// DET-4: the certificates on record and those that listeners show against the open alarms, and the watch with its
/// clock moved.
pub(super) async fn det_4(app: &App) -> Looked {
    let now = app.clock.now();
    let permit = sample::permit(app)?;
    let alarmed = open_alarms(app).await?;
    let issued = app.store.read().await?.workloads().expiring(&permit, now.plus_ms(HORIZON_MS)).await?;
    let workloads = issued.into_iter().map(|certificate| {
        let renew_by = certificate::alarm_at(certificate.not_before, certificate.not_after);
        (format!("certificate/{}", certificate.spiffe), renew_by, certificate.not_after)
    });
    let ours = app.identity.ends().into_iter().filter_map(|(subject, end)| {
        let end = end?;
        Some((subject.to_owned(), certificate::alarm_at(begin(end, now), end), end))
    });
    let certificates = workloads.chain(ours).map(|(subject, renew_by, expires_at)| WatchedCertificate {
        alarmed: alarmed.contains(&subject),
        renew_by: renew_by.plus_ms(GRACE_MS),
        expires_at,
        subject,
    });
    let mut certificates: Vec<WatchedCertificate> = certificates.collect();
    certificates.extend(shown(app, now, &alarmed).await?);
    Ok(Observation::Certificates(CertificateWatch { now, certificates, drill: drill(now) }))
}

/// What listeners show to whoever calls. A certificate that was renewed on record alone still ends.
async fn shown(
    app: &App,
    now: Timestamp,
    alarmed: &BTreeSet<String>,
) -> Result<Vec<WatchedCertificate>, NoMeans> {
    let mut shown = Vec::new();
    for Target { name, addr, certificate } in own::all_listeners(app).await? {
        let end = tls::shown_until(addr).await.map_err(|error| NoMeans(format!("{name}: {error}")))?;
        shown.push(WatchedCertificate {
            subject: format!("shown by {name}"),
            renew_by: certificate::alarm_at(begin(end, now), end).plus_ms(GRACE_MS),
            expires_at: end,
            alarmed: alarmed.contains(&certificate),
        });
    }
    Ok(shown)
}

/// When a certificate of which only the end is known began, at the latest.
fn begin(end: Timestamp, now: Timestamp) -> Timestamp {
    if end.ms_since(now) > CERTIFICATE_MS { Timestamp::EPOCH } else { end.plus_ms(-CERTIFICATE_MS) }
}

/// The resources that an open alarm of this kind is about.
async fn open_alarms(app: &App) -> Result<BTreeSet<String>, NoMeans> {
    let permit = sample::permit(app)?;
    let mut page = Page::first(LIMIT_MAX);
    let mut open = BTreeSet::new();
    for _ in 0..PAGES_MAX {
        let (alarms, next) = app.store.read().await?.alarms().list(&permit, &page).await?;
        let ours = alarms.into_iter().filter(|a| a.kind == certificate::ALARM && a.state == AlarmState::Open);
        open.extend(ours.map(|alarm| alarm.resource));
        let Some(after) = next else { break };
        page.after = Some(after);
    }
    Ok(open)
}

/// The watch with the clock moved: a certificate renewed at two thirds of its life, and one that was not.
fn drill(now: Timestamp) -> Vec<Row> {
    let renewed = (now.plus_ms(-CERTIFICATE_MS * 2 / 3), now.plus_ms(CERTIFICATE_MS / 3));
    let forgotten = (now.plus_ms(-CERTIFICATE_MS * 5 / 6), now.plus_ms(CERTIFICATE_MS / 6));
    [("renewed-in-time", "ok", renewed), ("not-renewed", "low", forgotten)]
        .map(|(name, expected, (not_before, not_after))| {
            let is_raised = certificate::alarm_at(not_before, not_after) <= now;
            let actual = if is_raised { "low" } else { "ok" };
            Row { name: name.to_owned(), expected: expected.to_owned(), actual: actual.to_owned() }
        })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::assurance::{RequiredRow, WATCH_ROWS};

    #[test]
    fn the_drill_finds_the_forgotten_certificate_and_not_the_renewed_one() {
        let rows = drill(Timestamp::from_unix_s(1_795_507_200));
        assert!(rows.iter().all(|row| row.actual == row.expected), "{rows:?}");
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, WATCH_ROWS.iter().map(RequiredRow::name).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_certificate_is_due_seven_days_before_its_end() {
        let now = Timestamp::from_unix_s(1_795_507_200);
        let (week, long) = (7 * CERTIFICATE_MS, now.plus_ms(30 * CERTIFICATE_MS));
        assert_eq!(certificate::alarm_at(begin(long, now), long), long.plus_ms(-week));
        let short = now.plus_ms(CERTIFICATE_MS / 2);
        assert_eq!(certificate::alarm_at(begin(short, now), short), short.plus_ms(-CERTIFICATE_MS / 4));
    }
}
