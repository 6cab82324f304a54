//! Command lines about networks and nodes.

use super::{failed, tenant};
use crate::failure::Exit;
use crate::fake_api::FakeApi;
use api::{Code, Problem};
use serde_json::{Value, json};
use terms::{NodeId, TenantId, Timestamp};

const LIST: &str = "GET /v1/networks?limit=200";
const HOSTS: &str = "GET /v1/networks/hosts?limit=200";
const ASK: &str = "POST /v1/networks/probes";
const ANSWERS: &str = "GET /v1/networks/probes";

#[tokio::test]
async fn networks_are_listed_and_one_is_shown_by_its_tenants_name_or_id() {
    let api = FakeApi::start().await;
    let left = json!({ "number": 2, "network": "10.102.0.0/16", "state": "leaving", "since": at(9) });
    api.on(
        LIST,
        &json!({ "items": [network(json!({})), network(left), network(json!({ "tenant": null }))] }),
    );
    let (outcome, printed) = api.palisade(&["network", "list"]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    let row = printed.lines().nth(1).unwrap();
    assert!(row.starts_with("acme    10.101.0.0/16  10.101.0.10  10.101.0.11  held     yes"), "{printed}");
    for tenant in ["acme", "01010101-0101-0101-0101-010101010101"] {
        let (outcome, printed) = api.palisade(&["network", "show", tenant]).await;
        assert_eq!(outcome, Ok(Exit::Success));
        // The one where it lives, not the one that it left later.
        for line in [
            "network         10.101.0.0/16",
            "memory          512.0 MiB",
            "processor       1.000 cores",
            "sent            1.5 KiB in 3 packets since 1970-01-01T00:00:01Z",
            "processor time  1.500 s",
            "resource        nat_gateway palisade-t1: restricted=true",
        ] {
            assert!(printed.contains(line), "no `{line}` in:\n{printed}");
        }
    }
}

#[tokio::test]
async fn a_tenant_without_a_network_is_not_found_with_the_reason_where_to_look() {
    let api = FakeApi::start().await;
    api.on(LIST, &json!({ "items": [] }));
    let failure = failed(&api, &["network", "show", "acme"]).await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::NotFound, "not_found"));
    assert!(failure.next_step.contains("palisade network drift"), "{failure:?}");
}

#[tokio::test]
async fn a_probe_asks_waits_for_every_host_and_ends_as_the_walls_do() {
    let api = FakeApi::start().await;
    api.on(ASK, &json!({ "asked_at": at(7), "waiting": [node()], "hosts": [] }));
    for (held, exit) in [(40, Exit::Success), (39, Exit::Unheld)] {
        api.on(ANSWERS, &json!({ "asked_at": at(7), "waiting": [], "hosts": [probed(40, held)] }));
        let (outcome, printed) = api.palisade(&["network", "probe"]).await;
        assert_eq!(outcome, Ok(exit), "{printed}");
        assert!(printed.contains("NET-1    tenant-1  tenant-2  no       40     "), "{printed}");
        assert_eq!(printed.contains("tcp 22 to 10.102.0.10: connected"), held == 39, "{printed}");
    }
    let (_, printed) = api.palisade(&["network", "probe", "-o", "json"]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["hosts"][0]["report"]["rows"][0]["held"], 39);
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_waited_for_only_so_long() {
    let api = FakeApi::start().await;
    let silent = json!({ "asked_at": at(7), "waiting": [node()], "hosts": [] });
    api.on(ASK, &silent);
    api.on(ANSWERS, &silent);
    let (outcome, printed) = api.palisade(&["network", "probe", "--wait-s", "1"]).await;
    assert_eq!(outcome, Ok(Exit::Unheld));
    assert!(printed.contains("has not answered") && printed.contains("0 of 1 hosts answered"), "{printed}");
}

#[tokio::test]
async fn where_nothing_can_be_probed_nothing_is_said_to_hold() {
    let api = FakeApi::start().await;
    api.on(ASK, &json!({ "asked_at": at(7), "waiting": [], "hosts": [] }));
    let (outcome, printed) = api.palisade(&["network", "probe"]).await;
    assert_eq!(outcome, Ok(Exit::Unheld));
    assert!(printed.contains("NET-1 to NET-5 are not enforced"), "{printed}");
    api.on_problem(ASK, &Problem::new(Code::NetworksNotEnforced));
    assert_eq!(failed(&api, &["network", "probe"]).await.exit, Exit::Unheld);
    api.on(ASK, &json!({ "waiting": [], "hosts": [] }));
    assert_eq!(failed(&api, &["network", "probe"]).await.code, "answer_malformed");
}

#[tokio::test]
async fn open_drift_is_shown_and_ends_the_command() {
    let api = FakeApi::start().await;
    api.on(HOSTS, &json!({ "items": [host(json!([]))] }));
    let (outcome, printed) = api.palisade(&["network", "drift"]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    assert!(printed.contains("as declared  linux"), "{printed}");
    let open = json!({
        "found_at": at(5), "code": "route_extra", "namespace": "tenant-1", "detail": "routes has `0.0.0.0/1`",
    });
    api.on(HOSTS, &json!({ "items": [host(json!([open]))] }));
    let (outcome, printed) = api.palisade(&["network", "drift"]).await;
    assert_eq!(outcome, Ok(Exit::Unheld));
    assert!(printed.contains("route_extra  tenant-1   routes has `0.0.0.0/1`"), "{printed}");
}

#[tokio::test]
async fn the_policy_is_written_for_other_platforms_as_the_engine_writes_it() {
    let api = FakeApi::start().await;
    api.on("GET /v1/tenants?limit=200", &json!({ "items": [tenant("acme")] }));
    api.on(LIST, &json!({ "items": [network(json!({ "number": 7 }))] }));
    let (outcome, printed) = api.palisade(&["network", "export", "--format", "kubernetes"]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    assert!(printed.starts_with("---\n") && printed.contains("kind: NetworkPolicy"), "{printed}");
    assert!(printed.contains("name: palisade-01010101-0101-0101-0101-010101010101"), "{printed}");
    let folder = api.path("exports");
    let folder = folder.to_str().unwrap();
    for (format, file, holds) in [
        ("terraform", "palisade-networks.tf.json", "10.107.0.0/16"),
        ("cilium", "palisade-networks.cilium.yaml", "kind: CiliumNetworkPolicy"),
        ("kubernetes", "palisade-networks.yaml", "kind: NetworkPolicy"),
    ] {
        let (outcome, printed) =
            api.palisade(&["network", "export", "--format", format, "--folder", folder]).await;
        assert_eq!(outcome, Ok(Exit::Success));
        assert!(printed.starts_with("1 tenants in ") && printed.trim_end().ends_with(file), "{printed}");
        let written = std::fs::read_to_string(api.path("exports").join(file)).unwrap();
        assert!(written.contains(holds), "{written}");
    }
}

#[tokio::test]
async fn nodes_are_listed_drained_resumed_and_removed() {
    let api = FakeApi::start().await;
    let view = |state: &str| {
        json!({
            "id": node(), "state": state, "enrolled_at": at(1), "last_seen_at": at(2), "tenants": 3,
            "driver": "linux",
        })
    };
    api.on("GET /v1/nodes?limit=200", &json!({ "items": [view("active")] }));
    let (_, printed) = api.palisade(&["node", "list"]).await;
    assert!(printed.lines().nth(1).unwrap().contains("active  linux   3        1970-"), "{printed}");
    let id = node().to_string();
    for (verb, state) in [("drain", "draining"), ("resume", "active")] {
        api.on(&format!("POST /v1/nodes/{id}/{verb}"), &view(state));
        let (outcome, printed) = api.palisade(&["node", verb, &id]).await;
        assert_eq!(outcome, Ok(Exit::Success));
        assert!(printed.contains(&format!("state      {state}")), "{printed}");
    }
    let line = format!("DELETE /v1/nodes/{id}");
    api.on_problem(&line, &Problem::new(Code::TenantDeleting));
    assert_eq!(failed(&api, &["node", "remove", &id]).await.exit, Exit::Failure);
    api.on_bytes(&line, b"");
    let (outcome, printed) = api.palisade(&["node", "remove", &id]).await;
    assert_eq!(outcome, Ok(Exit::Success));
    assert!(printed.contains("palisade node reset --yes"), "{printed}");
}

#[tokio::test]
async fn a_reset_is_about_this_host_and_has_to_be_meant() {
    let mut sink = Vec::new();
    let unmeant = crate::cli::invoke_with(&["palisade", "node", "reset"], &mut sink).await.unwrap_err();
    assert_eq!(unmeant.exit, Exit::Usage);
    assert!(unmeant.next_step.contains("palisade node reset --yes"), "{unmeant:?}");
    let api = FakeApi::start().await;
    assert_eq!(failed(&api, &["node", "reset", "--yes"]).await.exit, Exit::Usage);
    assert!(api.asked().is_empty(), "no control plane is asked");
}

fn network(changed: Value) -> Value {
    let mut network = json!({
        "tenant": TenantId::from_bytes([1; 16]), "tenant_name": "acme", "node": node(), "number": 1,
        "network": "10.101.0.0/16", "data_plane": "10.101.0.10", "sidecar": "10.101.0.11",
        "state": "held", "since": at(3), "live": true, "quota": wire::networks::Quota::default(),
        "traffic": {
            "tenant": TenantId::from_bytes([1; 16]), "since": at(1), "sent_bytes": 1_536, "sent_packets": 3,
            "received_bytes": 0, "received_packets": 0, "cpu_time_us": 1_500_000,
        },
        "resources": [
            { "kind": "nat_gateway", "name": "palisade-t1", "tags": { "restricted": "true" } },
        ],
    });
    network.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    network
}

fn probed(tried: u32, held: u32) -> Value {
    let mismatches = if held < tried { json!(["tcp 22 to 10.102.0.10: connected"]) } else { json!([]) };
    json!({ "node": node(), "report": { "asked_at": at(7), "version": 3, "rows": [{
        "control": "NET-1", "from": "tenant-1", "to": "tenant-2", "allowed": false,
        "why": "no other tenant", "tried": tried, "held": held, "mismatches": mismatches,
    }] } })
}

fn host(open: Value) -> Value {
    let now = host::clock::now();
    json!({
        "node": node(), "driver": "linux", "place": "here", "desired": 3, "applied": 3, "reported_at": now,
        "drift": { "checked_at": now, "found": 1, "repaired": 0, "open": open }, "missing": [],
    })
}

fn node() -> NodeId {
    NodeId::from_bytes([7; 16])
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_unix_s(s)
}
