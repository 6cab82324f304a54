//! Placements: who runs whom over several hosts, what each is told, and what none may say of another. The hosts speak
//! as nodes do, with certificates as nodes have, and no kernel behind them.

mod fleet;
mod foreign;
mod metering;
mod time;

use crate::contents::deeds;
use anyhow::Result;
use api::event::AlarmView;
use api::network::{
    DriftReport, DriftView, Driver, HostView, NetworkState, NetworkView, Place, ProbeView, ReportNetworks,
};
use api::node::{NodeState, NodeView};
use fleet::{Fleet, Host, refusal, route};
use serde_json::json;
use std::collections::BTreeSet;
use terms::{EventId, TenantId, Timestamp};
use trials::Denied;
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

#[tokio::test]
async fn tenants_spread_over_the_hosts_and_each_host_knows_its_own_alone() -> Result<()> {
    let fleet = Fleet::new().await?;
    let (first, second) = (fleet.linux("first").await?, fleet.linux("second").await?);
    second.report(second.linux(Place::Elsewhere)).await?;
    let mut made = BTreeSet::new();
    for n in 0..6 {
        made.insert(fleet.tenant(&format!("t{n}")).await?);
    }
    let (here, there) = (first.tenants().await?, second.tenants().await?);
    assert_eq!((here.len(), there.len()), (3, 3));
    assert_eq!(here.iter().chain(&there).copied().collect::<BTreeSet<_>>(), made, "each is somewhere, once");

    let told = fleet.desired(&first).await?;
    assert_eq!((told.node, told.issuer.starts_with("https://localhost:")), (first.id, true));
    assert_eq!(Some(told.version), first.poll().await?.networks_version);
    let numbers: Vec<_> = told.tenants.iter().map(|tenant| (tenant.number, tenant.live)).collect();
    assert_eq!(numbers, [(1, true), (2, true), (3, true)]);
    assert_eq!(told.tenants.iter().map(|tenant| tenant.tenant).collect::<BTreeSet<_>>(), set(&here));
    assert_eq!(told.control_addresses, ["192.0.2.7".parse::<std::net::Ipv4Addr>()?]);
    let ports: Vec<String> = told.data_planes_elsewhere.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["192.0.2.8:20001", "192.0.2.8:20002", "192.0.2.8:20003"]);
    assert_eq!(
        fleet.desired(&second).await?.data_planes_elsewhere,
        [],
        "only the control plane's host goes there"
    );

    let networks = fleet.networks().await?;
    assert_eq!(networks.len(), 6);
    assert!(networks.iter().all(is_whole), "{networks:?}");
    Ok(())
}

fn is_whole(network: &NetworkView) -> bool {
    let kinds: Vec<&str> = network.resources.iter().map(|resource| resource.kind.as_str()).collect();
    let tagged = |tags: &std::collections::BTreeMap<String, String>| {
        tags.get("restricted").is_some_and(|value| value == "true")
    };
    kinds == ["network", "firewall", "nat_gateway"]
        && network.resources.iter().all(|resource| tagged(&resource.tags))
        && network.network == format!("10.{}.0.0/16", 100 + u32::from(network.number))
        && network.data_plane == format!("10.{}.0.10", 100 + u32::from(network.number))
        && network.state == NetworkState::Held
        && network.live
}

#[tokio::test]
async fn a_suspended_tenant_is_cut_off_with_the_next_version_and_versions_only_rise() -> Result<()> {
    let fleet = Fleet::new().await?;
    let host = fleet.linux("host").await?;
    fleet.tenant("demo").await?;
    let first = fleet.desired(&host).await?;
    assert_eq!(fleet.desired(&host).await?, first, "the same as long as nothing changed");

    fleet.ask("POST", "/v1/tenants/demo/suspend", Some(json!({ "reason": "incident" }))).await.unwrap();
    let placements = host.poll().await?;
    assert!(placements.networks_version > Some(first.version) && !placements.placements[0].run);
    let cut = fleet.desired(&host).await?;
    assert_eq!((cut.tenants[0].live, cut.tenants[0].number), (false, first.tenants[0].number));

    fleet.ask("POST", "/v1/tenants/demo/resume", None).await.unwrap();
    let again = fleet.desired(&host).await?;
    assert!(again.tenants[0].live && again.version > cut.version);

    // As after a database that was put back: its host has had a later one.
    let applied = again.version + 1_000_000;
    host.report(ReportNetworks { applied, ..host.linux(Place::Here) }).await?;
    let overtaken = fleet.desired(&host).await?;
    assert!(overtaken.version > applied);
    assert_eq!(overtaken.tenants, again.tenants);
    let absurd = ReportNetworks { applied: u64::MAX, ..host.linux(Place::Here) };
    assert_eq!(refusal(host.report(absurd).await).code, "malformed_request");
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_was_there_before_its_host_gets_its_place_with_the_first_question() -> Result<()> {
    let fleet = Fleet::new().await?;
    let early = fleet.tenant("early").await?;
    let host = fleet.host("host").await?;
    let before = host.poll().await?;
    assert_eq!((before.placements.len(), before.networks_version), (1, None), "no networks reported yet");
    assert_eq!(refusal(host.get::<serde_json::Value>("/v1/networks/desired").await).status, 404);
    host.report(host.linux(Place::Here)).await?;
    let told = fleet.desired(&host).await?;
    assert_eq!(
        told.tenants.iter().map(|tenant| (tenant.tenant, tenant.number)).collect::<Vec<_>>(),
        [(early, 1)]
    );

    // A host that gives its networks up is not silently taken for one that never had any.
    host.report(ReportNetworks { driver: Driver::Loopback, ..host.linux(Place::Here) }).await?;
    assert_eq!(host.poll().await?.networks_version, None);
    let alarms: Vec<AlarmView> = fleet.api.all("/v1/alarms").await?;
    assert_eq!(
        alarms.iter().map(|alarm| (alarm.kind.as_str(), alarm.open)).collect::<Vec<_>>(),
        [("network_drift", true)]
    );
    host.report(host.linux(Place::Here)).await?;
    let alarms: Vec<AlarmView> = fleet.api.all("/v1/alarms").await?;
    assert!(!alarms[0].open);
    assert_eq!(fleet.desired(&host).await?.tenants, told.tenants, "with the number that it had");
    Ok(())
}

#[tokio::test]
async fn networks_across_a_hosts_routes_are_not_given_and_the_route_is_named() -> Result<()> {
    let fleet = Fleet::new().await?;
    let host = fleet.linux("host").await?;
    let routes = vec![route("10.101.0.0/16", "docker0"), route("10.103.7.0/24", "wg0")];
    host.report(ReportNetworks { routes, ..host.linux(Place::Here) }).await?;
    for name in ["a", "b"] {
        fleet.tenant(name).await?;
    }
    let told = fleet.desired(&host).await?;
    assert_eq!(told.tenants.iter().map(|tenant| tenant.number).collect::<Vec<_>>(), [2, 4]);
    let routes = vec![route("10.0.0.0/8", "tun0")];
    host.report(ReportNetworks { routes, ..host.linux(Place::Here) }).await?;
    let (denied, detail) = fleet.refused("c").await?;
    assert_eq!(denied, Denied { status: 409, code: "all_networks_overlap".to_owned() });
    assert!(detail.contains("10.0.0.0/8") && detail.contains("tun0"), "{detail}");
    let routes = vec![route("10.300.0.0/16", "eth0")];
    let refused = host.report(ReportNetworks { routes, ..host.linux(Place::Here) }).await;
    assert_eq!(refusal(refused).code, "malformed_request");
    let api = &fleet.api;
    assert_eq!(api.all::<serde_json::Value>("/v1/tenants").await?.len(), 2, "the refused one was not made");
    Ok(())
}

#[tokio::test]
async fn a_drained_host_hands_its_tenants_over_and_can_then_be_removed() -> Result<()> {
    let fleet = Fleet::new().await?;
    let old = fleet.linux("old").await?;
    let tenants = [fleet.tenant("a").await?, fleet.tenant("b").await?];
    let alone = fleet.drain(&old).await?;
    assert_eq!((alone.state, alone.tenants), (NodeState::Draining, 2), "nobody takes them, and it says so");
    assert_eq!(reasons_of(&fleet, &old).await?, ["no_other_node", "no_other_node"]);
    assert_eq!(
        fleet.ask("DELETE", &format!("/v1/nodes/{}", old.id), None).await,
        Err(denied(409, "node_has_tenants"))
    );

    // As soon as another host is there, they go: the next question of any node settles it.
    let new = fleet.linux("new").await?;
    assert_eq!(set(&new.tenants().await?), BTreeSet::from(tenants));
    assert_eq!(old.tenants().await?, [] as [TenantId; 0]);
    assert_eq!(fleet.desired(&old).await?.tenants, []);
    assert_eq!(fleet.desired(&new).await?.tenants.len(), 2);
    let left: Vec<NetworkState> =
        fleet.networks().await?.iter().filter(|one| one.node == old.id).map(|one| one.state).collect();
    assert_eq!(left, [NetworkState::Leaving; 2]);
    let told = reasons_of(&fleet, &old).await?;
    assert_eq!(told.iter().filter(|reason| *reason == "moved").count(), 2, "{told:?}");

    let back: NodeView = fleet.api.post(&format!("/v1/nodes/{}/resume", old.id), &()).await?;
    assert_eq!((back.state, back.tenants), (NodeState::Active, 0));
    let third = fleet.tenant("c").await?;
    assert_eq!(old.tenants().await?, [third], "tenants come to it again");
    assert_eq!(fleet.drain(&old).await?.tenants, 0, "there is room elsewhere");
    assert_eq!(fleet.ask("DELETE", &format!("/v1/nodes/{}", old.id), None).await, Ok(json!(null)));
    let nodes: Vec<NodeView> = fleet.api.all("/v1/nodes").await?;
    assert_eq!(nodes.iter().map(|node| (node.id, node.tenants)).collect::<Vec<_>>(), [(new.id, 3)]);
    assert!(fleet.networks().await?.iter().all(|one| one.node == new.id));
    // Its certificate is still good, and worth nothing.
    for path in ["/v1/placements", "/v1/networks/desired"] {
        assert_eq!(refusal(old.get::<serde_json::Value>(path).await), denied(403, "forbidden"), "{path}");
    }
    assert_eq!(refusal(old.report(old.linux(Place::Here)).await), denied(403, "forbidden"));
    assert_eq!(refusal(old.tell(&drift_event(&old, "router")).await), denied(403, "forbidden"));
    let done: Vec<String> = deeds(&fleet.api)
        .await
        .into_iter()
        .filter_map(|view| view.entry)
        .filter(|entry| entry.action == "node.drain" && entry.outcome == EventOutcome::Success)
        .map(|entry| entry.reason)
        .collect();
    assert_eq!(set(&done), set(&["drained", "resumed", "removed"].map(str::to_owned)));
    Ok(())
}

#[tokio::test]
async fn drift_raises_an_alarm_at_once_and_only_a_repaired_host_closes_it() -> Result<()> {
    let fleet = Fleet::new().await?;
    let host = fleet.linux("host").await?;
    let open = async || -> Result<Vec<String>> {
        let alarms: Vec<AlarmView> = fleet.api.all("/v1/alarms").await?;
        Ok(alarms.into_iter().filter(|alarm| alarm.open).map(|alarm| alarm.resource).collect())
    };
    let at = |namespace: &str| format!("node/{}/network/{namespace}", host.id);
    let event = drift_event(&host, "router");
    for _ in 0..2 {
        host.post("/v1/events", &json!({ "events": [event] })).await.ok();
    }
    assert_eq!(open().await?, [at("router")], "one, however often it is told");
    let differs = |namespace: &str| DriftReport {
        checked_at: Some(Timestamp::from_unix_ms(1)),
        found: 2,
        repaired: 1,
        open: vec![DriftView {
            found_at: Timestamp::from_unix_ms(1),
            code: "link.down".to_owned(),
            namespace: namespace.to_owned(),
            detail: "the link is down".to_owned(),
        }],
    };
    host.report(ReportNetworks { drift: differs("tenant-1"), ..host.linux(Place::Here) }).await?;
    assert_eq!(
        open().await?,
        [at("tenant-1")],
        "an event that is lost hides nothing, and the other is repaired"
    );
    let late = ReportNetworks { counted_at: Some(Timestamp::from_unix_ms(1)), ..host.linux(Place::Here) };
    host.report(late).await?;
    assert_eq!(open().await?, [at("tenant-1")], "a report that came late closes nothing");
    let hosts: Vec<HostView> = fleet.api.all("/v1/networks/hosts").await?;
    assert_eq!((hosts[0].driver, hosts[0].drift.clone()), (Some(Driver::Linux), differs("tenant-1")));
    host.report(host.linux(Place::Here)).await?;
    assert_eq!(open().await?, [] as [String; 0]);
    Ok(())
}

#[tokio::test]
async fn probes_are_asked_for_answered_once_and_kept() -> Result<()> {
    let fleet = Fleet::new().await?;
    let host = fleet.host("host").await?;
    assert_eq!(
        fleet.ask("POST", "/v1/networks/probes", None).await,
        Err(denied(409, "networks_not_enforced"))
    );
    host.report(host.linux(Place::Here)).await?;
    assert_eq!(host.poll().await?.probe_asked_at, None);
    let asked: ProbeView = fleet.api.post("/v1/networks/probes", &()).await?;
    assert_eq!((asked.waiting.clone(), asked.hosts.len()), (vec![host.id], 0));
    let again: ProbeView = fleet.api.post("/v1/networks/probes", &()).await?;
    assert_eq!(again, asked, "whoever asks meanwhile joins the question");
    let asked_at = host.poll().await?.probe_asked_at.unwrap();
    host.answer(asked_at.plus_ms(-1)).await?;
    assert_eq!(fleet.api.get::<ProbeView>("/v1/networks/probes").await?, asked, "another question's answer");
    host.answer(asked_at).await?;
    let answered: ProbeView = fleet.api.get("/v1/networks/probes").await?;
    assert_eq!((answered.waiting, answered.hosts.len(), answered.asked_at), (vec![], 1, Some(asked_at)));
    assert_eq!(host.poll().await?.probe_asked_at, None, "one answer is enough");
    Ok(())
}

/// What the events say of a node, oldest first.
async fn reasons_of(fleet: &Fleet, host: &Host) -> Result<Vec<String>> {
    let events: Vec<SecurityEvent> = fleet.api.all("/v1/events").await?;
    let of_it = |event: &&SecurityEvent| {
        event.kind == EventKind::NodeChanged
            && event.resource == format!("node/{}", host.id)
            && event.tenant.is_some()
    };
    Ok(events.iter().rev().filter(of_it).map(|event| event.reason.clone()).collect())
}

fn drift_event(host: &Host, namespace: &str) -> SecurityEvent {
    let now = Timestamp::from_unix_ms(1_795_507_200_000);
    SecurityEvent {
        id: EventId::mint(now, [7; 10]),
        time: now,
        plane: Plane::Node,
        kind: EventKind::NetworkDrift,
        actor: format!("node/{}", host.id),
        resource: format!("network/{namespace}"),
        tenant: None,
        outcome: EventOutcome::Failure,
        reason: "drift.table".to_owned(),
        address: None,
        count: 1,
    }
}

fn denied(status: u16, code: &str) -> Denied {
    Denied { status, code: code.to_owned() }
}

fn set<T: Ord + Clone>(items: &[T]) -> BTreeSet<T> {
    items.iter().cloned().collect()
}
