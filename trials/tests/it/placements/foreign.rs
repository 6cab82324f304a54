//! What none may say: operators for nodes, nodes for other hosts' tenants, numbers and networks.

use super::denied;
use super::fleet::{Fleet, refusal, traffic};
use anyhow::Result;
use api::network::{NetworkState, Place, ReportNetworks};
use api::placement::{ReportPlacements, RunningPlacement, Walls};
use serde_json::{Value, json};
use terms::TenantId;
use wire::audit::AuditEntry;
use wire::event::{EventKind, EventOutcome, SecurityEvent};

/// Every route that is a node's alone.
const OF_NODES: [(&str, &str); 7] = [
    ("GET", "/v1/placements"),
    ("POST", "/v1/placements/report"),
    ("POST", "/v1/placements/search"),
    ("GET", "/v1/networks/desired"),
    ("POST", "/v1/networks/report"),
    ("POST", "/v1/networks/probe-report"),
    ("POST", "/v1/events"),
];

/// Every route of operators that nodes have no business with.
const OF_OPERATORS: [(&str, &str); 8] = [
    ("GET", "/v1/networks"),
    ("GET", "/v1/networks/hosts"),
    ("POST", "/v1/networks/probes"),
    ("GET", "/v1/networks/probes"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/nodes/0190a000-0000-7000-8000-000000000000/drain"),
    ("POST", "/v1/nodes/0190a000-0000-7000-8000-000000000000/resume"),
    ("GET", "/v1/alarms"),
];

#[tokio::test]
async fn an_operator_speaks_for_no_node_and_a_node_for_no_operator() -> Result<()> {
    let fleet = Fleet::new().await?;
    let host = fleet.linux("host").await?;
    for (method, path) in OF_NODES {
        let body = match path {
            "/v1/placements/report" => {
                let walls = Walls { own_uids: true, own_networks: true };
                serde_json::to_value(ReportPlacements { running: Vec::new(), walls })?
            }
            "/v1/placements/search" => json!({ "asked_at": "2026-11-24T08:00:00.000Z", "tenants": [],
                "secrets_sought": 0, "bytes_searched": 0, "unread": [], "found_in": [] }),
            "/v1/networks/report" => serde_json::to_value(host.linux(Place::Here))?,
            "/v1/networks/probe-report" => {
                json!({ "asked_at": "2026-11-24T08:00:00.000Z", "version": 1, "rows": [] })
            }
            _ => json!({ "events": [] }),
        };
        let answer = fleet.ask(method, path, (method == "POST").then_some(body)).await;
        assert_eq!(answer, Err(denied(403, "forbidden")), "{method} {path}");
    }
    for (method, path) in OF_OPERATORS {
        let answer = match method {
            "GET" => refusal(host.get::<Value>(path).await),
            _ => refusal(host.post(path, &json!({})).await),
        };
        assert_eq!(answer, denied(403, "forbidden"), "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_node_speaks_for_no_tenant_and_no_number_of_another_host() -> Result<()> {
    let fleet = Fleet::new().await?;
    let (own, other) = (fleet.linux("own").await?, fleet.linux("other").await?);
    let tenants = [fleet.tenant("a").await?, fleet.tenant("b").await?];
    let theirs = other.tenants().await?[0];
    let ours = *tenants.iter().find(|tenant| **tenant != theirs).unwrap();
    let told = |tenant| ReportNetworks { traffic: vec![traffic(tenant, 5)], ..own.linux(Place::Here) };
    own.report(told(ours)).await?;

    let forbidden = denied(403, "forbidden");
    assert_eq!(refusal(own.report(told(theirs)).await), forbidden, "traffic");
    let applied = fleet.desired(&own).await?.version;
    own.report(ReportNetworks { gone: (1..=155).collect(), applied, ..own.linux(Place::Here) }).await?;
    let networks = fleet.networks().await?;
    assert_eq!(networks.len(), 2, "{networks:?}");
    assert!(
        networks.iter().all(|one| one.state == NetworkState::Held),
        "what is in use is not gone: {networks:?}"
    );
    assert_eq!(refusal(own.post("/v1/placements/report", &running(theirs)).await), forbidden, "processes");
    let token = json!({ "kind": "sidecar", "tenant": theirs });
    assert_eq!(refusal(own.post("/v1/enrolments", &token).await), forbidden, "its identity");
    own.post("/v1/placements/report", &running(ours)).await?;

    for (report, code) in [
        (ReportNetworks { gone: vec![0], ..own.linux(Place::Here) }, "malformed_request"),
        (ReportNetworks { gone: vec![156], ..own.linux(Place::Here) }, "malformed_request"),
        (ReportNetworks { missing: vec!["x".repeat(513)], ..own.linux(Place::Here) }, "body_too_large"),
        (
            ReportNetworks { traffic: vec![traffic(ours, 1); 2], ..own.linux(Place::Here) },
            "malformed_request",
        ),
        (ReportNetworks { traffic: vec![traffic(ours, 1); 156], ..own.linux(Place::Here) }, "body_too_large"),
    ] {
        assert_eq!(refusal(own.report(report).await).code, code);
    }
    // A tenant that is nobody's any more is no offence: the node could not know yet.
    own.report(told(TenantId::from_bytes([9; 16]))).await?;

    let planes: Vec<Value> = fleet.api.all("/v1/data-planes").await?;
    assert_eq!(planes.len(), 1, "{planes:?}");
    // Each refusal is in the log and among the events, under the name of whoever was refused.
    let actor = format!("node/{}", own.id);
    let entries: Vec<AuditEntry> =
        crate::contents::audit_log(&fleet.api).await.into_iter().filter_map(|view| view.entry).collect();
    let denials = |route: &str| {
        let is_it = |entry: &&AuditEntry| {
            entry.actor == actor && entry.outcome == EventOutcome::Denied && entry.resource == route
        };
        entries.iter().filter(is_it).filter(|entry| entry.reason == "forbidden").count()
    };
    let counts = ["route/report_networks", "route/report_placements", "route/issue_enrolment"].map(denials);
    assert_eq!(counts, [1, 1, 1]);
    let events: Vec<SecurityEvent> = fleet.api.all("/v1/events").await?;
    let is_it = |event: &&SecurityEvent| event.kind == EventKind::AuthorizationDenied && event.actor == actor;
    assert_eq!(events.iter().filter(is_it).count(), 3);
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_left_may_speak_of_the_tenant_for_a_moment_and_changes_nothing() -> Result<()> {
    let fleet = Fleet::new().await?;
    let old = fleet.linux("old").await?;
    let tenant = fleet.tenant("a").await?;
    old.post("/v1/placements/report", &running(tenant)).await?;
    let new = fleet.linux("new").await?;
    assert_eq!(fleet.drain(&old).await?.tenants, 0);
    assert_eq!(fleet.api.all::<Value>("/v1/data-planes").await?.len(), 0, "nobody is sent to the old one");
    old.post("/v1/placements/report", &running(tenant)).await?;
    assert_eq!(fleet.api.all::<Value>("/v1/data-planes").await?.len(), 0);
    old.report(ReportNetworks { traffic: vec![traffic(tenant, 5)], ..old.linux(Place::Here) }).await?;
    new.post("/v1/placements/report", &running(tenant)).await?;
    assert_eq!(fleet.api.all::<Value>("/v1/data-planes").await?.len(), 1);
    Ok(())
}

fn running(tenant: TenantId) -> ReportPlacements {
    let url = "https://127.0.0.1:5678".to_owned();
    let walls = Walls { own_uids: true, own_networks: true };
    ReportPlacements { running: vec![RunningPlacement { tenant, url, pid: 1, sidecar_pid: 2 }], walls }
}
