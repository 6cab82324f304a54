//! The writer: many closures in one commit, each kept or undone alone.

use crate::world::{NOW, World, entry, event, of, platform, tenant};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use proptest::prelude::*;
use std::collections::BTreeMap;
use store::{Page, StoreError, TenantState, WriteError};
use terms::TenantId;

contracts! {
    a_closure_that_says_no_is_undone_alone,
    a_closure_that_panics_is_undone_alone,
    a_lone_closure_that_fails_leaves_nothing,
    what_a_failed_closure_wanted_logged_is_not_logged,
    keys_of_an_undone_tenant_are_forgotten,
    a_tenant_that_was_not_deleted_after_all_keeps_its_keys,
    a_closure_sees_what_it_wrote_and_readers_do_not_until_it_is_kept,
    concurrent_writers_lose_no_update,
    a_writer_that_nobody_waits_for_is_kept_all_the_same,
    a_closed_store_refuses,
    two_stores_on_one_database_take_turns,
    what_was_acknowledged_is_there_after_the_store_was_dropped,
}

#[derive(Debug, PartialEq)]
enum Refused {
    No,
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn a_closure_that_says_no_is_undone_alone(world: World) {
    let writes = (0..20).map(|n| {
        let fresh = tenant(&format!("t{n}"));
        world.store.write(move |tx| {
            Box::pin(async move {
                tx.tenants().insert(&platform(), &fresh).await?;
                tx.audit(entry("tenant/x", None));
                if n % 3 == 0 { Err(Refused::No) } else { Ok(n) }
            })
        })
    });
    for (n, answer) in join_all(writes).await.into_iter().enumerate() {
        let expected = if n % 3 == 0 { Err(WriteError::Work(Refused::No)) } else { Ok(n) };
        assert_eq!(answer, expected);
    }
    assert_eq!(names(&world).await.len(), 13);
    assert_eq!(world.store.read().await.unwrap().audit_log().head().await.unwrap().size, 13);
}

async fn a_closure_that_panics_is_undone_alone(world: World) {
    let writes = (0..9).map(|n| {
        let fresh = tenant(&format!("t{n}"));
        world.store.write(move |tx| {
            Box::pin(async move {
                tx.tenants().insert(&platform(), &fresh).await?;
                assert!(n != 4, "meant to panic");
                Ok::<_, StoreError>(())
            })
        })
    });
    let answers = join_all(writes).await;
    let panicked = Err(WriteError::Store(StoreError::Panicked));
    assert_eq!(answers.iter().filter(|answer| **answer == panicked).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 8);
    assert_eq!(names(&world).await.len(), 8);
    let alone = write!(world, |tx| {
        tx.tenants().insert(&platform(), &tenant("alone")).await?;
        if NOW.unix_ms() > 0 {
            panic!("meant to panic");
        }
        Ok::<_, StoreError>(())
    });
    assert_eq!(alone, panicked);
    world.tenant("after").await;
    assert_eq!(names(&world).await.len(), 9);
}

async fn a_lone_closure_that_fails_leaves_nothing(world: World) {
    let refused = write!(world, |tx| {
        tx.tenants().insert(&platform(), &tenant("demo")).await?;
        tx.event(event("tenant/demo", None));
        Err::<(), _>(Refused::No)
    });
    assert_eq!(refused, Err(WriteError::Work(Refused::No)));
    assert!(names(&world).await.is_empty());
    assert_eq!(world.place.number("SELECT count(*) FROM security_events").await, 0);
    world.tenant("demo").await;
}

async fn what_a_failed_closure_wanted_logged_is_not_logged(world: World) {
    let writes = (0..10).map(|n| {
        world.store.write(move |tx| {
            Box::pin(async move {
                tx.audit(entry(&format!("thing/{n}"), None));
                tx.event(event(&format!("thing/{n}"), None));
                if n % 2 == 0 { Ok(()) } else { Err(Refused::No) }
            })
        })
    });
    join_all(writes).await;
    let mut reader = world.store.read().await.unwrap();
    let (rows, _) = reader.audit_log().list(&platform(), &Page::first(99)).await.unwrap();
    let logged: Vec<_> = rows.iter().map(|row| row.entry.as_ref().unwrap().resource.clone()).collect();
    assert_eq!(logged, ["thing/8", "thing/6", "thing/4", "thing/2", "thing/0"]);
    let (events, _) = reader.events().list(&platform(), &Page::first(99)).await.unwrap();
    assert_eq!(events.len(), 5);
}

async fn keys_of_an_undone_tenant_are_forgotten(world: World) {
    let ghost = tenant("ghost");
    let id = ghost.id;
    let refused = write!(world, |tx| {
        tx.tenants().insert(&platform(), &ghost).await?;
        // Uses the new keys, and so has them at hand.
        tx.executions().find_by_idempotency(&of(id), id, "key").await?;
        Err::<(), _>(Refused::No)
    });
    assert_eq!(refused, Err(WriteError::Work(Refused::No)));
    let mut reader = world.store.read().await.unwrap();
    let used = reader.executions().find_by_idempotency(&of(id), id, "key").await;
    assert_eq!(used, Err(StoreError::KeyDestroyed));
}

async fn a_tenant_that_was_not_deleted_after_all_keeps_its_keys(world: World) {
    let id = world.tenant("demo").await;
    let refused = write!(world, |tx| {
        tx.tenants().delete(&platform(), id).await?;
        let gone = tx.executions().find_by_idempotency(&of(id), id, "key").await;
        assert_eq!(gone, Err(StoreError::KeyDestroyed), "within the transaction they are gone");
        Err::<(), _>(Refused::No)
    });
    assert_eq!(refused, Err(WriteError::Work(Refused::No)));
    write!(world, |tx| tx.executions().find_by_idempotency(&of(id), id, "key").await).unwrap();
    write!(world, |tx| tx.tenants().delete(&platform(), id).await).unwrap();
    let mut reader = world.store.read().await.unwrap();
    let gone = reader.executions().find_by_idempotency(&of(id), id, "key").await;
    assert_eq!(gone, Err(StoreError::KeyDestroyed));
}

async fn a_closure_sees_what_it_wrote_and_readers_do_not_until_it_is_kept(world: World) {
    let store = world.store.clone();
    let fresh = tenant("demo");
    let id = fresh.id;
    write!(world, |tx| {
        tx.tenants().insert(&platform(), &fresh).await?;
        assert!(tx.tenants().load(&of(id), id).await.is_ok());
        assert!(store.read().await?.tenants().load(&of(id), id).await.is_err());
        Ok::<_, StoreError>(())
    })
    .unwrap();
    assert!(world.store.read().await.unwrap().tenants().load(&of(id), id).await.is_ok());
}

async fn concurrent_writers_lose_no_update(world: World) {
    let id = world.tenant("demo").await;
    join_all((0..300).map(|_| count_up(&world.store, id))).await;
    let updated = world.store.read().await.unwrap().tenants().load(&of(id), id).await.unwrap().updated_at;
    assert_eq!(updated, NOW.plus_ms(300));
}

async fn a_writer_that_nobody_waits_for_is_kept_all_the_same(world: World) {
    let fresh = tenant("demo");
    let queued =
        world.store.write(move |tx| Box::pin(async move { tx.tenants().insert(&platform(), &fresh).await }));
    assert!(queued.now_or_never().is_none(), "queued, and not waited for");
    world.tenant("later").await;
    assert_eq!(names(&world).await, ["demo", "later"]);
}

async fn a_closed_store_refuses(world: World) {
    let queued = (0..5).map(|n| {
        let fresh = tenant(&format!("t{n}"));
        world.store.write(move |tx| Box::pin(async move { tx.tenants().insert(&platform(), &fresh).await }))
    });
    let (answers, ()) = tokio::join!(join_all(queued), world.store.close());
    assert!(answers.iter().all(Result::is_ok), "what was queued before is answered: {answers:?}");
    let late = write!(world, |_tx| Ok::<_, StoreError>(()));
    assert_eq!(late, Err(WriteError::Store(StoreError::Closed)));
    assert_eq!(world.store.read().await.err(), Some(StoreError::Closed));
    world.store.close().await;
}

async fn two_stores_on_one_database_take_turns(world: World) {
    let other = world.place.open().await.unwrap();
    let id = world.tenant("demo").await;
    let writes = (0..60).map(|n| count_up(if n % 2 == 0 { &world.store } else { &other }, id));
    join_all(writes).await;
    let logs = (0..60).map(|n| {
        let store = if n % 2 == 0 { &world.store } else { &other };
        store.write(move |tx| {
            Box::pin(async move {
                tx.audit(entry(&format!("thing/{n}"), Some(id)));
                tx.event(event("x", Some(id)));
                Ok::<_, StoreError>(())
            })
        })
    });
    assert!(join_all(logs).await.iter().all(Result::is_ok));
    let mut reader = other.read().await.unwrap();
    assert_eq!(reader.tenants().load(&of(id), id).await.unwrap().updated_at, NOW.plus_ms(60));
    let head = reader.audit_log().head().await.unwrap();
    let leaves = reader.audit_log().raw(&platform(), 0, 60).await.unwrap();
    assert_eq!((head.size, head.root), (60, ledger::Log::new().append(leaves).root));
    assert_eq!(reader.outbox().next(&platform(), 99).await.unwrap().len(), 60);
}

async fn what_was_acknowledged_is_there_after_the_store_was_dropped(world: World) {
    let World { store, place } = world;
    crate::world::abandon_stores();
    let mut acknowledged = Vec::new();
    let mut writes: Vec<_> = (0..100)
        .map(|n| {
            let fresh = tenant(&format!("t{n:03}"));
            let store = store.clone();
            tokio::spawn(async move {
                let name = fresh.name.to_string();
                let kept = store
                    .write(move |tx| {
                        Box::pin(async move {
                            tx.audit(entry(&format!("tenant/{}", fresh.name), None));
                            tx.tenants().insert(&platform(), &fresh).await
                        })
                    })
                    .await;
                kept.map(|()| name)
            })
        })
        .collect();
    // Some are answered; then everything is dropped where it stands, in the middle of a group.
    for write in writes.drain(..3) {
        acknowledged.push(write.await.unwrap().unwrap());
    }
    for write in writes {
        write.abort();
        if let Ok(Ok(name)) = write.await {
            acknowledged.push(name);
        }
    }
    drop(store);
    let world = World { store: place.open().await.unwrap(), place };
    let there = names(&world).await;
    for name in &acknowledged {
        assert!(there.contains(name), "{name} was acknowledged and is lost");
    }
    let head = world.store.read().await.unwrap().audit_log().head().await.unwrap();
    assert!(head.size >= acknowledged.len() as u64);
}

/// What a closure may do in the model.
#[derive(Debug, Clone)]
enum Deed {
    Insert(u8),
    Suspend(u8),
    Delete(u8),
    Log(u8),
    Refuse,
    Panic,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..6_u8).prop_map(Deed::Insert),
        3 => (0..6_u8).prop_map(Deed::Suspend),
        2 => (0..6_u8).prop_map(Deed::Delete),
        4 => (0..6_u8).prop_map(Deed::Log),
        2 => Just(Deed::Refuse),
        1 => Just(Deed::Panic),
    ]
}

/// What the database must hold: tenants by name with their state, and how many entries the log has.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    tenants: BTreeMap<u8, (TenantId, TenantState)>,
    entries: u64,
}

impl Model {
    /// The model after a closure, or `None` if the closure is undone.
    fn after(&self, deeds: &[(Deed, TenantId)]) -> Option<Self> {
        let mut next = self.clone();
        for (deed, fresh) in deeds {
            match deed {
                Deed::Insert(n) if next.tenants.contains_key(n) => return None,
                Deed::Insert(n) => drop(next.tenants.insert(*n, (*fresh, TenantState::Active))),
                Deed::Suspend(n) => next.tenants.get_mut(n)?.1 = TenantState::Suspended,
                Deed::Delete(n) => drop(next.tenants.remove(n)?),
                Deed::Log(_) => next.entries += 1,
                Deed::Refuse | Deed::Panic => return None,
            }
        }
        Some(next)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Groups of closures, queued at once: after each group the database is what the closures that were kept,
    /// one after the other, make of it; and the log's root is the one over its leaves.
    #[test]
    fn groups_of_closures_are_as_if_run_one_by_one(
        groups in prop::collection::vec(prop::collection::vec(prop::collection::vec(deed(), 0..5), 1..6), 1..6)
    ) {
        crate::world::on_sqlcipher(|world| async move {
            let mut model = Model::default();
            for group in groups {
                let group: Vec<Vec<_>> = group
                    .into_iter()
                    .map(|deeds| deeds.into_iter().map(|deed| (deed, id!(TenantId))).collect())
                    .collect();
                let answers = join_all(group.iter().map(|deeds| play(&world, deeds.clone()))).await;
                for (deeds, kept) in group.iter().zip(answers) {
                    let next = model.after(deeds);
                    assert_eq!(kept, next.is_some(), "{deeds:?}");
                    model = next.unwrap_or(model);
                }
                assert_eq!(observed(&world).await, model);
            }
        });
    }
}

async fn play(world: &World, deeds: Vec<(Deed, TenantId)>) -> bool {
    let played = world.store.write(move |tx| {
        Box::pin(async move {
            for (deed, id) in deeds {
                let name = |n: u8| format!("t{n}").parse().unwrap();
                let found = match deed {
                    Deed::Suspend(n) | Deed::Delete(n) | Deed::Log(n) => {
                        tx.tenants().find(&platform(), &terms::TenantRef::Name(name(n))).await?
                    }
                    Deed::Insert(_) | Deed::Refuse | Deed::Panic => None,
                };
                match deed {
                    Deed::Insert(n) => {
                        let fresh = store::Tenant { id, name: name(n), ..tenant("x") };
                        tx.tenants().insert(&platform(), &fresh).await?;
                    }
                    Deed::Suspend(_) => {
                        let id = found.ok_or(Refused::No)?.id;
                        tx.tenants().save_state(&platform(), id, TenantState::Suspended, NOW).await?;
                    }
                    Deed::Delete(_) => tx.tenants().delete(&platform(), found.ok_or(Refused::No)?.id).await?,
                    Deed::Log(_) => tx.audit(entry("x", found.map(|tenant| tenant.id))),
                    Deed::Refuse => return Err(Refused::No),
                    Deed::Panic => panic!("meant to panic"),
                }
            }
            Ok(())
        })
    });
    played.await.is_ok()
}

async fn observed(world: &World) -> Model {
    let mut reader = world.store.read().await.unwrap();
    let (tenants, _) = reader.tenants().list(&platform(), &Page::first(99)).await.unwrap();
    let number = |name: &str| name[1..].parse().unwrap();
    let tenants = tenants.into_iter().map(|t| (number(t.name.as_str()), (t.id, t.state))).collect();
    let head = reader.audit_log().head().await.unwrap();
    let leaves = reader.audit_log().raw(&platform(), 0, head.size).await.unwrap();
    assert_eq!(ledger::Log::new().append(leaves).root, head.root);
    Model { tenants, entries: head.size }
}

/// Loads, decides and saves, without a lock of its own.
async fn count_up(store: &store::Store, id: TenantId) {
    let counted = store.write(move |tx| {
        Box::pin(async move {
            let now = tx.tenants().load(&of(id), id).await?.updated_at.plus_ms(1);
            tx.tenants().save_state(&of(id), id, TenantState::Active, now).await
        })
    });
    counted.await.unwrap();
}

async fn names(world: &World) -> Vec<String> {
    let mut names = Vec::new();
    let mut page = Page::first(200);
    loop {
        let mut reader = world.store.read().await.unwrap();
        let (tenants, next) = reader.tenants().list(&platform(), &page).await.unwrap();
        names.extend(tenants.into_iter().map(|tenant| tenant.name.to_string()));
        let Some(after) = next else { return names };
        page.after = Some(after);
    }
}
