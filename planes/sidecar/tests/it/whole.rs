//! The whole sidecar between a data plane and a control plane.

use crate::site::{Script, Site};
use crate::world::steps;
use sidecar::metering::MeteringError;
use sidecar::run::End;
use sidecar::sample::{SampleError, sample};
use sidecar::{RunError, key};
use terms::SidecarId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use wire::heartbeat::Integrity;

#[tokio::test]
async fn a_sidecar_enrols_once_swears_to_what_was_consumed_and_says_farewell() {
    let mut site = Site::new().await;
    site.give_token();
    site.consume(5);
    let (stop, running) = site.start();
    let first = site.heartbeat().await;
    assert_eq!((first.counter, first.epoch, first.totals), (1, 1, steps(5)));
    assert_eq!((first.release.as_str(), first.integrity), (env!("CARGO_PKG_VERSION"), Integrity::UNCHECKED));
    assert!(!site.config.enrol_token_file.exists(), "a used token is removed");

    site.consume(7);
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap().unwrap(), End::Stopped);
    site.heartbeat_of(12).await;
    assert_eq!(site.control.ledger.lock().unwrap().usage, steps(12));
    assert_eq!(site.control.public_keys.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_control_plane_whose_name_stands_for_no_address_is_reached_at_its_own() {
    let mut site = Site::new().await;
    let port = site.config.control_plane_url.rsplit(':').next().unwrap();
    site.config.control_plane_addr = Some(format!("127.0.0.1:{port}").parse().unwrap());
    "https://control-plane.invalid:1".clone_into(&mut site.config.control_plane_url);
    site.give_token();
    site.consume(5);
    let (stop, running) = site.start();
    site.heartbeat_of(5).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_start_is_a_new_epoch_of_the_same_chain_under_the_same_key() {
    let mut site = Site::new().await;
    site.give_token();
    for epoch in 1..=2 {
        let (stop, running) = site.start();
        while site.heartbeat().await.epoch < epoch {}
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }
    let ledger = site.control.ledger.lock().unwrap();
    assert_eq!((ledger.state.epoch, &ledger.accusations[..]), (2, &[][..]));
    assert_eq!(site.control.public_keys.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_control_plane_that_hangs_holds_up_no_heartbeat() {
    let mut site = Site::new().await;
    site.give_token();
    site.answer(Script::Hang);
    let (stop, running) = site.start();
    site.heartbeat().await;
    // Heartbeats are made as often as samples here, and both go on.
    for _ in 0..5 {
        site.samples.recv().await.unwrap();
    }
    site.consume(3);
    site.answer(Script::Judge);
    site.control.gate.add_permits(1);
    let again = site.heartbeat().await;
    let next = site.heartbeat().await;
    assert_eq!((again.counter, next.counter), (1, 2), "what waited comes in one delivery");
    site.heartbeat_of(3).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(site.control.ledger.lock().unwrap().usage, steps(3));
}

#[tokio::test]
async fn what_could_not_be_delivered_is_delivered_after_a_restart() {
    let mut site = Site::new().await;
    site.give_token();
    site.answer(Script::Unavailable);
    site.consume(9);
    let (stop, running) = site.start();
    let sworn = site.heartbeat_of(9).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    site.answer(Script::Judge);
    while site.heartbeats.try_recv().is_ok() {}

    let (stop, running) = site.start();
    assert_eq!(site.heartbeat().await.counter, sworn.counter);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(site.control.ledger.lock().unwrap().usage, steps(9));
}

#[tokio::test]
async fn a_fork_ends_the_sidecar_now_and_at_every_start() {
    let mut site = Site::new().await;
    site.give_token();
    site.answer(Script::Refuse("equivocation"));
    let (_stop, running) = site.start();
    let ended = running.await.unwrap();
    assert!(matches!(ended, Err(RunError::Metering(MeteringError::Forked(code))) if code == "equivocation"));
    site.heartbeat().await;
    let (_stop, running) = site.start();
    assert!(matches!(running.await.unwrap(), Err(RunError::Metering(MeteringError::Forked(_)))));
}

#[tokio::test]
async fn somebody_else_on_the_metering_socket_is_not_believed_and_reported() {
    let mut site = Site::new().await;
    site.give_token();
    site.consume(1_000_000);
    site.config.data_plane_uid += 1;
    let (stop, running) = site.start();
    site.event("sample.foreign_peer").await;
    assert_eq!(site.heartbeat().await.totals, steps(0));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn counters_that_go_back_are_reported_and_nothing_is_taken_away() {
    let mut site = Site::new().await;
    site.give_token();
    site.consume(10);
    let (stop, running) = site.start();
    site.heartbeat_of(10).await;
    site.control.totals.lock().unwrap().totals.steps = 4;
    site.event("sample.counter_went_back").await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(site.control.ledger.lock().unwrap().usage, steps(10));
}

#[tokio::test]
async fn a_sidecar_without_a_token_asks_for_one_and_one_with_a_used_token_too() {
    let mut site = Site::new().await;
    host::files::write_private_atomically(
        &site.config.enrol_token_file,
        terms::Token::mint("enrol", &[7; 32]).expose().as_bytes(),
    )
    .unwrap();
    let (stop, running) = site.start();
    site.appears("enrol.wanted").await;
    site.give_token();
    site.heartbeat().await;
    assert!(!site.path("enrol.wanted").exists() && !site.config.enrol_token_file.exists());
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_expired_sidecar_goes_on_swearing_and_enrols_anew() {
    let mut site = Site::new().await;
    site.give_token();
    site.control.enrols.lock().unwrap().1 = 30_000;
    site.consume(4);
    let (stop, running) = site.start();
    site.heartbeat_of(4).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    // Little enough for the next certificate, issued then and dated back, to be valid by the real clock too.
    site.clock.advance(40_000);
    while site.samples.try_recv().is_ok() {}

    let other = SidecarId::from_bytes([9; 16]);
    *site.control.enrols.lock().unwrap() = (other, 24 * 3_600_000);
    let (_stop, mut running) = site.start();
    site.samples.recv().await.unwrap();
    site.appears("enrol.wanted").await;
    site.give_token();
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            _ = site.samples.recv() => site.clock.advance(200),
        }
    };
    assert_eq!(ended.unwrap().unwrap(), End::EnrolledAnew);

    *site.control.ledger.lock().unwrap() = crate::world::ControlPlane::new(other);
    while site.heartbeats.try_recv().is_ok() {}
    site.consume(2);
    let (stop, running) = site.start();
    let beat = site.heartbeat_of(2).await;
    assert_eq!((beat.sidecar, beat.epoch), (other, 1));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_sidecar_whose_key_or_journal_is_gone_does_not_start_over() {
    let mut site = Site::new().await;
    site.give_token();
    let (stop, running) = site.start();
    site.heartbeat().await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();

    let journal = std::fs::read(site.path("metering.journal")).unwrap();
    std::fs::remove_file(site.path("metering.journal")).unwrap();
    assert!(matches!(site.start().1.await.unwrap(), Err(RunError::JournalMissing(_))));
    std::fs::write(site.path("metering.journal"), journal).unwrap();
    std::fs::remove_file(site.path("metering.key")).unwrap();
    let ended = site.start().1.await.unwrap();
    assert!(matches!(ended, Err(RunError::Key(key::MeteringKeyError::Missing(_)))));
}

#[tokio::test]
async fn a_second_sidecar_on_one_folder_is_refused() {
    let mut site = Site::new().await;
    site.give_token();
    let (stop, running) = site.start();
    site.heartbeat().await;
    assert!(matches!(site.start().1.await.unwrap(), Err(RunError::Lock(_))));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_identity_of_another_tenant_is_refused() {
    let mut site = Site::new().await;
    site.give_token();
    site.config.tenant = terms::TenantId::from_bytes([8; 16]);
    assert!(matches!(site.start().1.await.unwrap(), Err(RunError::Stranger(_))));
}

#[tokio::test]
async fn an_answer_that_is_no_sample_is_refused() {
    let uid = host::process::own_uid();
    for (answer, expected) in [
        ("{}\n", "no sample"),
        ("{\"epoch\":1,\"epoch\":2}\n", "twice"),
        ("", "no sample"),
        (&*" ".repeat(5_000), "larger"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let answer = answer.to_owned();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 2]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let refused = sample(&path, uid).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        answering.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_data_plane_that_does_not_answer_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _silent = UnixListener::bind(&path).unwrap();
    let refused = sample(&path, host::process::own_uid()).await.unwrap_err();
    assert!(matches!(refused, SampleError::Timeout));
    let absent = sample(&dir.path().join("absent"), 0).await.unwrap_err();
    assert!(matches!(absent, SampleError::Socket(_)));
}
