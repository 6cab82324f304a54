//! Migrations, and the data map against the schema that they make.

use crate::seed::{delivery, execution, node};
use crate::world::{Cell, World, of, platform};
use std::collections::BTreeSet;
use store::{Class, DATA_MAP, OpenError, Protection};

contracts! {
    an_empty_database_is_migrated_once,
    a_database_of_the_first_release_is_brought_up_to_date,
    a_newer_schema_is_refused_and_left_alone,
    an_edited_migration_is_refused,
    the_data_map_names_every_column_and_no_other,
    sealed_columns_hold_bytes,
}

async fn an_empty_database_is_migrated_once(world: World) {
    let known = world.place.number("SELECT count(*) FROM schema_migrations").await;
    assert!(known >= 1);
    world.tenant("demo").await;
    let world = world.reopened().await;
    assert_eq!(world.place.number("SELECT count(*) FROM schema_migrations").await, known);
    let page = store::Page::first(9);
    let tenants = world.store.read().await.unwrap().tenants().list(&platform(), &page).await.unwrap();
    assert_eq!(tenants.0.len(), 1);
}

async fn a_database_of_the_first_release_is_brought_up_to_date(world: World) {
    let tenant = world.tenant("demo").await;
    let new = execution(tenant, "key");
    let id = new.id;
    let host = node();
    let old = host.clone();
    write!(world, |tx| tx.nodes().insert(&platform(), &old).await).unwrap();
    write!(world, |tx| tx.executions().insert(&of(tenant), &new, &delivery()).await).unwrap();
    world.store.close().await;
    for undone in [
        "DROP TABLE kernel_checks",
        "DROP TABLE network_traffic",
        "DROP TABLE network_probes",
        "DROP TABLE desired_networks",
        "DROP TABLE host_networks",
        "DROP TABLE network_numbers",
        "DROP TABLE placements",
        "ALTER TABLE nodes DROP COLUMN state",
        "ALTER TABLE executions DROP COLUMN plan_key",
        "ALTER TABLE execution_inputs DROP COLUMN plan_token",
        "DELETE FROM schema_migrations WHERE version > 1",
    ] {
        world.place.execute(undone).await;
    }
    let world = world.reopened().await;
    let mut reader = world.store.read().await.unwrap();
    let kept = reader.executions().load(&of(tenant), id).await.unwrap();
    assert_eq!((kept.plan_id.is_some(), kept.plan_key), (true, None));
    assert_eq!(reader.nodes().find(host.id).await, Ok(Some(host)), "it takes tenants");
    assert_eq!(reader.placements().unplaced(&platform()).await, Ok(vec![tenant]));
    assert_eq!(world.place.number("SELECT max(version) FROM schema_migrations").await, 3);
}

async fn a_newer_schema_is_refused_and_left_alone(world: World) {
    world.store.close().await;
    let known = world.place.number("SELECT max(version) FROM schema_migrations").await;
    let newer = known + 2;
    for version in known + 1..=newer {
        world
            .place
            .execute(&format!("INSERT INTO schema_migrations (version, digest) VALUES ({version}, 'x')"))
            .await;
    }
    let refused = world.place.open().await.err();
    assert_eq!(refused, Some(OpenError::NewerSchema { found: newer, known }));
    assert_eq!(world.place.number("SELECT max(version) FROM schema_migrations").await, newer);
}

async fn an_edited_migration_is_refused(world: World) {
    world.store.close().await;
    world.place.execute("UPDATE schema_migrations SET digest = 'x' WHERE version = 1").await;
    assert_eq!(world.place.open().await.err(), Some(OpenError::EditedSchema(1)));
}

async fn the_data_map_names_every_column_and_no_other(world: World) {
    let mapped: BTreeSet<_> = DATA_MAP.iter().map(|c| format!("{}.{}", c.table, c.column)).collect();
    assert_eq!(mapped.len(), DATA_MAP.len(), "a column is classified twice");
    let actual = columns(&world).await.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let unclassified: Vec<_> = actual.difference(&mapped).collect();
    let stale: Vec<_> = mapped.difference(&actual).collect();
    assert!(unclassified.is_empty() && stale.is_empty(), "unclassified {unclassified:?}, stale {stale:?}");
}

async fn sealed_columns_hold_bytes(world: World) {
    let bytes: BTreeSet<_> = columns(&world)
        .await
        .into_iter()
        .filter(|(_, holds_bytes)| *holds_bytes)
        .map(|(name, _)| name)
        .collect();
    for column in DATA_MAP.iter().filter(|c| matches!(c.class, Class::Personal | Class::Secret)) {
        let name = format!("{}.{}", column.table, column.column);
        assert!(bytes.contains(&name), "{name}");
        assert_ne!(column.protection, Protection::Plain, "{name}");
    }
}

/// Every column of the database, and whether it holds bytes.
async fn columns(world: &World) -> Vec<(String, bool)> {
    let query = match world.place {
        crate::world::Place::File(_) => {
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
        }
        crate::world::Place::Postgres(_) => {
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema()"
        }
    };
    let rows = world.place.raw().await.query(query).await.unwrap();
    let read = |row: Vec<Cell>| match row.as_slice() {
        [Cell::Text(table), Cell::Text(column), Cell::Text(kind)] => {
            (format!("{table}.{column}"), matches!(kind.as_str(), "BLOB" | "bytea"))
        }
        other => panic!("not a column: {other:?}"),
    };
    rows.into_iter().map(read).collect()
}
