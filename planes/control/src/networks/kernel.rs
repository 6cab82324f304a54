//! What hosts' kernels counted: kept over all resets and hosts, and compared with what sidecars swore to.

use super::record;
use crate::app::App;
use crate::heartbeat::figures;
use crate::refusal::Answer;
use api::network::TenantTraffic;
use meter::{Anomaly, Claims, KernelCheck, KernelCounts, Mark, Pace, Taken, Tally};
use store::{KernelCheckRow, SidecarRow, Tx};
use terms::{Actor, EventId, NodeId, Permit, TenantId, Timestamp};
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};
use wire::heartbeat::Totals;
use wire::networks::Quota;

/// Takes in what a node's kernel counted for one of its tenants, and compares it with what its sidecars swore to. Counts
/// of which nobody says when they were read are kept, and not compared.
pub(super) async fn take(
    tx: &mut Tx,
    app: &App,
    permit: &Permit,
    node: NodeId,
    traffic: &TenantTraffic,
    counted_at: Option<Timestamp>,
    now: Timestamp,
) -> Answer<()> {
    let tenant = traffic.tenant;
    let stored = tx.networks().tallies(permit, tenant).await?;
    let mut tallies = stored
        .into_iter()
        .map(|(node, text)| Ok((node, record::read_tally(&text)?)))
        .collect::<Answer<Vec<(NodeId, Tally)>>>()?;
    let (taken, tally) = counted(&mut tallies, node, traffic);
    if taken == Taken::Stale {
        return Ok(());
    }
    tx.networks().put_tally(permit, tenant, node, record::write_tally(&tally)?).await?;
    let Some(at) = counted_at else { return Ok(()) };
    let kept = tx.networks().kernel_check(permit, tenant).await?;
    let claims = claims(&tx.sidecars().list(permit, tenant).await?, &kept);
    let mark = Mark { at, counts: sum(&tallies), claims };
    let mut check = match kept.state {
        Some(text) => record::read_check(&text)?,
        None => KernelCheck::begin(mark),
    };
    let pace = Pace {
        interval_ms: app.config.metering.interval_ms,
        cpu_millicores: Quota::default().cpu_millicores,
    };
    for anomaly in check.take(taken, mark, pace) {
        tracing::warn!(%tenant, anomaly = figures(&anomaly), "what was sworn to is not what the kernel counted");
        tx.event(event(app, tenant, &anomaly, now)?);
    }
    Ok(tx.networks().put_kernel_check(permit, tenant, record::write_check(&check)?).await?)
}

/// What passed for a tenant on all its hosts, as it is shown.
pub(super) fn traffic(stored: Vec<(NodeId, String)>, tenant: TenantId) -> Answer<Option<TenantTraffic>> {
    let tallies = stored
        .into_iter()
        .map(|(node, text)| Ok((node, record::read_tally(&text)?)))
        .collect::<Answer<Vec<(NodeId, Tally)>>>()?;
    let Some(since) = tallies.iter().map(|(_, tally)| tally.begun).min() else { return Ok(None) };
    let total = sum(&tallies);
    Ok(Some(TenantTraffic {
        tenant,
        since,
        sent_bytes: total.sent_bytes,
        sent_packets: total.sent_packets,
        received_bytes: total.received_bytes,
        received_packets: total.received_packets,
        cpu_time_us: Some(total.cpu_time_us).filter(|us| *us > 0),
    }))
}

/// The tally of `node` after `traffic`, in its place among all. A tenant that comes from another host left traffic there
/// that nobody counted to its end.
fn counted(tallies: &mut Vec<(NodeId, Tally)>, node: NodeId, traffic: &TenantTraffic) -> (Taken, Tally) {
    let known = tallies.iter_mut().find(|(of, _)| *of == node);
    let told_us = known.as_ref().map_or(0, |(_, tally)| tally.current.cpu_time_us);
    let counts = KernelCounts {
        sent_bytes: traffic.sent_bytes,
        sent_packets: traffic.sent_packets,
        received_bytes: traffic.received_bytes,
        received_packets: traffic.received_packets,
        cpu_time_us: traffic.cpu_time_us.unwrap_or(told_us),
    };
    match known {
        Some((_, tally)) => (tally.take(traffic.since, counts), *tally),
        None => {
            let tally = Tally::begin(traffic.since, counts);
            tallies.push((node, tally));
            (Taken::Reset, tally)
        }
    }
}

fn sum(tallies: &[(NodeId, Tally)]) -> KernelCounts {
    tallies.iter().fold(KernelCounts::default(), |sum, (_, tally)| sum.plus(tally.total()))
}

/// What a tenant's sidecars swore to, in heartbeats that do not count for their time too.
fn claims(sidecars: &[SidecarRow], kept: &KernelCheckRow) -> Claims {
    let heard = || sidecars.iter().filter(|row| row.counter > 0);
    Claims {
        totals: heard().fold(Totals::default(), |sum, row| sum.zip(row.sworn, u64::saturating_add)),
        beats: heard().map(|row| row.counter).fold(0, u64::saturating_add),
        made_at: heard().map(|row| row.time).max(),
        pushed_bytes: kept.pushed_bytes,
        streamed_bytes: kept.streamed_bytes,
    }
}

fn event(app: &App, tenant: TenantId, anomaly: &Anomaly, now: Timestamp) -> Answer<SecurityEvent> {
    Ok(SecurityEvent {
        id: EventId::mint(now, app.entropy()?),
        time: now,
        plane: Plane::Control,
        kind: EventKind::MeteringAnomaly,
        actor: Actor::System.to_string(),
        resource: format!("tenant/{tenant}"),
        tenant: Some(tenant),
        outcome: EventOutcome::Failure,
        reason: figures(anomaly),
        address: None,
        count: 1,
    })
}
