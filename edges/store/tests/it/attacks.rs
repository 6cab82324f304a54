//! Whoever shares the store with others: its own mistakes, and others' misfortune, stay its own.

use crate::seed::{certificate, delivery, execution, outcome, seed_every_table, sidecar};
use crate::world::{NOW, Place, World, entry, event, of, platform, tenant};
use futures_util::future::join_all;
use ledger::{leaf_hash, verify_consistency, verify_inclusion};
use store::{ExecState, Page, StoreError, WriteError};
use terms::Digest;

contracts! {
    a_closure_that_ignores_a_failed_statement_is_not_acknowledged_as_half_done,
    others_do_not_suffer_from_a_closure_that_ignores_a_failed_statement,
    what_was_logged_before_a_deletion_in_the_same_commit_is_erased_too,
    an_event_of_a_deleted_tenant_is_not_kept_for_having_come_with_the_deletion,
    an_execution_is_changed_under_its_own_tenant_only,
    lists_pass_over_what_was_deleted_while_they_were_read,
    a_row_for_a_tenant_that_was_deleted_meanwhile_finds_no_owner,
    stores_that_make_one_database_at_once_all_open_it,
    proofs_of_absurd_sizes_are_refused,
    proofs_hold_over_three_levels_of_tiles,
}

async fn a_closure_that_ignores_a_failed_statement_is_not_acknowledged_as_half_done(world: World) {
    world.tenant("taken").await;
    let answer = write!(world, |tx| {
        let taken = tx.tenants().insert(&platform(), &tenant("taken")).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))));
        tx.settings().put("after", b"x").await.ok();
        Ok::<_, StoreError>(())
    });
    let kept = world.store.read().await.unwrap().settings().get("after").await.unwrap().is_some();
    assert_eq!(answer.is_ok(), kept, "{answer:?}");
    assert!(matches!(answer, Err(WriteError::Store(StoreError::Conflict(_)))), "{answer:?}");
}

async fn others_do_not_suffer_from_a_closure_that_ignores_a_failed_statement(world: World) {
    world.tenant("taken").await;
    let writes = (0..5).map(|n| {
        world.store.write(move |tx| {
            Box::pin(async move {
                tx.settings().put(&format!("before-{n}"), b"x").await?;
                if n % 2 == 1 {
                    let _ignored = tx.tenants().insert(&platform(), &tenant("taken")).await;
                }
                Ok::<_, StoreError>(())
            })
        })
    });
    let answers = join_all(writes).await;
    let mut reader = world.store.read().await.unwrap();
    for (n, answer) in answers.into_iter().enumerate() {
        let kept = reader.settings().get(&format!("before-{n}")).await.unwrap().is_some();
        assert_eq!((answer.is_ok(), kept), (n % 2 == 0, n % 2 == 0), "{n}: {answer:?}");
    }
}

async fn what_was_logged_before_a_deletion_in_the_same_commit_is_erased_too(world: World) {
    let id = world.tenant("demo").await;
    let logged = write_later(&world, move |tx| tx.audit(entry("person/before", Some(id))));
    let deleted = world.store.write(move |tx| {
        Box::pin(async move {
            tx.tenants().delete(&platform(), id).await?;
            tx.audit(entry("tenant/deleted", Some(id)));
            Ok::<_, StoreError>(())
        })
    });
    let after = write_later(&world, move |tx| tx.audit(entry("tenant/late", Some(id))));
    let (logged, deleted, after) = tokio::join!(logged, deleted, after);
    logged.unwrap();
    deleted.unwrap();
    after.unwrap();
    let mut reader = world.store.read().await.unwrap();
    let (rows, _) = reader.audit_log().list(&platform(), &Page::first(9)).await.unwrap();
    let shown: Vec<_> =
        rows.iter().rev().map(|row| row.entry.as_ref().map(|e| e.resource.as_str())).collect();
    assert_eq!(shown, [None, Some("tenant/deleted"), Some("tenant/late")]);
}

async fn an_event_of_a_deleted_tenant_is_not_kept_for_having_come_with_the_deletion(world: World) {
    let id = world.tenant("demo").await;
    let seen = write_later(&world, move |tx| tx.event(event("person/before", Some(id))));
    let deleted = world.store.write(move |tx| {
        Box::pin(async move {
            tx.tenants().delete(&platform(), id).await?;
            tx.event(event("tenant/deleted", Some(id)));
            Ok::<_, StoreError>(())
        })
    });
    let (seen, deleted) = tokio::join!(seen, deleted);
    seen.unwrap();
    deleted.unwrap();
    let (events, _) =
        world.store.read().await.unwrap().events().list(&platform(), &Page::first(9)).await.unwrap();
    let shown: Vec<_> = events.iter().map(|event| event.resource.as_str()).collect();
    assert_eq!(shown, ["tenant/deleted"]);
}

async fn an_execution_is_changed_under_its_own_tenant_only(world: World) {
    let (own, foreign) = (world.tenant("own").await, world.tenant("foreign").await);
    seed_every_table(&world, own).await;
    let new = execution(own, "other");
    let id = new.id;
    let row = write!(world, |tx| tx.executions().insert(&of(own), &new, &delivery()).await).unwrap();
    let mut claimed = row.clone();
    claimed.tenant = foreign;
    claimed.state = ExecState::Accepted;
    claimed.accepted_at = Some(NOW);
    let how = outcome(&row, 3);
    write!(world, |tx| {
        let updated = tx.executions().update_delivery(&of(foreign), &claimed).await;
        assert!(matches!(updated, Err(StoreError::NotFound(_))), "{updated:?}");
        let ended = tx.executions().record_outcome(&of(foreign), &claimed, ExecState::Completed, &how).await;
        assert!(!matches!(ended, Ok(true)), "{ended:?}");
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.executions().load(&of(own), id).await.unwrap(), row);
    assert_eq!(reader.executions().counts(&of(foreign), foreign).await.unwrap(), store::Counts::default());
}

async fn lists_pass_over_what_was_deleted_while_they_were_read(world: World) {
    let (gone, here) = (world.tenant("gone").await, world.tenant("here").await);
    seed_every_table(&world, here).await;
    seed_every_table(&world, gone).await;
    let world = world.reopened().await;
    // As if the rows had been read before the deletion, and their keys are looked for after it.
    world.place.execute(&format!("DELETE FROM vault_keys WHERE owner = '{gone}'")).await;
    let mut reader = world.store.read().await.unwrap();
    let page = Page::first(1);
    let (events, next) = reader.events().list(&platform(), &page).await.unwrap();
    assert!(events.is_empty());
    let (events, _) = reader.events().list(&platform(), &Page { after: next, limit: 1 }).await.unwrap();
    assert_eq!(events[0].tenant, Some(here));
    let (alarms, next) = reader.alarms().list(&platform(), &page).await.unwrap();
    assert!(alarms.is_empty());
    let (alarms, _) = reader.alarms().list(&platform(), &Page { after: next, limit: 1 }).await.unwrap();
    assert_eq!(alarms[0].tenant, Some(here));
    let waiting = reader.outbox().next(&platform(), 9).await.unwrap();
    assert_eq!(waiting.iter().map(|row| row.event.tenant).collect::<Vec<_>>(), [Some(here)]);
}

async fn a_row_for_a_tenant_that_was_deleted_meanwhile_finds_no_owner(world: World) {
    let id = world.tenant("demo").await;
    write!(world, |tx| tx.tenants().delete(&platform(), id).await).unwrap();
    let late = certificate("spiffe://d/late", Some(id), 1);
    let refused = write!(world, |tx| tx.workloads().insert_certificate(&of(id), &late).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("owner"))));
    let refused = write!(world, |tx| tx.sidecars().insert(&of(id), &sidecar(id)).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("owner"))));
    let refused = write!(world, |tx| tx.executions().insert(&of(id), &execution(id, "k"), &delivery()).await);
    assert!(matches!(refused, Err(WriteError::Work(StoreError::KeyDestroyed))), "{refused:?}");
}

async fn stores_that_make_one_database_at_once_all_open_it(world: World) {
    world.store.close().await;
    let fresh = match &world.place {
        Place::File(folder) => {
            std::fs::create_dir(folder.join("fresh")).unwrap();
            Place::File(folder.join("fresh"))
        }
        Place::Postgres(url) => {
            let schema = url.rsplit_once("%3D").unwrap().1;
            world.place.execute(&format!("DROP SCHEMA {schema} CASCADE")).await;
            world.place.execute(&format!("CREATE SCHEMA {schema}")).await;
            Place::Postgres(url.clone())
        }
    };
    // Each on a thread of its own, or one would be done before the next begins.
    let openers = (0..4).map(|_| {
        let (runtime, config) = (tokio::runtime::Handle::current(), fresh.config());
        tokio::task::spawn_blocking(move || {
            runtime.block_on(store::Store::open(config, crate::world::keystore(crate::world::ROOT_KEY)))
        })
    });
    let openers: Vec<_> = openers.collect();
    let stores: Vec<_> = join_all(openers).await.into_iter().map(|opened| opened.unwrap().unwrap()).collect();
    let writes = stores.iter().map(|store| async move {
        let one = tenant(&format!("t{}", hex::encode(crate::world::unique())));
        store.write(move |tx| Box::pin(async move { tx.tenants().insert(&platform(), &one).await })).await
    });
    join_all(writes).await.into_iter().for_each(|answer| answer.unwrap());
    assert_eq!(fresh.number("SELECT count(*) FROM vault_keys WHERE owner = 'platform'").await, 3);
    assert_eq!(fresh.number("SELECT count(*) FROM tenants").await, 4);
    for store in stores {
        store.close().await;
    }
}

async fn proofs_of_absurd_sizes_are_refused(world: World) {
    let mut reader = world.store.read().await.unwrap();
    for size in [1, 257, 1 << 62, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX] {
        for part in [0, 1, 255, 256, size / 2, size - 1, size] {
            let proof = reader.audit_log().inclusion(&platform(), part, size).await;
            assert!(
                size == 1 && part == 0 || matches!(proof, Err(StoreError::Range(_))),
                "{part} of {size}: {proof:?}"
            );
            let grown = reader.audit_log().consistency(&platform(), part, size).await;
            assert!(
                part == 0 || part == size || matches!(grown, Err(StoreError::Range(_))),
                "{part} of {size}: {grown:?}"
            );
        }
    }
}

async fn proofs_hold_over_three_levels_of_tiles(world: World) {
    // 256 leaves make a node of the first level, 65 536 one of the second.
    const SIZE: u64 = 66_000;
    let mut heads = vec![];
    for size in [65_535, 65_536, SIZE] {
        let from = heads.last().map_or(0, |head: &store::LogHead| head.size);
        write!(world, |tx| {
            for n in from..size {
                tx.audit(entry(&n.to_string(), None));
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
        heads.push(world.store.read().await.unwrap().audit_log().head().await.unwrap());
    }
    let mut reader = world.store.read().await.unwrap();
    let mut leaves: Vec<Digest> = Vec::new();
    while leaves.len() < SIZE as usize {
        let sealed = reader.audit_log().raw(&platform(), leaves.len() as u64, SIZE).await.unwrap();
        leaves.extend(sealed.iter().map(|sealed| leaf_hash(sealed)));
    }
    for head in &heads {
        let checkpoint =
            wire::checkpoint::Checkpoint { origin: "x".to_owned(), size: head.size, root: head.root };
        ledger::check_log(leaves.iter().copied(), &checkpoint).unwrap();
        for index in
            [0, 255, 256, 65_279, 65_280, 65_534, 65_536, SIZE - 1].into_iter().filter(|i| *i < head.size)
        {
            let proof = reader.audit_log().inclusion(&platform(), index, head.size).await.unwrap();
            verify_inclusion(&leaves[index as usize], index, head.size, &proof, &head.root).unwrap();
        }
        for old in heads.iter().filter(|old| old.size <= head.size) {
            let proof = reader.audit_log().consistency(&platform(), old.size, head.size).await.unwrap();
            verify_consistency(old.size, &old.root, head.size, &head.root, &proof).unwrap();
        }
    }
}

async fn write_later(
    world: &World,
    work: impl FnOnce(&mut store::Tx) + Send + 'static,
) -> Result<(), WriteError<StoreError>> {
    world
        .store
        .write(move |tx| {
            Box::pin(async move {
                work(tx);
                Ok(())
            })
        })
        .await
}
