//! Drift: an alarm opens when a node sees its host differ from what it should be, and closes when it is repaired.
//!
//! One open alarm for each namespace of a host. A node tells of drift twice: by an event at once, and in its next report.
//! Either opens the alarm, so that a lost event hides nothing; only a report closes it. What was repaired before it was
//! told is an alarm that is closed from its beginning: somebody changed a host by hand, and people have to know.

use crate::app::App;
use crate::refusal::Answer;
use api::network::{DriftReport, DriftView, Driver};
use std::collections::BTreeMap;
use store::{Alarm, AlarmState, HostNetworksRow, Severity, Tx};
use terms::{AlarmId, EventId, NodeId, Permit, Timestamp};
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// The alarm's kind.
pub(crate) const ALARM: &str = "network_drift";

/// Most alarms of one host that are open at a time: its 155 tenants' namespaces, and its own few.
const OPEN_MAX: usize = 200;

/// The longest name of a namespace: `control-plane` and `tenant-155` are such.
const NAMESPACE_MAX: usize = 32;

/// Raises the alarm for an event in which a node tells of drift.
pub(crate) async fn from_event(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    node: NodeId,
    event: &SecurityEvent,
    now: Timestamp,
) -> Answer<()> {
    let namespace = event.resource.strip_prefix("network/").unwrap_or("other");
    let seen = serde_json::json!({ "reason": event.reason, "time": event.time });
    match (event.kind, event.outcome) {
        (EventKind::NetworkDrift, EventOutcome::Failure) => {
            open(tx, app, permit, &resource(node, namespace), seen, now).await
        }
        (EventKind::NetworkDrift, EventOutcome::Success) => {
            record(tx, app, permit, &resource(node, namespace), seen, now).await
        }
        _ => Ok(()),
    }
}

/// Opens and closes alarms as a report has it.
pub(super) async fn from_report(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    node: NodeId,
    drift: &DriftReport,
    now: Timestamp,
) -> Answer<()> {
    let mut differing: BTreeMap<String, Vec<&DriftView>> = BTreeMap::new();
    for one in &drift.open {
        differing.entry(resource(node, &one.namespace)).or_default().push(one);
    }
    for there in tx.alarms().open_below(permit, ALARM, &format!("node/{node}/network")).await? {
        if differing.remove(&there).is_none() {
            tx.alarms().close(permit, ALARM, &there).await?;
        }
    }
    for (resource, open_there) in differing {
        let seen = serde_json::json!({ "open": open_there });
        open(tx, app, permit, &resource, seen, now).await?;
    }
    Ok(())
}

/// A host that kept its tenants apart and does not any more has drifted as far as it can.
pub(super) async fn of_driver(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    before: Option<&HostNetworksRow>,
    driver: Driver,
    node: NodeId,
    now: Timestamp,
) -> Answer<()> {
    let resource = format!("node/{node}/driver");
    let before = before.and_then(|row| super::driver_of(&row.driver));
    match (before, driver) {
        (Some(Driver::Linux), Driver::Loopback) => {
            let seen = serde_json::json!({ "reason": "drift.driver", "time": now });
            tx.event(SecurityEvent {
                id: EventId::mint(now, app.entropy()?),
                time: now,
                plane: Plane::Control,
                kind: EventKind::NetworkDrift,
                actor: terms::Actor::System.to_string(),
                resource: resource.clone(),
                tenant: None,
                outcome: EventOutcome::Failure,
                reason: "drift.driver".to_owned(),
                address: None,
                count: 1,
            });
            open(tx, app, permit, &resource, seen, now).await
        }
        (Some(Driver::Loopback) | None, Driver::Linux) => {
            tx.alarms().close(permit, ALARM, &resource).await?;
            Ok(())
        }
        (Some(Driver::Linux), Driver::Linux) | (Some(Driver::Loopback) | None, Driver::Loopback) => Ok(()),
    }
}

/// Closes what is open of a host that is gone.
pub(crate) async fn forget(tx: &mut Tx, permit: &Permit, node: NodeId) -> Answer<()> {
    for there in tx.alarms().open_below(permit, ALARM, &format!("node/{node}")).await? {
        tx.alarms().close(permit, ALARM, &there).await?;
    }
    Ok(())
}

async fn open(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    resource: &str,
    evidence: serde_json::Value,
    now: Timestamp,
) -> Answer<()> {
    if open_beside(tx, permit, resource).await?.len() >= OPEN_MAX {
        app.metrics.dropped(1);
        return Ok(());
    }
    tx.alarms().insert(&alarm(app, resource, evidence, AlarmState::Open, now)?).await?;
    Ok(())
}

/// Keeps what was repaired before it was told, unless an alarm is open there: that one says it, until a report closes it.
async fn record(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    resource: &str,
    evidence: serde_json::Value,
    now: Timestamp,
) -> Answer<()> {
    if open_beside(tx, permit, resource).await?.iter().all(|open| open != resource) {
        tx.alarms().insert(&alarm(app, resource, evidence, AlarmState::Closed, now)?).await?;
    }
    Ok(())
}

/// What is open of the same host.
async fn open_beside(tx: &mut Tx, permit: &Permit, resource: &str) -> Answer<Vec<String>> {
    let place = resource.rsplit_once('/').map_or(resource, |(place, _)| place);
    Ok(tx.alarms().open_below(permit, ALARM, place).await?)
}

fn alarm(
    app: &App,
    resource: &str,
    evidence: serde_json::Value,
    state: AlarmState,
    now: Timestamp,
) -> Answer<Alarm> {
    Ok(Alarm {
        id: AlarmId::mint(now, app.entropy()?),
        kind: ALARM.to_owned(),
        severity: Severity::High,
        time: now,
        tenant: None,
        resource: resource.to_owned(),
        evidence: evidence.to_string().into_bytes(),
        state,
    })
}

/// The resource of an alarm. A node says which namespace: what could not be one's name is `other`.
fn resource(node: NodeId, namespace: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=NAMESPACE_MAX).contains(&namespace.len()) && namespace.bytes().all(plain);
    format!("node/{node}/network/{}", if fits { namespace } else { "other" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_could_not_be_one_is_other() {
        let node = NodeId::from_bytes([1; 16]);
        for name in ["tenant-155", "control-plane", "router"] {
            assert_eq!(resource(node, name), format!("node/{node}/network/{name}"));
        }
        for name in ["", "../x", "a/b", "Router", "t\n", &"a".repeat(33)] {
            assert_eq!(resource(node, name), format!("node/{node}/network/other"), "{name}");
        }
    }
}
