//! Sidecars, their heartbeats, and the usage that they add up to.

use crate::seed::{beat, sidecar};
use crate::world::{NOW, World, of};
use store::{Page, SidecarRow, StoreError, StoredBeat, WriteError};
use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::heartbeat::Totals;

contracts! {
    a_sidecars_chain_is_saved,
    heartbeats_are_kept_once_and_evidence_beside_them,
    heartbeats_come_in_pages_also_where_two_share_a_counter,
    a_large_batch_is_kept_whole,
    usage_adds_up_by_the_hour,
}

async fn a_sidecars_chain_is_saved(world: World) {
    let tenant = world.tenant("demo").await;
    let (first, second) = (enrol(&world, tenant).await, enrol(&world, tenant).await);
    let next = SidecarRow {
        epoch: 2,
        counter: 9,
        prev: Digest::sha256(b"prev"),
        time: NOW,
        totals: steps(40),
        sworn: steps(41),
        last_received: Some(NOW),
        accepted: 9,
        anomalies: 1,
        ..first.clone()
    };
    let saved = next.clone();
    write!(world, |tx| tx.sidecars().save_state(&of(tenant), &saved).await).unwrap();
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.sidecars().load(&of(tenant), next.id).await.unwrap(), next);
    assert_eq!(reader.sidecars().list(&of(tenant), tenant).await.unwrap(), [next.clone(), second.clone()]);
    let others = reader.sidecars().totals_of_others(&of(tenant), tenant, second.id).await.unwrap();
    assert_eq!(others, steps(40));
    let absent = SidecarRow { id: id!(SidecarId), ..next };
    let refused = write!(world, |tx| tx.sidecars().save_state(&of(tenant), &absent).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("sidecar"))));
}

async fn heartbeats_are_kept_once_and_evidence_beside_them(world: World) {
    let tenant = world.tenant("demo").await;
    let id = enrol(&world, tenant).await.id;
    let (honest, forged) = (beat(id, 1, "honest"), evidence(id, 1, "forged"));
    keep(&world, tenant, std::slice::from_ref(&honest)).await;
    keep(&world, tenant, &[StoredBeat { reason: "other".to_owned(), ..honest.clone() }, forged.clone()])
        .await;
    let mut reader = world.store.read().await.unwrap();
    let place = reader.heartbeats().in_chain(&of(tenant), tenant, id, 1).await.unwrap();
    assert_eq!(place, Some((honest.payload_digest, "ok".to_owned())));
    assert_eq!(reader.heartbeats().in_chain(&of(tenant), tenant, id, 2).await, Ok(None));
    let (mut kept, _) = reader.heartbeats().list(&of(tenant), tenant, &Page::first(9)).await.unwrap();
    kept.sort_by_key(|beat| !beat.in_chain);
    assert_eq!(kept, [honest, forged]);
}

async fn heartbeats_come_in_pages_also_where_two_share_a_counter(world: World) {
    let tenant = world.tenant("demo").await;
    let (one, two) = (enrol(&world, tenant).await.id, enrol(&world, tenant).await.id);
    let mut all: Vec<_> = (1..=3).map(|counter| beat(one, counter, &format!("one {counter}"))).collect();
    all.extend((1..=3).map(|counter| evidence(two, 2, &format!("forged {counter}"))));
    all.push(beat(two, 2, "two"));
    keep(&world, tenant, &all).await;
    let mut reader = world.store.read().await.unwrap();
    for limit in 1..=7 {
        let (mut listed, mut page) = (Vec::new(), Page::first(limit));
        loop {
            let (beats, next) = reader.heartbeats().list(&of(tenant), tenant, &page).await.unwrap();
            listed.extend(beats);
            let Some(after) = next else { break };
            page.after = Some(after);
        }
        all.sort_by_key(|beat| core::cmp::Reverse((beat.sidecar, beat.counter, beat.payload_digest)));
        assert_eq!(listed, all, "pages of {limit}");
    }
}

async fn a_large_batch_is_kept_whole(world: World) {
    let tenant = world.tenant("demo").await;
    let id = enrol(&world, tenant).await.id;
    let batch: Vec<_> = (1..=1_000).map(|counter| beat(id, counter, &counter.to_string())).collect();
    keep(&world, tenant, &batch).await;
    assert_eq!(world.place.number("SELECT count(*) FROM heartbeats").await, 1_000);
    assert_eq!(world.place.number("SELECT CAST(sum(counter) AS BIGINT) FROM heartbeats").await, 500_500);
}

async fn usage_adds_up_by_the_hour(world: World) {
    let tenant = world.tenant("demo").await;
    let row = enrol(&world, tenant).await;
    let hour = Timestamp::from_unix_ms(NOW.unix_ms() / 3_600_000 * 3_600_000);
    let times = [hour, hour.plus_ms(3_599_999), hour.plus_ms(3_600_000), hour.plus_ms(-1)];
    for (at, n) in times.into_iter().zip([1, 2, 4, 8]) {
        write!(world, |tx| tx.heartbeats().add_usage(&of(tenant), tenant, at, &steps(n)).await).unwrap();
    }
    let saved = SidecarRow { totals: steps(15), accepted: 4, last_received: Some(NOW), ..row };
    write!(world, |tx| tx.sidecars().save_state(&of(tenant), &saved).await).unwrap();
    let mut reader = world.store.read().await.unwrap();
    let (from, to) = (hour, hour.plus_ms(3_600_001));
    let usage = reader.heartbeats().usage(&of(tenant), tenant, from, to).await.unwrap();
    assert_eq!((usage.totals, usage.heartbeats, usage.as_of), (steps(15), 4, Some(NOW)));
    let hours: Vec<_> = usage.hours.iter().map(|h| (h.hour, h.added)).collect();
    assert_eq!(hours, [(hour, steps(3)), (hour.plus_ms(3_600_000), steps(4))]);
}

async fn enrol(world: &World, tenant: TenantId) -> SidecarRow {
    let row = sidecar(tenant);
    let enrolled = row.clone();
    write!(world, |tx| tx.sidecars().insert(&of(tenant), &row).await).unwrap();
    enrolled
}

async fn keep(world: &World, tenant: TenantId, beats: &[StoredBeat]) {
    let beats = beats.to_vec();
    write!(world, |tx| tx.heartbeats().insert_batch(&of(tenant), tenant, &beats).await).unwrap();
}

fn evidence(sidecar: SidecarId, counter: u64, text: &str) -> StoredBeat {
    let reason = "heartbeat.equivocation".to_owned();
    StoredBeat { accepted: false, in_chain: false, reason, ..beat(sidecar, counter, text) }
}

fn steps(steps: u64) -> Totals {
    Totals { steps, ..Totals::default() }
}
