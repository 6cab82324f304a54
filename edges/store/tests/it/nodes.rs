//! Nodes: enrolled, heard of, drained, removed.

use crate::networks::{desired, host};
use crate::seed::{node, number, placement};
use crate::world::{NOW, World, of, platform};
use store::{Inhabited, NodeRow, NodeState, NumberState, Page, StoreError, WriteError};

contracts! {
    a_node_is_heard_of_and_drained,
    nodes_come_in_pages_with_what_they_have,
    a_node_is_removed_with_all_that_is_known_of_it_but_never_with_tenants,
}

async fn a_node_is_heard_of_and_drained(world: World) {
    let row = node();
    let (id, later) = (row.id, NOW.plus_ms(9));
    write!(world, |tx| tx.nodes().insert(&platform(), &row).await).unwrap();
    write!(world, |tx| {
        tx.nodes().seen(&platform(), id, later).await?;
        tx.nodes().set_state(&platform(), id, NodeState::Draining).await
    })
    .unwrap();
    let mut reader = world.store.read().await.unwrap();
    let expected = NodeRow { id, enrolled_at: NOW, last_seen: later, state: NodeState::Draining };
    assert_eq!(reader.nodes().find(id).await, Ok(Some(expected)));
    assert_eq!(reader.nodes().find(id!(NodeId)).await, Ok(None));
    let unknown = id!(NodeId);
    let refused = write!(world, |tx| tx.nodes().set_state(&platform(), unknown, NodeState::Active).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("node"))));
}

async fn nodes_come_in_pages_with_what_they_have(world: World) {
    let rows = [node(), node(), node()];
    let ids = rows.clone().map(|row| row.id);
    write!(world, |tx| {
        for row in &rows {
            tx.nodes().insert(&platform(), row).await?;
        }
        tx.networks().put_host(&platform(), &host(ids[1])).await
    })
    .unwrap();
    for name in ["a", "b"] {
        let tenant = world.tenant(name).await;
        write!(world, |tx| tx.placements().put(&of(tenant), &placement(tenant, ids[1])).await).unwrap();
    }
    let mut reader = world.store.read().await.unwrap();
    let all = reader.nodes().all(&platform()).await.unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|Inhabited { node, tenants, driver }| (node.id, *tenants, driver.as_deref()))
        .collect();
    assert_eq!(seen, [(ids[0], 0, None), (ids[1], 2, Some("linux")), (ids[2], 0, None)]);
    let (first, next) = reader.nodes().list(&platform(), &Page::first(2)).await.unwrap();
    let (rest, end) = reader.nodes().list(&platform(), &Page { after: next, limit: 2 }).await.unwrap();
    assert_eq!((first, rest, end), (all[..2].to_vec(), all[2..].to_vec(), None));
}

async fn a_node_is_removed_with_all_that_is_known_of_it_but_never_with_tenants(world: World) {
    let (row, tenant) = (node(), world.tenant("demo").await);
    let id = row.id;
    write!(world, |tx| {
        tx.nodes().insert(&platform(), &row).await?;
        tx.networks().put_host(&platform(), &host(id)).await?;
        tx.networks().put_desired(&platform(), &desired(id, 1)).await?;
        tx.networks().ask_probe(&platform(), id, NOW).await?;
        tx.placements().put(&platform(), &placement(tenant, id)).await?;
        let mut left = number(id, 3, tenant);
        left.state = NumberState::Leaving;
        tx.placements().put_number(&platform(), &left).await
    })
    .unwrap();
    let refused = write!(world, |tx| tx.nodes().remove(&platform(), id).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::Conflict("placement"))));
    assert_eq!(world.place.number("SELECT count(*) FROM network_numbers").await, 1, "nothing was removed");
    write!(world, |tx| {
        tx.placements().take_off(&platform(), tenant).await?;
        tx.nodes().remove(&platform(), id).await
    })
    .unwrap();
    for table in ["nodes", "network_numbers", "host_networks", "desired_networks", "network_probes"] {
        assert_eq!(world.place.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    let again = write!(world, |tx| tx.nodes().remove(&platform(), id).await);
    assert_eq!(again, Err(WriteError::Work(StoreError::NotFound("node"))));
}
