//! The audit log, the events beside it, and the outbox.

use crate::world::{World, entry, event, of, platform};
use ledger::{Log, verify_consistency, verify_inclusion};
use store::{OutboxRow, Page, StoreError};
use terms::Digest;
use wire::event::{EventKind, SecurityEvent};

contracts! {
    entries_read_back_in_order,
    the_head_is_the_root_over_the_sealed_leaves,
    every_size_and_entry_can_be_proven,
    a_tenants_entries_are_listed_alone,
    proofs_of_logs_that_are_not_there_are_refused,
    the_latest_checkpoint_is_the_largest,
    events_are_kept_once_and_listed_by_kind,
    the_outbox_gives_each_event_once_in_order,
    a_batch_of_events_says_how_many_were_new,
}

async fn entries_read_back_in_order(world: World) {
    let tenant = world.tenant("demo").await;
    append(&world, 0..5, Some(tenant)).await;
    append(&world, 5..6, None).await;
    let world = world.reopened().await;
    append(&world, 6..7, None).await;
    let mut reader = world.store.read().await.unwrap();
    let (first, next) = reader.audit_log().list(&platform(), &Page::first(4)).await.unwrap();
    let (rest, end) = reader.audit_log().list(&platform(), &Page { after: next, limit: 4 }).await.unwrap();
    let rows = [first, rest].concat();
    let found: Vec<_> = rows.iter().map(|row| (row.index, row.entry.clone().unwrap().resource)).collect();
    let expected: Vec<_> = (0..7).rev().map(|n| (n, format!("thing/{n}"))).collect();
    assert_eq!((found, end), (expected, None));
}

async fn the_head_is_the_root_over_the_sealed_leaves(world: World) {
    let empty = world.store.read().await.unwrap().audit_log().head().await.unwrap();
    assert_eq!((empty.size, empty.root), (0, ledger::empty_root()));
    append(&world, 0..700, None).await;
    let mut reader = world.store.read().await.unwrap();
    let head = reader.audit_log().head().await.unwrap();
    let leaves = reader.audit_log().raw(&platform(), 0, 700).await.unwrap();
    let mut log = Log::new();
    let root = log.append(&leaves).root;
    assert_eq!((head.size, head.root), (700, root));
    let some = reader.audit_log().raw(&platform(), 698, 900).await.unwrap();
    assert_eq!(some, leaves[698..]);
}

async fn every_size_and_entry_can_be_proven(world: World) {
    let mut heads = Vec::new();
    let mut appended = 0;
    for next in [1, 2, 5, 255, 256, 257, 511, 512, 513, 700] {
        append(&world, appended..next, None).await;
        appended = next;
        heads.push(world.store.read().await.unwrap().audit_log().head().await.unwrap());
    }
    let mut reader = world.store.read().await.unwrap();
    let leaves: Vec<Digest> = reader
        .audit_log()
        .raw(&platform(), 0, 700)
        .await
        .unwrap()
        .iter()
        .map(|sealed| ledger::leaf_hash(sealed))
        .collect();
    for new in &heads {
        for old in heads.iter().filter(|old| old.size <= new.size) {
            let proof = reader.audit_log().consistency(&platform(), old.size, new.size).await.unwrap();
            verify_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
        }
        for index in [0, 1, 254, 255, 256, 511, 512, 699].into_iter().filter(|index| *index < new.size) {
            let proof = reader.audit_log().inclusion(&platform(), index, new.size).await.unwrap();
            verify_inclusion(&leaves[index as usize], index, new.size, &proof, &new.root).unwrap();
        }
    }
}

async fn a_tenants_entries_are_listed_alone(world: World) {
    let (one, two) = (world.tenant("one").await, world.tenant("two").await);
    append(&world, 0..3, Some(one)).await;
    append(&world, 3..6, Some(two)).await;
    append(&world, 6..9, None).await;
    append(&world, 9..11, Some(one)).await;
    let mut reader = world.store.read().await.unwrap();
    let (rows, next) = reader.audit_log().list_of(&of(one), one, &Page::first(4)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [10, 9, 2, 1]);
    let (rest, _) = reader.audit_log().list_of(&of(one), one, &Page { after: next, limit: 4 }).await.unwrap();
    assert_eq!(rest[0].entry.as_ref().unwrap().resource, "thing/0");
}

async fn proofs_of_logs_that_are_not_there_are_refused(world: World) {
    append(&world, 0..3, None).await;
    let mut reader = world.store.read().await.unwrap();
    let refused = Err(StoreError::Range("log"));
    assert_eq!(reader.audit_log().inclusion(&platform(), 3, 3).await, refused);
    assert_eq!(reader.audit_log().inclusion(&platform(), 0, 4).await, refused);
    assert_eq!(reader.audit_log().consistency(&platform(), 3, 2).await, refused);
    assert_eq!(reader.audit_log().consistency(&platform(), 3, 4).await, refused);
}

async fn the_latest_checkpoint_is_the_largest(world: World) {
    let latest = || async { world.store.read().await.unwrap().checkpoints().latest().await.unwrap() };
    assert_eq!(latest().await, None);
    for (size, note) in [(9, "nine"), (10, "ten"), (2, "two"), (10, "ten again")] {
        write!(world, |tx| tx.checkpoints().insert(size, note).await).unwrap();
    }
    assert_eq!(latest().await.as_deref(), Some("ten"));
}

async fn events_are_kept_once_and_listed_by_kind(world: World) {
    let tenant = world.tenant("demo").await;
    let one = event("one", Some(tenant));
    let two = SecurityEvent { kind: EventKind::PlanRefused, ..event("two", None) };
    let (first, second) = (one.clone(), two.clone());
    write!(world, |tx| {
        tx.event(first.clone());
        tx.event(second);
        tx.event(first);
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let again = one.clone();
    write!(world, |tx| {
        tx.event(SecurityEvent { resource: "changed".to_owned(), ..again });
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let mut reader = world.store.read().await.unwrap();
    let (all, next) = reader.events().list(&platform(), &Page::first(9)).await.unwrap();
    assert_eq!((all, next), (vec![two.clone(), one], None));
    let (some, _) =
        reader.events().list_of(&platform(), EventKind::PlanRefused, &Page::first(9)).await.unwrap();
    assert_eq!(some, [two]);
    assert_eq!(reader.outbox().next(&platform(), 9).await.unwrap().len(), 2);
}

async fn the_outbox_gives_each_event_once_in_order(world: World) {
    let mut sent = Vec::new();
    for n in 0..5 {
        let next = event(&format!("event {n}"), None);
        sent.push(next.clone());
        write!(world, |tx| {
            tx.event(next);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    }
    let next = |limit| {
        let store = world.store.clone();
        async move { store.read().await.unwrap().outbox().next(&platform(), limit).await.unwrap() }
    };
    let first = next(3).await;
    assert_eq!(events(&first), sent[..3]);
    assert_eq!(events(&next(3).await), sent[..3], "until it is acknowledged");
    let seq = first[2].seq;
    write!(world, |tx| tx.outbox().ack(&platform(), seq).await).unwrap();
    let rest = next(3).await;
    assert_eq!(events(&rest), sent[3..]);
    let seq = rest[1].seq;
    write!(world, |tx| tx.outbox().ack(&platform(), seq).await).unwrap();
    let late = event("late", None);
    let known = late.id;
    write!(world, |tx| {
        tx.event(late);
        Ok::<_, StoreError>(())
    })
    .unwrap();
    let last = next(3).await;
    assert_eq!((last[0].event.id, last[0].seq), (known, seq + 1), "places are never used again");
    let (kept, _) =
        world.store.read().await.unwrap().events().list(&platform(), &Page::first(9)).await.unwrap();
    assert_eq!(kept.len(), 6, "acknowledged events stay");
}

async fn a_batch_of_events_says_how_many_were_new(world: World) {
    let tenant = world.tenant("demo").await;
    let batch: Vec<_> = (0..300).map(|n| event(&format!("event {n}"), Some(tenant))).collect();
    let (all, half) = (batch.clone(), batch[..150].to_vec());
    let new = write!(world, |tx| tx.events().insert_batch(&of(tenant), &half).await);
    assert_eq!(new, Ok(150));
    let new = write!(world, |tx| tx.events().insert_batch(&of(tenant), &all).await);
    assert_eq!(new, Ok(150));
    assert_eq!(world.place.number("SELECT count(*) FROM security_events").await, 300);
    assert_eq!(world.place.number("SELECT count(*) FROM outbox").await, 300);
}

async fn append(world: &World, numbers: core::ops::Range<u64>, tenant: Option<terms::TenantId>) {
    write!(world, |tx| {
        for n in numbers {
            tx.audit(entry(&format!("thing/{n}"), tenant));
        }
        Ok::<_, StoreError>(())
    })
    .unwrap();
}

fn events(rows: &[OutboxRow]) -> Vec<SecurityEvent> {
    rows.iter().map(|row| row.event.clone()).collect()
}
