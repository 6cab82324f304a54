//! `network drift`: where hosts differ from what was declared.

use crate::client::{Call, Client, LIST_MAX};
use crate::failure::{Exit, Outcome};
use crate::output::{Format, Output, columns, or_dash, printable};
use api::network::{Driver, HostView, Place};
use terms::Timestamp;

/// How long a host may be silent: NET-8 promises that drift is reported within a minute.
const SILENT_MS: i64 = 60_000;

/// How a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is as it was declared.
    AsDeclared,
    /// It differs.
    Differs,
    /// It has not compared itself yet.
    Unchecked,
    /// It has not reported for longer than it may.
    Silent,
    /// It has no networks, so there is nothing to compare.
    NoNetworks,
}

/// Shows every host.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(super) async fn run(client: &Client, output: &mut Output<'_>) -> Outcome<Exit> {
    let hosts: Vec<HostView> = client.list(Call::to("list_network_hosts"), LIST_MAX).await?;
    let now = host::clock::now();
    match output.format() {
        Format::Json => output.json(&hosts)?,
        Format::Table => output.text(&text(&hosts, now))?,
    }
    let is_open = hosts.iter().any(|host| is_open(standing(host, now)));
    Ok(if is_open { Exit::Unheld } else { Exit::Success })
}

fn standing(host: &HostView, now: Timestamp) -> Standing {
    match (host.driver, host.reported_at) {
        (Some(Driver::Loopback), _) => Standing::NoNetworks,
        (None, _) | (_, None) => Standing::Unchecked,
        (Some(Driver::Linux), Some(_)) if !host.drift.open.is_empty() => Standing::Differs,
        (Some(Driver::Linux), Some(at)) if now.ms_since(at) > SILENT_MS => Standing::Silent,
        (Some(Driver::Linux), Some(_)) if host.drift.checked_at.is_none() => Standing::Unchecked,
        (Some(Driver::Linux), Some(_)) => Standing::AsDeclared,
    }
}

const fn is_open(standing: Standing) -> bool {
    match standing {
        Standing::AsDeclared | Standing::NoNetworks => false,
        Standing::Differs | Standing::Unchecked | Standing::Silent => true,
    }
}

const fn standing_text(standing: Standing) -> &'static str {
    match standing {
        Standing::AsDeclared => "as declared",
        Standing::Differs => "differs",
        Standing::Unchecked => "not compared yet",
        Standing::Silent => "silent",
        Standing::NoNetworks => "no networks",
    }
}

fn text(hosts: &[HostView], now: Timestamp) -> String {
    if hosts.is_empty() {
        return "none\n".to_owned();
    }
    let header = [
        "HOST",
        "STANDING",
        "DRIVER",
        "CONTROL PLANE",
        "DESIRED",
        "APPLIED",
        "CHECKED",
        "REPORTED",
        "FOUND",
        "REPAIRED",
        "OPEN",
    ];
    let rows = hosts.iter().map(|host| cells(host, now));
    let table: Vec<Vec<String>> = core::iter::once(header.map(str::to_owned).to_vec()).chain(rows).collect();
    let mut text = columns(&table);
    text.push_str(&open(hosts));
    text.extend(hosts.iter().filter(|host| !host.missing.is_empty()).map(|host| {
        printable(&format!("\nhost {} has a kernel that lacks: {}\n", host.node, host.missing.join(", ")))
    }));
    if hosts.iter().any(|host| standing(host, now) == Standing::NoNetworks) {
        text.push_str("\nwhere the driver is loopback, NET-1 to NET-5 are not enforced\n");
    }
    text
}

fn cells(host: &HostView, now: Timestamp) -> Vec<String> {
    let driver = host.driver.map(|driver| match driver {
        Driver::Linux => "linux",
        Driver::Loopback => "loopback",
    });
    let place = host.place.map(|place| match place {
        Place::Here => "here",
        Place::Elsewhere => "elsewhere",
    });
    let drift = &host.drift;
    vec![
        host.node.to_string(),
        standing_text(standing(host, now)).to_owned(),
        or_dash(driver),
        or_dash(place),
        host.desired.to_string(),
        host.applied.to_string(),
        or_dash(drift.checked_at),
        or_dash(host.reported_at),
        drift.found.to_string(),
        drift.repaired.to_string(),
        drift.open.len().to_string(),
    ]
}

/// Each open difference of each host.
fn open(hosts: &[HostView]) -> String {
    let rows = hosts.iter().flat_map(|host| {
        host.drift.open.iter().map(|drift| {
            vec![
                host.node.to_string(),
                drift.found_at.to_string(),
                drift.code.clone(),
                drift.namespace.clone(),
                drift.detail.clone(),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["HOST", "FOUND AT", "CODE", "NAMESPACE", "WHAT DIFFERS"].map(str::to_owned).to_vec();
    format!("\n{}", columns(&core::iter::once(header).chain(rows).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::network::{DriftReport, DriftView};
    use terms::NodeId;

    #[test]
    fn a_host_is_as_declared_only_if_it_says_so_and_said_so_lately() {
        let good = host();
        let open = DriftView {
            found_at: Timestamp::EPOCH,
            code: "sysctl".into(),
            namespace: "router".into(),
            detail: "rp_filter should be 1".into(),
        };
        let drift = DriftReport { open: vec![open], ..good.drift.clone() };
        let unchecked = DriftReport { checked_at: None, ..good.drift.clone() };
        for (host, expected, is_red) in [
            (good.clone(), Standing::AsDeclared, false),
            (HostView { drift, ..good.clone() }, Standing::Differs, true),
            (HostView { drift: unchecked, ..good.clone() }, Standing::Unchecked, true),
            (HostView { driver: None, ..good.clone() }, Standing::Unchecked, true),
            (HostView { reported_at: None, ..good.clone() }, Standing::Unchecked, true),
            (HostView { reported_at: Some(at(39)), ..good.clone() }, Standing::Silent, true),
            (HostView { driver: Some(Driver::Loopback), ..good }, Standing::NoNetworks, false),
        ] {
            let found = standing(&host, at(100));
            assert_eq!((found, is_open(found)), (expected, is_red));
            assert!(text(core::slice::from_ref(&host), at(100)).contains(standing_text(expected)));
        }
    }

    #[test]
    fn every_open_difference_is_told_and_so_is_what_a_kernel_lacks() {
        let mut host = host();
        host.missing = vec!["landlock_tcp".into()];
        host.drift.open = vec![DriftView {
            found_at: at(90),
            code: "address".into(),
            namespace: "tenant-1".into(),
            detail: "eth0 has \u{1b}[2J".into(),
        }];
        let text = text(&[host], at(100));
        assert!(text.contains("WHAT DIFFERS") && text.contains("address  tenant-1"), "{text}");
        assert!(text.contains("lacks: landlock_tcp") && !text.contains('\u{1b}'), "{text}");
    }

    fn host() -> HostView {
        HostView {
            node: NodeId::from_bytes([7; 16]),
            driver: Some(Driver::Linux),
            place: Some(Place::Here),
            desired: 4,
            applied: 4,
            reported_at: Some(at(95)),
            drift: DriftReport { checked_at: Some(at(95)), found: 2, repaired: 2, open: vec![] },
            missing: vec![],
        }
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }
}
