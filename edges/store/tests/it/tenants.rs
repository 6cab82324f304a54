//! Tenants, and what is left when one is deleted.

use crate::seed::seed_every_table;
use crate::world::{NOW, World, entry, of, platform, tenant};
use std::collections::BTreeSet;
use store::{DATA_MAP, Page, StoreError, TenantState, WriteError};
use terms::{TenantId, TenantRef};

contracts! {
    a_tenant_is_found_by_id_and_by_name,
    a_taken_name_is_a_conflict_and_changes_nothing,
    tenants_come_in_pages_without_gap_or_repetition,
    a_state_is_saved,
    a_deleted_tenant_leaves_nothing_but_sealed_audit_entries,
    what_is_said_of_an_unknown_tenant_is_kept_by_the_platform,
}

async fn a_tenant_is_found_by_id_and_by_name(world: World) {
    let id = world.tenant("demo").await;
    let mut reader = world.store.read().await.unwrap();
    let loaded = reader.tenants().load(&of(id), id).await.unwrap();
    assert_eq!((loaded.name.as_str(), loaded.state, loaded.created_at), ("demo", TenantState::Active, NOW));
    for which in [TenantRef::Id(id), TenantRef::Name("demo".parse().unwrap())] {
        assert_eq!(reader.tenants().find(&of(id), &which).await.unwrap(), Some(loaded.clone()));
    }
    let absent = TenantRef::Name("other".parse().unwrap());
    assert_eq!(reader.tenants().find(&platform(), &absent).await.unwrap(), None);
    assert_eq!(reader.tenants().load(&platform(), id!(TenantId)).await, Err(StoreError::NotFound("tenant")));
}

async fn a_taken_name_is_a_conflict_and_changes_nothing(world: World) {
    world.tenant("demo").await;
    let second = tenant("demo");
    let id = second.id;
    let refused = write!(world, |tx| {
        tx.audit(entry("tenant/second", None));
        tx.tenants().insert(&platform(), &second).await
    });
    assert_eq!(refused, Err(WriteError::Work(StoreError::Conflict("row"))));
    let mut reader = world.store.read().await.unwrap();
    assert!(reader.tenants().load(&platform(), id).await.is_err());
    assert_eq!(reader.audit_log().head().await.unwrap().size, 0);
    assert_eq!(
        world.place.number("SELECT count(*) FROM vault_keys").await,
        6,
        "the platform's and one tenant's"
    );
}

async fn tenants_come_in_pages_without_gap_or_repetition(world: World) {
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(world.tenant(&format!("t{n}")).await);
    }
    let mut reader = world.store.read().await.unwrap();
    let (mut listed, mut page) = (Vec::new(), Page::first(3));
    loop {
        let (tenants, next) = reader.tenants().list(&platform(), &page).await.unwrap();
        listed.extend(tenants.iter().map(|tenant| tenant.id));
        let Some(after) = next else { break };
        page.after = Some(after);
    }
    assert_eq!(listed, made);
    let foreign = Page { after: Some("x".to_owned()), limit: 3 };
    let refused = reader.tenants().list(&platform(), &foreign).await;
    assert_eq!(refused, Err(StoreError::Cursor("x".to_owned())));
}

async fn a_state_is_saved(world: World) {
    let id = world.tenant("demo").await;
    let later = NOW.plus_ms(5);
    write!(world, |tx| tx.tenants().save_state(&of(id), id, TenantState::Suspended, later).await).unwrap();
    let saved = world.store.read().await.unwrap().tenants().load(&of(id), id).await.unwrap();
    assert_eq!((saved.state, saved.updated_at), (TenantState::Suspended, later));
    let absent = id!(TenantId);
    let refused =
        write!(world, |tx| tx.tenants().save_state(&platform(), absent, TenantState::Suspended, later).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("tenant"))));
}

async fn a_deleted_tenant_leaves_nothing_but_sealed_audit_entries(world: World) {
    let (doomed, other) = (world.tenant("doomed").await, world.tenant("other").await);
    seed_every_table(&world, doomed).await;
    seed_every_table(&world, other).await;
    let owned: BTreeSet<&str> =
        DATA_MAP.iter().filter(|column| column.column == "tenant_id").map(|column| column.table).collect();
    for table in &owned {
        assert!(rows_of(&world, table, doomed).await > 0, "nothing was seeded in {table}");
    }
    write!(world, |tx| {
        tx.tenants().delete(&platform(), doomed).await?;
        tx.audit(entry("tenant/deleted", Some(doomed)));
        Ok::<_, StoreError>(())
    })
    .unwrap();
    for table in &owned {
        let left = rows_of(&world, table, doomed).await;
        assert_eq!(left > 0, *table == "audit_entries", "{table}");
        assert!(rows_of(&world, table, other).await > 0, "the other tenant lost rows in {table}");
    }
    let traces = traces_of(&world, doomed).await;
    assert_eq!(traces, BTreeSet::from(["audit_entries.tenant_id".to_owned()]));

    let mut reader = world.store.read().await.unwrap();
    let (entries, _) = reader.audit_log().list(&platform(), &Page::first(50)).await.unwrap();
    let (own, _) = reader.audit_log().list_of(&of(doomed), doomed, &Page::first(50)).await.unwrap();
    assert!(
        !own.is_empty() && own.iter().all(|row| row.entry.is_none()),
        "its key is gone from the cache too"
    );
    assert!(entries[0].entry.as_ref().is_some_and(|entry| entry.resource == "tenant/deleted"));
    let head = reader.audit_log().head().await.unwrap();
    let proof = reader.audit_log().inclusion(&platform(), own[0].index, head.size).await.unwrap();
    ledger::verify_inclusion(&own[0].leaf, own[0].index, head.size, &proof, &head.root).unwrap();
    drop(reader);
    let again = write!(world, |tx| tx.tenants().delete(&platform(), doomed).await);
    assert_eq!(again, Err(WriteError::Work(StoreError::NotFound("tenant"))));
}

async fn what_is_said_of_an_unknown_tenant_is_kept_by_the_platform(world: World) {
    let unknown = id!(TenantId);
    let said = crate::world::event("tenant/unknown", Some(unknown));
    let kept = said.clone();
    write!(world, |tx| {
        tx.audit(entry("tenant/unknown", Some(unknown)));
        tx.event(said);
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let mut reader = world.store.read().await.unwrap();
    let (rows, _) = reader.audit_log().list(&platform(), &Page::first(5)).await.unwrap();
    assert_eq!(rows[0].entry.as_ref().unwrap().tenant, Some(unknown));
    let (events, _) = reader.events().list(&platform(), &Page::first(5)).await.unwrap();
    assert_eq!(events, [kept]);
}

async fn rows_of(world: &World, table: &str, tenant: TenantId) -> i64 {
    world.place.number(&format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}'")).await
}

/// Every column in which a tenant's id still stands.
async fn traces_of(world: &World, tenant: TenantId) -> BTreeSet<String> {
    let mut raw = world.place.raw().await;
    let mut traces = BTreeSet::new();
    for column in DATA_MAP {
        let (table, name) = (column.table, column.column);
        let query = format!("SELECT 1 FROM {table} WHERE CAST({name} AS TEXT) LIKE '%{tenant}%' LIMIT 1");
        if !raw.query(&query).await.unwrap().is_empty() {
            traces.insert(format!("{table}.{name}"));
        }
    }
    traces
}
