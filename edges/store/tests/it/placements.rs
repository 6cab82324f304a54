//! Placements: one node for each tenant, and numbers that outlive their tenants.

use crate::seed::{node, number, placement};
use crate::world::{NOW, World, of, platform};
use store::{NumberRow, NumberState, Page, PlacementRow, StoreError};
use terms::NodeId;

contracts! {
    a_tenant_is_on_one_node,
    a_node_knows_its_tenants_with_their_numbers,
    whoever_is_nowhere_is_found,
    a_number_outlives_its_tenant_who_is_forgotten,
    numbers_come_in_pages_over_all_hosts,
}

async fn a_tenant_is_on_one_node(world: World) {
    let (tenant, [first, second]) = (world.tenant("demo").await, hosts(&world).await);
    put(&world, placement(tenant, first)).await;
    let moved = PlacementRow { former_node: Some(first), since: NOW.plus_ms(1), ..placement(tenant, second) };
    put(&world, moved).await;
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.placements().of(&of(tenant), tenant).await, Ok(Some(moved)));
    assert_eq!(reader.placements().on(&platform(), first).await, Ok(vec![]));
    assert_eq!(reader.placements().on(&platform(), second).await.unwrap().len(), 1);
    for node in [first, second] {
        assert_eq!(reader.placements().touching(&platform(), node).await, Ok(vec![moved]));
    }
    assert_eq!(reader.placements().touching(&platform(), id!(NodeId)).await, Ok(vec![]));
}

async fn a_node_knows_its_tenants_with_their_numbers(world: World) {
    let [here, there] = hosts(&world).await;
    let tenants = [world.tenant("a").await, world.tenant("b").await, world.tenant("c").await];
    for tenant in tenants {
        put(&world, placement(tenant, here)).await;
    }
    // The first has a number, the second had one here and has one elsewhere, the third never had one.
    keep(&world, number(here, 7, tenants[0])).await;
    keep(&world, NumberRow { state: NumberState::Leaving, ..number(here, 8, tenants[1]) }).await;
    keep(&world, number(there, 9, tenants[1])).await;
    let placed = world.store.read().await.unwrap().placements().on(&platform(), here).await.unwrap();
    let seen: Vec<_> = placed.iter().map(|placed| (placed.tenant.id, placed.number)).collect();
    assert_eq!(seen, [(tenants[0], Some(7)), (tenants[1], None), (tenants[2], None)]);
}

async fn whoever_is_nowhere_is_found(world: World) {
    let ([here, _], tenants) = (hosts(&world).await, [world.tenant("a").await, world.tenant("b").await]);
    let unplaced = async || world.store.read().await.unwrap().placements().unplaced(&platform()).await;
    assert_eq!(unplaced().await, Ok(tenants.to_vec()));
    put(&world, placement(tenants[0], here)).await;
    assert_eq!(unplaced().await, Ok(vec![tenants[1]]));
    write!(world, |tx| tx.placements().take_off(&of(tenants[0]), tenants[0]).await).unwrap();
    assert_eq!(unplaced().await.unwrap().len(), 2);
}

async fn a_number_outlives_its_tenant_who_is_forgotten(world: World) {
    let ([here, _], tenant) = (hosts(&world).await, world.tenant("demo").await);
    put(&world, placement(tenant, here)).await;
    let left = NumberRow { state: NumberState::Leaving, ..number(here, 3, tenant) };
    keep(&world, left).await;
    write!(world, |tx| tx.tenants().delete(&platform(), tenant).await).unwrap();
    let numbers = world.store.read().await.unwrap().placements().numbers(&platform(), here).await.unwrap();
    assert_eq!(numbers, [NumberRow { tenant: None, ..left }]);
    write!(world, |tx| tx.placements().free_number(&platform(), here, 3).await).unwrap();
    assert_eq!(world.store.read().await.unwrap().placements().numbers(&platform(), here).await, Ok(vec![]));
}

async fn numbers_come_in_pages_over_all_hosts(world: World) {
    let (hosts, tenant) = (hosts(&world).await, world.tenant("demo").await);
    let mut expected = Vec::new();
    for host in hosts {
        for n in [9, 10, 155] {
            let row = NumberRow { state: NumberState::Resting, ..number(host, n, tenant) };
            keep(&world, row).await;
            expected.push(row);
        }
    }
    let mut reader = world.store.read().await.unwrap();
    let (mut listed, mut page) = (Vec::new(), Page::first(2));
    loop {
        let (rows, next) = reader.placements().list_numbers(&platform(), &page).await.unwrap();
        listed.extend(rows);
        let Some(after) = next else { break };
        page.after = Some(after);
    }
    assert_eq!(listed, expected);
    for foreign in ["x", "1/2", ""] {
        let page = Page { after: Some(foreign.to_owned()), limit: 2 };
        let refused = reader.placements().list_numbers(&platform(), &page).await;
        assert_eq!(refused, Err(StoreError::Cursor(foreign.to_owned())));
    }
}

async fn hosts(world: &World) -> [NodeId; 2] {
    let rows = [node(), node()];
    let ids = rows.clone().map(|row| row.id);
    write!(world, |tx| {
        for row in &rows {
            tx.nodes().insert(&platform(), row).await?;
        }
        Ok::<_, StoreError>(())
    })
    .unwrap();
    ids
}

async fn put(world: &World, row: PlacementRow) {
    write!(world, |tx| tx.placements().put(&of(row.tenant), &row).await).unwrap();
}

async fn keep(world: &World, row: NumberRow) {
    write!(world, |tx| tx.placements().put_number(&platform(), &row).await).unwrap();
}
