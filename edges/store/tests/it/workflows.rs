//! Workflows and their versions.

use crate::seed::document;
use crate::world::{NOW, World, of};
use store::{Applied, Page, StoreError, WorkflowState, WriteError};
use terms::{Name, TenantId};

contracts! {
    each_new_document_is_a_new_version,
    the_same_document_again_changes_nothing,
    applying_enables_a_disabled_workflow,
    workflows_come_in_pages_by_name,
    names_belong_to_their_tenant,
}

async fn each_new_document_is_a_new_version(world: World) {
    let tenant = world.tenant("demo").await;
    let first = apply(&world, tenant, "orders", "one").await;
    let second = apply(&world, tenant, "orders", "two").await;
    assert_eq!((first.workflow.latest, second.workflow.latest), (1, 2));
    assert_eq!((first.workflow.id, second.changed), (second.workflow.id, true));
    let mut reader = world.store.read().await.unwrap();
    for (version, text) in [(1, "one"), (2, "two")] {
        let read = reader.workflows().document(&of(tenant), first.workflow.id, version).await.unwrap();
        assert_eq!((read.version, read.document.as_slice()), (version, text.as_bytes()));
        assert_eq!((read.digest, &read.hosts), (document(text).digest, &document(text).hosts));
    }
    let absent = reader.workflows().document(&of(tenant), first.workflow.id, 3).await;
    assert_eq!(absent.err(), Some(StoreError::NotFound("workflow version")));
    let name = "orders".parse().unwrap();
    let found = reader.workflows().find(&of(tenant), tenant, &name).await.unwrap();
    assert_eq!(found, Some(second.workflow));
}

async fn the_same_document_again_changes_nothing(world: World) {
    let tenant = world.tenant("demo").await;
    let first = apply(&world, tenant, "orders", "one").await;
    let again = apply(&world, tenant, "orders", "one").await;
    assert!(first.changed && !again.changed);
    assert_eq!(first.workflow, again.workflow);
    assert_eq!(world.place.number("SELECT count(*) FROM workflow_versions").await, 1);
}

async fn applying_enables_a_disabled_workflow(world: World) {
    let tenant = world.tenant("demo").await;
    let id = apply(&world, tenant, "orders", "one").await.workflow.id;
    let (off, later) = (WorkflowState::Disabled, NOW.plus_ms(9));
    write!(world, |tx| tx.workflows().set_state(&of(tenant), tenant, id, off, later).await).unwrap();
    let name: Name = "orders".parse().unwrap();
    let found = world.store.read().await.unwrap().workflows().find(&of(tenant), tenant, &name).await;
    let found = found.unwrap().unwrap();
    assert_eq!((found.state, found.updated_at), (WorkflowState::Disabled, later));
    let again = apply(&world, tenant, "orders", "one").await;
    assert!(again.changed);
    assert_eq!((again.workflow.state, again.workflow.latest), (WorkflowState::Enabled, 1));
    let absent = id!(WorkflowId);
    let refused = write!(world, |tx| tx.workflows().set_state(&of(tenant), tenant, absent, off, later).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("workflow"))));
}

async fn workflows_come_in_pages_by_name(world: World) {
    let tenant = world.tenant("demo").await;
    for name in ["b", "a-1", "a", "c", "a1"] {
        apply(&world, tenant, name, name).await;
    }
    let mut reader = world.store.read().await.unwrap();
    let (mut names, mut page) = (Vec::new(), Page::first(2));
    loop {
        let (rows, next) = reader.workflows().list(&of(tenant), tenant, &page).await.unwrap();
        names.extend(rows.iter().map(|row| row.name.to_string()));
        let Some(after) = next else { break };
        page.after = Some(after);
    }
    assert_eq!(names, ["a", "a-1", "a1", "b", "c"], "by bytes, whatever the server's locale");
}

async fn names_belong_to_their_tenant(world: World) {
    let (one, two) = (world.tenant("one").await, world.tenant("two").await);
    let first = apply(&world, one, "orders", "same").await;
    let second = apply(&world, two, "orders", "same").await;
    assert_ne!(first.workflow.id, second.workflow.id);
    assert!(second.changed);
}

async fn apply(world: &World, tenant: TenantId, name: &str, text: &str) -> Applied {
    let (name, fresh) = (name.parse().unwrap(), document(text));
    write!(world, |tx| tx.workflows().apply(&of(tenant), tenant, &name, id!(WorkflowId), &fresh, NOW).await)
        .unwrap()
}
