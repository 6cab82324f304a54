//! What a node reports of its host's networks: taken in order, each node for itself alone.

use super::numbers::HostNumbers;
use super::place::Places;
use super::{drift, driver_text, kernel, numbers, place_text};
use crate::app::App;
use crate::body::Strict;
use crate::ctx::Ctx;
use crate::node;
use crate::refusal::{Answer, Refusal};
use api::network::{Driver, ReportNetworks};
use api::{Code, Problem};
use http::StatusCode;
use network::NetworkNumber;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{HostNetworksRow, Tx};
use terms::{NodeId, Permit, TenantId, Timestamp};
use wire::event::{EventKind, EventOutcome, SecurityEvent};
use wire::networks::{HostNetworks, SignedNetworks};

/// A report that is behind the last one by less than this came late; by more, the host's clock was set back. In
/// milliseconds.
const LATE_MAX_MS: i64 = 120_000;

/// No version is higher: milliseconds of many thousand years.
const VERSION_MAX: u64 = 1 << 48;

/// Takes the calling node's report.
pub(crate) async fn report(ctx: Ctx, body: Strict<ReportNetworks>) -> Answer<StatusCode> {
    let permit = ctx.platform()?;
    let node = node::caller(&ctx).await?.id;
    let report = body.value;
    check(&report)?;
    let event = ctx.event(EventKind::NodeChanged, format!("node/{node}"), None)?;
    let (app, now) = (Arc::clone(&ctx.app), ctx.now);
    let taking = Taking { app, permit, node, event, now };
    ctx.app.store.write(move |tx| Box::pin(async move { taking.take(tx, &report).await })).await?;
    super::view::measure(&ctx.app, node, ctx.now).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(report: &ReportNetworks) -> Answer<()> {
    if !report.is_bounded() {
        return Err(Problem::new(Code::BodyTooLarge).detail("more or longer texts than a host has").into());
    }
    let malformed = |detail: String| Refusal::from(Problem::new(Code::MalformedRequest).detail(detail));
    numbers::routes(&report.routes).map_err(|text| malformed(format!("`{text}` is not a route")))?;
    for number in &report.gone {
        NetworkNumber::try_from(u32::from(*number)).map_err(|error| malformed(error.to_string()))?;
    }
    if report.applied > VERSION_MAX {
        return Err(malformed("`applied` is higher than any version that there can be".to_owned()));
    }
    let tenants: BTreeSet<TenantId> = report.traffic.iter().map(|traffic| traffic.tenant).collect();
    if tenants.len() < report.traffic.len() {
        return Err(malformed("`traffic` names a tenant twice".to_owned()));
    }
    Ok(())
}

/// One report on its way into the store.
struct Taking {
    app: Arc<App>,
    permit: Permit,
    node: NodeId,
    /// The shape of every event of this report.
    event: SecurityEvent,
    now: Timestamp,
}

impl Taking {
    async fn take(self, tx: &mut Tx, report: &ReportNetworks) -> Answer<()> {
        let before = tx.networks().host(&self.permit, self.node).await?;
        let own = self.require_own(tx, report).await?;
        if before.as_ref().is_some_and(|before| is_late(report.counted_at, before.counted_at)) {
            return Ok(());
        }
        let quarantine_ms = self.app.config.networks.quarantine_ms;
        let mut numbers = HostNumbers::load(tx, &self.permit, self.node, quarantine_ms).await?;
        if let Some(wanted) = self.told(tx, report.applied).await? {
            numbers.gone(tx, &report.gone, &wanted, self.now).await?;
        }
        numbers.free_rested(tx, quarantine_ms, self.now).await?;
        tx.nodes().seen(&self.permit, self.node, self.now).await?;
        tx.networks().put_host(&self.permit, &self.row(report)?).await?;
        if report.driver == Driver::Linux {
            self.number_all(tx).await?;
        }
        let (app, permit, node, now) = (&*self.app, &self.permit, self.node, self.now);
        drift::from_report(tx, app, permit, node, &report.drift, now).await?;
        drift::of_driver(tx, app, permit, before.as_ref(), report.driver, node, now).await?;
        for traffic in report.traffic.iter().filter(|traffic| own.contains(&traffic.tenant)) {
            kernel::take(tx, app, permit, node, traffic, report.counted_at, now).await?;
        }
        Ok(())
    }

    /// The numbers that the host was told to have last, if it has just that: what it says to be gone by an earlier
    /// document may come to be by the next.
    async fn told(&self, tx: &mut Tx, applied: u64) -> Answer<Option<BTreeSet<u8>>> {
        let signed = tx.networks().desired(&self.permit, self.node).await?;
        let Some(signed) = signed.filter(|signed| applied >= signed.version) else { return Ok(None) };
        let envelope = SignedNetworks::read(&signed.envelope).map_err(Refusal::internal)?;
        let networks = HostNetworks::read(envelope.payload()).map_err(Refusal::internal)?;
        Ok(Some(networks.tenants.iter().map(|tenant| tenant.number).collect()))
    }

    /// Gives the tenants that came before the host had networks their numbers.
    async fn number_all(&self, tx: &mut Tx) -> Answer<()> {
        for (tenant, error) in Places::new(&self.app, self.now)?.number_all(tx, self.node).await? {
            let id = terms::EventId::mint(self.now, self.app.entropy()?);
            tracing::warn!(%tenant, node = %self.node, %error, "a tenant has no network on its node");
            tx.event(SecurityEvent {
                id,
                tenant: Some(tenant),
                outcome: EventOutcome::Failure,
                reason: error.code().to_owned(),
                ..self.event.clone()
            });
        }
        Ok(())
    }

    /// Refuses a report that speaks of tenants which are none of the node's. One that it had a moment ago, or that
    /// was deleted, may still be in it.
    async fn require_own(&self, tx: &mut Tx, report: &ReportNetworks) -> Answer<BTreeSet<TenantId>> {
        let told = report.traffic.iter().map(|traffic| traffic.tenant);
        node::require_own(tx, &self.permit, self.node, told).await
    }

    fn row(&self, report: &ReportNetworks) -> Answer<HostNetworksRow> {
        let text = |value: Result<String, serde_json::Error>| value.map_err(Refusal::internal);
        Ok(HostNetworksRow {
            node: self.node,
            driver: driver_text(report.driver).to_owned(),
            place: place_text(report.place).to_owned(),
            address: report.address,
            routes: text(serde_json::to_string(&report.routes))?,
            applied: report.applied,
            counted_at: report.counted_at,
            reported_at: self.now,
            drift: text(serde_json::to_string(&report.drift))?,
            missing: text(serde_json::to_string(&report.missing))?,
        })
    }
}

/// Whether a report came after one that was made later.
fn is_late(counted_at: Option<Timestamp>, last: Option<Timestamp>) -> bool {
    let (Some(counted_at), Some(last)) = (counted_at, last) else { return false };
    (1..LATE_MAX_MS).contains(&last.ms_since(counted_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_late_only_shortly_behind_a_later_one() {
        let last = Timestamp::from_unix_ms(1_795_507_200_000);
        for (ahead_ms, late) in [
            (1, false),
            (0, false),
            (-1, true),
            (1 - LATE_MAX_MS, true),
            (-LATE_MAX_MS, false),
            (i64::MIN, false),
        ] {
            assert_eq!(is_late(Some(last.plus_ms(ahead_ms)), Some(last)), late, "{ahead_ms}");
        }
        assert!(!is_late(None, Some(last)) && !is_late(Some(last), None));
    }
}
