//! Certificates that were issued, and the alarm when one is not renewed (DET-4).

use crate::app::App;
use crate::refusal::Answer;
use serve::ca::Certificate as Issued;
use store::{Alarm, AlarmState, Certificate, Severity, StoreError, Tx};
use terms::{Action, Actor, AlarmId, Permit, Scope, SpiffeId, TenantId, Timestamp};
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// A certificate that lives for longer than this is watched from seven days before its end (DET-4).
const WATCHED_MS: i64 = 7 * 24 * 3_600_000;

/// The alarm's kind.
pub(crate) const ALARM: &str = "certificate.expiring";

/// Keeps the record of an issued certificate.
pub(crate) async fn keep(
    tx: &mut Tx,
    permit: &Permit,
    spiffe: &SpiffeId,
    tenant: Option<TenantId>,
    issued: &Issued,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = Certificate {
        serial: issued.serial.iter().map(|b| format!("{b:02x}")).collect(),
        spiffe: spiffe.to_string(),
        tenant,
        not_before: issued.not_before,
        not_after: issued.not_after,
        issued_at: now,
    };
    tx.workloads().insert_certificate(permit, &row).await
}

/// When a certificate that nobody renewed raises its alarm: seven days before its end, or, for one that lives
/// for less than four weeks, when a quarter of its life is left.
pub(crate) fn alarm_at(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let quarter = not_after.ms_since(not_before) / 4;
    not_after.plus_ms(-quarter.min(WATCHED_MS))
}

/// Raises an alarm for each certificate that nears its end: the control plane's own, and the latest of each
/// workload that is still enrolled.
pub(crate) async fn watch(app: &App, now: Timestamp) -> Answer<()> {
    let permit = app.own_permit(Action::ReadEvent, Scope::Platform)?;
    let horizon = now.plus_ms(WATCHED_MS);
    let mut due = Vec::new();
    for latest in app.store.read().await?.workloads().expiring(&permit, horizon).await? {
        if alarm_at(latest.not_before, latest.not_after) <= now {
            due.push((format!("certificate/{}", latest.spiffe), latest.tenant, latest.not_after));
        }
    }
    for (resource, not_after) in app.identity.ends() {
        let Some(not_after) = not_after else { continue };
        let begin = not_after.plus_ms(-crate::identity::CERTIFICATE_MS);
        let long_lived = not_after.ms_since(now) > crate::identity::CERTIFICATE_MS;
        let at = if long_lived { not_after.plus_ms(-WATCHED_MS) } else { alarm_at(begin, not_after) };
        if at <= now {
            due.push((resource.to_owned(), None, not_after));
        }
    }
    for (resource, tenant, not_after) in due {
        raise(app, resource, tenant, not_after, now).await?;
    }
    Ok(())
}

async fn raise(
    app: &App,
    resource: String,
    tenant: Option<TenantId>,
    not_after: Timestamp,
    now: Timestamp,
) -> Answer<()> {
    let alarm = Alarm {
        id: AlarmId::mint(now, app.entropy()?),
        kind: ALARM.to_owned(),
        severity: Severity::Low,
        time: now,
        tenant,
        resource: resource.clone(),
        evidence: serde_json::json!({ "not_after": not_after }).to_string().into_bytes(),
        state: AlarmState::Open,
    };
    let event = SecurityEvent {
        id: terms::EventId::mint(now, app.entropy()?),
        time: now,
        plane: Plane::Control,
        kind: EventKind::CertificateExpiring,
        actor: Actor::System.to_string(),
        resource,
        tenant,
        outcome: EventOutcome::Failure,
        reason: "not_renewed".to_owned(),
        address: None,
        count: 1,
    };
    app.store
        .write(move |tx| {
            Box::pin(async move {
                // One alarm while it is open; the event goes with it, once.
                if tx.alarms().insert(&alarm).await? {
                    tx.event(event);
                }
                Ok::<_, StoreError>(())
            })
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    #[test]
    fn a_long_certificate_alarms_seven_days_before_its_end() {
        let end = Timestamp::from_unix_ms(365 * DAY);
        assert_eq!(alarm_at(Timestamp::EPOCH, end), end.plus_ms(-7 * DAY));
    }

    #[test]
    fn a_workload_certificate_alarms_when_its_renewal_is_overdue() {
        let end = Timestamp::from_unix_ms(DAY);
        assert_eq!(alarm_at(Timestamp::EPOCH, end), end.plus_ms(-DAY / 4));
    }
}
