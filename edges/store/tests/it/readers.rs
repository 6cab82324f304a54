//! The readers' connections: few, shared, and never in each other's way.

use crate::world::{World, of, platform};
use futures_util::FutureExt as _;
use store::{Config, Page, StoreError};

contracts! {
    one_reader_more_than_there_are_places_waits_its_turn,
    a_reader_that_waits_too_long_is_told,
    a_reader_sees_each_commit_that_came_before_it,
    a_reader_that_is_out_when_the_store_closes_may_finish,
}

async fn one_reader_more_than_there_are_places_waits_its_turn(world: World) {
    let mut out = Vec::new();
    for _ in 0..Config::READERS {
        out.push(world.store.read().await.unwrap());
    }
    let mut waiting = Box::pin(world.store.read());
    assert!(waiting.as_mut().now_or_never().is_none());
    out.pop();
    let mut reader = waiting.await.unwrap();
    assert!(reader.tenants().list(&platform(), &Page::first(1)).await.is_ok());
}

async fn a_reader_that_waits_too_long_is_told(world: World) {
    let mut out = Vec::new();
    for _ in 0..Config::READERS {
        out.push(world.store.read().await.unwrap());
    }
    tokio::time::pause();
    let late = world.store.read().await;
    assert_eq!(late.err(), Some(StoreError::Unreachable("every reader is busy".to_owned())));
}

async fn a_reader_sees_each_commit_that_came_before_it(world: World) {
    let mut early = world.store.read().await.unwrap();
    assert_eq!(early.tenants().list(&platform(), &Page::first(9)).await.unwrap().0.len(), 0);
    for n in 1..=5 {
        world.tenant(&format!("t{n}")).await;
        let mut fresh = world.store.read().await.unwrap();
        for reader in [&mut early, &mut fresh] {
            assert_eq!(reader.tenants().list(&platform(), &Page::first(9)).await.unwrap().0.len(), n);
        }
    }
}

async fn a_reader_that_is_out_when_the_store_closes_may_finish(world: World) {
    let id = world.tenant("demo").await;
    let mut reader = world.store.read().await.unwrap();
    world.store.close().await;
    assert!(reader.tenants().load(&of(id), id).await.is_ok());
    drop(reader);
    assert_eq!(world.store.read().await.err(), Some(StoreError::Closed));
}

#[test]
fn a_closed_database_is_one_file() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        drop(world.store.read().await.unwrap());
        world.store.close().await;
        let files: Vec<_> = std::fs::read_dir(world.place.folder())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, ["palisade.db"]);
    });
}
