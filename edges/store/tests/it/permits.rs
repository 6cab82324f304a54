//! No row of a tenant without a permit that reaches it: every method, with another tenant's permit.

use crate::seed::{
    LIMITS, beat, certificate, delivery, document, execution, node, number, outcome, placement,
    seed_every_table, sidecar, token,
};
use crate::world::{NOW, World, of, platform};
use store::{
    AssuranceResult, DATA_MAP, DataPlaneRow, EnrolmentKind, ExecState, ExecutionFilter, NodeState, Page,
    Redeem, StoreError, TenantState, WorkflowState, WriteError,
};
use terms::{Digest, Permit, TenantRef};
use wire::event::EventKind;
use wire::heartbeat::Totals;

contracts! {
    no_read_gets_past_another_tenants_permit,
    no_write_gets_past_another_tenants_permit,
    no_platform_data_without_a_platform_permit,
    nothing_of_hosts_without_a_platform_permit,
}

/// A refusal: said so, or hidden as absence.
fn is_refused<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Denied | StoreError::NotFound(_)))
}

async fn no_read_gets_past_another_tenants_permit(world: World) {
    let (own, foreign) = (world.tenant("own").await, world.tenant("foreign").await);
    seed_every_table(&world, own).await;
    let permit = of(foreign);
    let page = Page::first(9);
    let filter = ExecutionFilter::default();
    let mut reader = world.store.read().await.unwrap();
    let (started, _) = reader.executions().list(&of(own), own, &filter, &page).await.unwrap();
    let (execution, row) = (started[0].id, started[0].clone());
    let meter = reader.sidecars().list(&of(own), own).await.unwrap()[0].id;
    let name = "orders".parse().unwrap();
    let workflow = reader.workflows().find(&of(own), own, &name).await.unwrap().unwrap().id;

    assert!(is_refused(&reader.tenants().load(&permit, own).await));
    assert!(is_refused(&reader.tenants().find(&permit, &TenantRef::Id(own)).await));
    assert!(is_refused(&reader.workflows().find(&permit, own, &name).await));
    assert!(is_refused(&reader.workflows().list(&permit, own, &page).await));
    assert!(is_refused(&reader.workflows().document(&permit, workflow, 1).await));
    assert!(is_refused(&reader.executions().load(&permit, execution).await));
    assert_eq!(reader.executions().find(&permit, execution).await, Ok(None));
    assert!(is_refused(&reader.executions().find_by_idempotency(&permit, own, "key").await));
    assert!(is_refused(&reader.executions().list(&permit, own, &filter, &page).await));
    assert!(is_refused(&reader.executions().input(&permit, execution).await));
    assert!(is_refused(&reader.executions().counts(&permit, own).await));
    assert!(is_refused(&reader.sidecars().load(&permit, meter).await));
    assert!(is_refused(&reader.sidecars().list(&permit, own).await));
    assert!(is_refused(&reader.sidecars().totals_of_others(&permit, own, meter).await));
    assert!(is_refused(&reader.heartbeats().in_chain(&permit, own, meter, 1).await));
    assert_eq!(reader.heartbeats().in_chain(&permit, foreign, meter, 1).await, Ok(None));
    assert!(is_refused(&reader.heartbeats().list(&permit, own, &page).await));
    assert!(is_refused(&reader.heartbeats().usage(&permit, own, NOW, NOW).await));
    assert!(is_refused(&reader.workloads().data_plane(&permit, own).await));
    assert!(is_refused(&reader.placements().of(&permit, own).await));
    assert!(is_refused(&reader.networks().tallies(&permit, own).await));
    assert!(is_refused(&reader.networks().kernel_check(&permit, own).await));
    assert!(is_refused(&reader.audit_log().list_of(&permit, own, &page).await));
    assert_eq!((row.tenant, row.limits), (own, LIMITS), "the owner reads it");
}

async fn no_write_gets_past_another_tenants_permit(world: World) {
    let (own, foreign) = (world.tenant("own").await, world.tenant("foreign").await);
    seed_every_table(&world, own).await;
    let filter = ExecutionFilter::default();
    let mut reader = world.store.read().await.unwrap();
    let (started, _) = reader.executions().list(&of(own), own, &filter, &Page::first(1)).await.unwrap();
    let started = started[0].clone();
    let meter = reader.sidecars().list(&of(own), own).await.unwrap()[0].clone();
    let name: terms::Name = "orders".parse().unwrap();
    let workflow = reader.workflows().find(&of(own), own, &name).await.unwrap().unwrap().id;
    drop(reader);
    write!(world, |tx| {
        let permit = of(foreign);
        let now = NOW.plus_ms(1);
        assert!(is_refused(&tx.tenants().save_state(&permit, own, TenantState::Suspended, now).await));
        assert!(is_refused(&tx.tenants().delete(&permit, own).await));
        let applied = tx.workflows().apply(&permit, own, &name, id!(WorkflowId), &document("x"), now).await;
        assert!(is_refused(&applied));
        let disabled = WorkflowState::Disabled;
        assert!(is_refused(&tx.workflows().set_state(&permit, own, workflow, disabled, now).await));
        let moved = tx.workflows().set_state(&permit, foreign, workflow, disabled, now).await;
        assert_eq!(moved, Err(StoreError::NotFound("workflow")), "named with the wrong tenant");
        let inserted = tx.executions().insert(&permit, &execution(own, "other"), &delivery()).await;
        assert!(is_refused(&inserted));
        assert!(is_refused(&tx.executions().update_delivery(&permit, &started).await));
        let how = outcome(&started, 9);
        assert!(is_refused(
            &tx.executions().record_outcome(&permit, &started, ExecState::Faulted, &how).await
        ));
        assert!(is_refused(&tx.sidecars().insert(&permit, &sidecar(own)).await));
        assert!(is_refused(&tx.sidecars().save_state(&permit, &meter).await));
        let mut stolen = meter.clone();
        stolen.tenant = foreign;
        assert!(is_refused(&tx.sidecars().save_state(&permit, &stolen).await), "named with the wrong tenant");
        let beats = [beat(meter.id, 2, "forged")];
        assert!(is_refused(&tx.heartbeats().insert_batch(&permit, own, &beats).await));
        let added = Totals { steps: 1, ..Totals::default() };
        assert!(is_refused(&tx.heartbeats().add_usage(&permit, own, now, &added).await));
        let token = token(EnrolmentKind::Sidecar, Some(own));
        assert!(is_refused(&tx.enrolments().insert(&permit, &token, now).await));
        assert!(is_refused(
            &tx.workloads().insert_certificate(&permit, &certificate("x", Some(own), 1)).await
        ));
        assert!(is_refused(&tx.workloads().upsert_data_plane(&permit, &data_plane(own)).await));
        assert!(is_refused(&tx.workloads().forget_data_plane(&permit, own).await));
        let host = id!(NodeId);
        assert!(is_refused(&tx.placements().put(&permit, &placement(own, host)).await));
        assert!(is_refused(&tx.placements().take_off(&permit, own).await));
        assert!(is_refused(&tx.networks().put_tally(&permit, own, host, "{}".into()).await));
        assert!(is_refused(&tx.networks().put_kernel_check(&permit, own, "{}".into()).await));
        assert!(is_refused(&tx.networks().add_moved(&permit, own, 1, 1).await));
        let events = [crate::world::event("x", Some(own))];
        assert!(is_refused(&tx.events().insert_batch(&permit, &events).await));
        Ok::<_, StoreError>(())
    })
    .unwrap();
    // What a foreigner keeps under its own tenant, but for another's sidecar, never shows up there.
    let beats = [beat(meter_of(&world, own).await, 2, "forged")];
    write!(world, |tx| tx.heartbeats().insert_batch(&of(foreign), foreign, &beats).await).unwrap();
    let mut reader = world.store.read().await.unwrap();
    let (beats, _) = reader.heartbeats().list(&of(own), own, &Page::first(9)).await.unwrap();
    assert_eq!(beats.len(), 1);
}

async fn no_platform_data_without_a_platform_permit(world: World) {
    let tenant = world.tenant("demo").await;
    let permit: Permit = of(tenant);
    let page = Page::first(9);
    let mut reader = world.store.read().await.unwrap();
    assert!(is_refused(&reader.tenants().list(&permit, &page).await));
    assert!(is_refused(&reader.executions().any_due(&permit, NOW).await));
    assert!(is_refused(&reader.workloads().expiring(&permit, NOW).await));
    assert!(is_refused(&reader.workloads().list_data_planes(&permit, &page).await));
    assert!(is_refused(&reader.audit_log().list(&permit, &page).await));
    assert!(is_refused(&reader.audit_log().raw(&permit, 0, 1).await));
    assert!(is_refused(&reader.audit_log().inclusion(&permit, 0, 1).await));
    assert!(is_refused(&reader.audit_log().consistency(&permit, 0, 1).await));
    assert!(is_refused(&reader.events().list(&permit, &page).await));
    assert!(is_refused(&reader.events().list_of(&permit, EventKind::PlanRefused, &page).await));
    assert!(is_refused(&reader.outbox().next(&permit, 9).await));
    assert!(is_refused(&reader.alarms().list(&permit, &page).await));
    assert!(is_refused(&reader.alarms().open_below(&permit, "x", "y").await));
    assert!(is_refused(&reader.assurance_results().latest(&permit).await));
    assert!(is_refused(&reader.raw_column(&permit, &DATA_MAP[0]).await));
    drop(reader);
    write!(world, |tx| {
        let permit = of(tenant);
        assert!(is_refused(&tx.tenants().insert(&permit, &crate::world::tenant("other")).await));
        assert!(is_refused(&tx.executions().claim_due(&permit, NOW, NOW, 9).await));
        let token = token(EnrolmentKind::Node, None);
        assert!(is_refused(&tx.enrolments().insert(&permit, &token, NOW).await));
        let redeemed = tx.enrolments().redeem(&permit, Digest::sha256(b"x"), NOW).await;
        assert_eq!(redeemed, Err(Redeem::Store(StoreError::Denied)));
        assert!(is_refused(&tx.workloads().insert_certificate(&permit, &certificate("x", None, 1)).await));
        assert!(is_refused(&tx.alarms().close(&permit, "x", "y").await));
        assert!(is_refused(&tx.outbox().ack(&permit, 1).await));
        let events = [crate::world::event("x", None)];
        assert!(is_refused(&tx.events().insert_batch(&permit, &events).await));
        let (control, outcome, facts) = ("X".to_owned(), "pass".to_owned(), "{}".to_owned());
        let result = AssuranceResult { control, time: NOW, outcome, facts, evidence_digest: None };
        assert!(is_refused(&tx.assurance_results().insert(&permit, &result).await));
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let refused = write!(world, |tx| tx.tenants().insert(&of(tenant), &crate::world::tenant("third")).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::Denied)));
    let all = world.store.read().await.unwrap().tenants().list(&platform(), &page).await.unwrap();
    assert_eq!(all.0.len(), 1);
}

async fn nothing_of_hosts_without_a_platform_permit(world: World) {
    let tenant = world.tenant("demo").await;
    let (permit, page) = (of(tenant), Page::first(9));
    let mut reader = world.store.read().await.unwrap();
    let host = id!(NodeId);
    assert!(is_refused(&reader.nodes().all(&permit).await));
    assert!(is_refused(&reader.nodes().list(&permit, &page).await));
    assert!(is_refused(&reader.placements().on(&permit, host).await));
    assert!(is_refused(&reader.placements().touching(&permit, host).await));
    assert!(is_refused(&reader.placements().unplaced(&permit).await));
    assert!(is_refused(&reader.placements().numbers(&permit, host).await));
    assert!(is_refused(&reader.placements().list_numbers(&permit, &page).await));
    assert!(is_refused(&reader.networks().host(&permit, host).await));
    assert!(is_refused(&reader.networks().list_hosts(&permit, &page).await));
    assert!(is_refused(&reader.networks().forwarded(&permit, host, 1).await));
    assert!(is_refused(&reader.networks().desired(&permit, host).await));
    assert!(is_refused(&reader.networks().probe(&permit, host).await));
    assert!(is_refused(&reader.networks().probes(&permit).await));
    drop(reader);
    write!(world, |tx| {
        let permit = of(tenant);
        let node = node();
        assert!(is_refused(&tx.nodes().insert(&permit, &node).await));
        assert!(is_refused(&tx.nodes().seen(&permit, node.id, NOW).await));
        assert!(is_refused(&tx.nodes().set_state(&permit, node.id, NodeState::Draining).await));
        assert!(is_refused(&tx.nodes().remove(&permit, node.id).await));
        assert!(is_refused(&tx.placements().put_number(&permit, &number(node.id, 1, tenant)).await));
        assert!(is_refused(&tx.placements().free_number(&permit, node.id, 1).await));
        assert!(is_refused(&tx.networks().put_host(&permit, &crate::networks::host(node.id)).await));
        assert!(is_refused(&tx.networks().put_desired(&permit, &crate::networks::desired(node.id, 1)).await));
        assert!(is_refused(&tx.networks().ask_probe(&permit, node.id, NOW).await));
        assert!(is_refused(&tx.networks().forget_probes(&permit).await));
        assert!(is_refused(&tx.networks().answer_probe(&permit, node.id, NOW, "{}".into()).await));
        Ok::<_, StoreError>(())
    })
    .unwrap();
}

async fn meter_of(world: &World, tenant: terms::TenantId) -> terms::SidecarId {
    world.store.read().await.unwrap().sidecars().list(&of(tenant), tenant).await.unwrap()[0].id
}

fn data_plane(tenant: terms::TenantId) -> DataPlaneRow {
    let (url, driver) = ("https://x".to_owned(), "loopback".to_owned());
    DataPlaneRow { tenant, url, pid: 1, sidecar_pid: 2, driver, last_seen: NOW }
}
