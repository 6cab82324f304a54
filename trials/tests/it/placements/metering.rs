//! What a kernel counted against what a sidecar swore to: neither may be far from the other.

use super::fleet::{Fleet, Host, traffic};
use anyhow::Result;
use api::network::{Place, ReportNetworks, TenantTraffic};
use meter::{Chain, Made};
use notary::SidecarKey;
use serve::identity::ControlPlane;
use terms::{TenantId, Timestamp};
use wire::event::{EventKind, SecurityEvent};
use wire::heartbeat::{Integrity, PAYLOAD_TYPE, Totals};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn usage_that_no_kernel_counted_and_traffic_that_nobody_swore_to_are_each_told_once() -> Result<()> {
    let Some(mut fleet) = Fleet::with_clock().await? else { return Ok(()) };
    let host = fleet.linux("host").await?;
    let tenant = fleet.tenant("demo").await?;
    let mut meter = Meter::enrol(&fleet, &host, tenant).await?;

    let mut passed = Passed { sent: 0, received: 0 };
    passed.report(&host, tenant, 0).await?;
    // A run as it should be: what is sworn to was counted, with headers.
    for round in 1..=20_u64 {
        let at_s = i64::try_from(round * 20)?;
        fleet.set_clock(at_s)?;
        passed.sent += MIB + MIB / 20;
        passed.received += 2 * MIB + MIB / 10;
        meter.swears(at_s, round * MIB, round * 2 * MIB).await?;
        passed.report(&host, tenant, at_s).await?;
    }
    assert_eq!(anomalies(&fleet).await?, [] as [String; 0]);
    let shown = fleet.networks().await?[0].traffic.unwrap();
    assert_eq!((shown.sent_bytes, shown.received_bytes), (passed.sent, passed.received));

    // The sidecar swears to what never left.
    for at_s in [420, 440, 460, 480] {
        fleet.set_clock(at_s)?;
        meter.swears(at_s, 120 * MIB, 40 * MIB).await?;
        passed.report(&host, tenant, at_s).await?;
    }
    let told = anomalies(&fleet).await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("egress_bytes: metered "), "{told:?}");

    // What left is not sworn to, long after every call has ended.
    passed.sent += 900 * MIB;
    for at_s in [500, 640, 780, 920, 1_060] {
        fleet.set_clock(at_s)?;
        meter.swears(at_s, 120 * MIB, 40 * MIB).await?;
        passed.report(&host, tenant, at_s).await?;
    }
    let told = anomalies(&fleet).await?;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains(&format!("known {}, bound ", passed.sent)), "{told:?}");
    Ok(())
}

/// Signs heartbeats as a sidecar does.
struct Meter {
    key: SidecarKey,
    chain: Chain,
    to: ControlPlane,
}

impl Meter {
    async fn enrol(fleet: &Fleet, host: &Host, tenant: TenantId) -> Result<Self> {
        let (key, _) = SidecarKey::generate()?;
        let (sidecar, to) = fleet.sidecar(host, tenant, key.public_key()).await?;
        Ok(Self { key, chain: Chain::enrolled(sidecar, tenant).restarted(), to })
    }

    async fn swears(&mut self, at_s: i64, egress_bytes: u64, ingress_bytes: u64) -> Result<()> {
        let link = self.chain.next(Made {
            now: at(at_s),
            totals: Totals { egress_bytes, ingress_bytes, ..Totals::default() },
            release: "trial".to_owned(),
            integrity: Integrity::UNCHECKED,
            nonce: None,
            spooled: false,
        })?;
        let envelope = self.key.sign(PAYLOAD_TYPE, &link.payload)?;
        let receipts: api::heartbeat::HeartbeatReceipts =
            self.to.post("/v1/heartbeats", &envelope, 1 << 20).await?;
        assert_eq!(receipts.receipts[0].code, "ok");
        self.chain = link.next;
        Ok(())
    }
}

/// What the stand-in's kernel counted.
struct Passed {
    sent: u64,
    received: u64,
}

impl Passed {
    async fn report(&self, host: &Host, tenant: TenantId, at_s: i64) -> Result<()> {
        let counts =
            TenantTraffic { sent_bytes: self.sent, received_bytes: self.received, ..traffic(tenant, 0) };
        let counted_at = Some(at(at_s).plus_ms(500));
        let report = ReportNetworks { counted_at, traffic: vec![counts], ..host.linux(Place::Here) };
        Ok(host.report(report).await?)
    }
}

/// What was told of the tenant, oldest first.
async fn anomalies(fleet: &Fleet) -> Result<Vec<String>> {
    let events: Vec<SecurityEvent> = fleet.api.all("/v1/events").await?;
    let told = events.into_iter().rev().filter(|event| event.kind == EventKind::MeteringAnomaly);
    Ok(told.map(|event| event.reason).collect())
}

/// The time on the control plane's clock, which the host shares, once it was set ahead by `shift_s`.
fn at(shift_s: i64) -> Timestamp {
    host::clock::now().plus_ms(shift_s * 1_000)
}
