//! What the control plane is told of this host's networks: when something changed, and every now and then.

use crate::uplink::Reports;
use api::network::limits::{MISSING_MAX, TEXT_MAX};
use api::network::{DriftReport, Driver, Place, ReportNetworks, TenantTraffic};
use serve::identity::ControlPlane;
use terms::TenantId;

/// The reports, and what the next one says.
pub(crate) struct NetworkReports {
    reports: Reports<ReportNetworks>,
    now: Option<ReportNetworks>,
}

impl NetworkReports {
    pub(crate) fn new(to: ControlPlane) -> Self {
        Self { reports: Reports::new(to, "/v1/networks/report", brings_no_news), now: None }
    }

    /// Takes in how the networks stand, with the walls that the host lacks and the processor time of each tenant.
    pub(crate) fn take(
        &mut self,
        networks: Option<ReportNetworks>,
        missing: Vec<String>,
        cpu_time_us: impl Fn(TenantId) -> Option<u64>,
    ) {
        let timed =
            |passed: TenantTraffic| TenantTraffic { cpu_time_us: cpu_time_us(passed.tenant), ..passed };
        self.now = networks.map(|networks| ReportNetworks {
            traffic: networks.traffic.into_iter().map(timed).collect(),
            missing: missing.into_iter().take(MISSING_MAX).map(shortened).collect(),
            ..networks
        });
    }

    /// Tells how things stand, once it is time to. A call that is dropped before it resolves goes on the next time.
    pub(crate) async fn tell(&mut self) {
        match &self.now {
            Some(now) => self.reports.tell(now).await,
            None => core::future::pending().await,
        }
    }
}

/// Nobody on another host could reach data planes on the loopback.
pub(super) fn on_loopback() -> ReportNetworks {
    ReportNetworks {
        driver: Driver::Loopback,
        place: Place::Here,
        address: None,
        counted_at: None,
        routes: Vec::new(),
        applied: 0,
        gone: Vec::new(),
        traffic: Vec::new(),
        drift: DriftReport::default(),
        missing: Vec::new(),
    }
}

/// Traffic, the time of the last look and the place in the row are no news: they change with every packet and look.
fn brings_no_news(told: &ReportNetworks, now: &ReportNetworks) -> bool {
    let ReportNetworks {
        driver,
        place,
        address,
        counted_at: _,
        routes,
        applied,
        gone,
        traffic: _,
        drift,
        missing,
    } = now;
    let DriftReport { checked_at: _, found, repaired, open } = drift;
    (told.driver, told.place, told.address, told.applied) == (*driver, *place, *address, *applied)
        && (told.drift.found, told.drift.repaired) == (*found, *repaired)
        && told.drift.open == *open
        && told.routes == *routes
        && told.gone == *gone
        && told.missing == *missing
}

/// The beginning of a text that a kernel wrote.
fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::Timestamp;

    #[test]
    fn traffic_and_the_time_of_the_last_look_are_no_news_and_anything_else_is() {
        let told = on_loopback();
        let passed = TenantTraffic {
            tenant: TenantId::from_bytes([1; 16]),
            since: Timestamp::EPOCH,
            sent_bytes: 1,
            sent_packets: 1,
            received_bytes: 1,
            received_packets: 1,
            cpu_time_us: None,
        };
        let drift = DriftReport { checked_at: Some(Timestamp::EPOCH), ..DriftReport::default() };
        let quiet = ReportNetworks { traffic: vec![passed], drift, ..told.clone() };
        assert!(brings_no_news(&told, &quiet));
        for news in [
            ReportNetworks { applied: 1, ..told.clone() },
            ReportNetworks { gone: vec![1], ..told.clone() },
            ReportNetworks { missing: vec!["landlock".to_owned()], ..told.clone() },
            ReportNetworks { drift: DriftReport { found: 1, ..DriftReport::default() }, ..told.clone() },
        ] {
            assert!(!brings_no_news(&told, &news), "{news:?}");
        }
    }
}
