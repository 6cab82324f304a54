//! The metering socket: the sidecar is told, nobody else; and what was told never goes back.

use crate::rig::{World, local};
use data::counters::{Counters, Socket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use wire::counters::{REQUEST, Sample};
use wire::event::EventKind;

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_is_told_the_counters_and_they_survive_a_restart() {
    let world = World::new();
    let plane = world.start().await;
    let path = serve(&world, &plane, own_uid());
    let sent = world.send(&world.plan(local()));
    plane.take_sent(&sent).await.unwrap();
    plane.outcome(sent.execution_id).await;

    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    let first = ask(&mut stream).await;
    let second = ask(&mut stream).await;
    assert_eq!((first.totals.executions, first.totals.outcomes, first.totals.steps), (1, 1, 3));
    assert!(second.totals.cpu_time_us >= first.totals.cpu_time_us);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o666);

    // What was told is on disk already, without an orderly end.
    let copy = world.crash();
    let plane = world.start_in(copy.path(), true).await;
    let after = Counters::new(plane.journal.clone()).sample().await.unwrap();
    assert_eq!(after.epoch, second.epoch);
    assert!(after.totals.cpu_time_us >= second.totals.cpu_time_us);
    let cpu_time_us = second.totals.cpu_time_us;
    assert_eq!(wire::heartbeat::Totals { cpu_time_us, ..after.totals }, second.totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_waits_for_the_sidecar_to_read_what_was_counted_last() {
    let world = World::new();
    let plane = world.start().await;
    let (path, counters) = serve_counters(&world, &plane, own_uid());
    assert!(is_all_told(&counters).await, "nobody reads, so nobody is waited for");
    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    ask(&mut stream).await;

    let sent = world.send(&world.plan(local()));
    plane.take_sent(&sent).await.unwrap();
    plane.outcome(sent.execution_id).await;
    assert!(!is_all_told(&counters).await);
    let last = ask(&mut stream).await;
    counters.all_told().await;
    assert_eq!(last.totals.outcomes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_begins_anew_begins_a_new_epoch() {
    let world = World::new();
    let plane = world.start().await;
    let before = plane.journal.sample().epoch;
    plane.journal.close().await;
    std::fs::remove_dir_all(world.dir.path().join("journal")).unwrap();
    world.clock.advance(1);
    let plane = world.start_in(world.dir.path(), true).await;
    assert!(plane.journal.sample().epoch > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_told_nothing_and_is_reported() {
    let world = World::new();
    let plane = world.start().await;
    let path = serve(&world, &plane, own_uid() + 1);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let _ = stream.write_all(REQUEST).await;
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    assert!(told.is_empty());
    assert_eq!(
        plane.said().await,
        [(EventKind::AuthenticationFailed, "metering.foreign_user".to_owned(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_but_the_request_ends_the_connection() {
    let world = World::new();
    let plane = world.start().await;
    let path = serve(&world, &plane, own_uid());
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    assert!(told.is_empty());
}

fn serve(world: &World, plane: &crate::rig::Plane, sidecar_uid: u32) -> PathBuf {
    serve_counters(world, plane, sidecar_uid).0
}

fn serve_counters(world: &World, plane: &crate::rig::Plane, sidecar_uid: u32) -> (PathBuf, Arc<Counters>) {
    let path = world.dir.path().join("meter.sock");
    // One that a crash left is replaced.
    std::fs::write(&path, b"").unwrap();
    let socket = Socket::bind(&path, sidecar_uid).unwrap();
    let counters = Arc::new(Counters::new(plane.journal.clone()));
    tokio::spawn(socket.serve(Arc::clone(&counters), plane.events.clone()));
    (path, counters)
}

/// Whether an orderly end would go on at once.
async fn is_all_told(counters: &Counters) -> bool {
    tokio::select! {
        biased;
        () = counters.all_told() => true,
        () = std::future::ready(()) => false,
    }
}

async fn ask(stream: &mut BufReader<UnixStream>) -> Sample {
    stream.write_all(REQUEST).await.unwrap();
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.unwrap();
    Sample::read(&line).unwrap()
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}
