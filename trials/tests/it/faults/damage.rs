//! Files that a crash tore or a disk spoilt: what was told is kept, what cannot be trusted is refused or counted,
//! and neither goes unsaid.

use super::files::{
    append_garbage, cut_short, flip_byte, flip_byte_in_the_middle, heartbeats_in, metering_journal,
    plan_journal,
};
use super::load::{Answered, Load, PATIENCE, beats};
use super::said::is_said;
use api::execution::{ExecutionState, ExecutionView};
use api::page::Page;
use api::usage::UsageView;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use trials::{Api, Options, Site, is_full, signal, wait_until};
use wire::event::EventKind;

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_a_journal_costs_nothing_that_was_told() {
    let (mut site, answered) = stopped_under_load().await;
    type Tear = fn(&Path);
    for (times, tear) in [(1, append_garbage as Tear), (2, cut_short)] {
        tear(&plan_journal(&site));
        tear(&metering_journal(&site));
        site.again().await.unwrap();
        let api = site.api().unwrap();
        is_said(&api, EventKind::JournalRecovered, "journal.cut_back", times).await;
        is_said(&api, EventKind::JournalRecovered, "journal.tail", times).await;
        answered.are_whole(&site).await;
        no_heartbeat_accuses(&api).await;
        site.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_journal_that_was_spoilt_is_refused_until_it_is_restored() {
    let (mut site, answered) = stopped_under_load().await;
    let journal = plan_journal(&site);
    let backup = std::fs::read(&journal).unwrap();
    flip_byte_in_the_middle(&journal);
    let spoilt = std::fs::read(&journal).unwrap();

    site.start().unwrap();
    let node_log = || std::fs::read_to_string(site.state().join("node/log")).unwrap_or_default();
    let is_refused = async || node_log().contains("it said: the journal is damaged at byte");
    assert!(wait_until(PATIENCE, is_refused).await, "{}", node_log());
    let (said, path) = (node_log(), journal.display().to_string());
    for expected in [path.as_str(), "restore the data plane's folder from a backup"] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
    assert_eq!(std::fs::read(&journal).unwrap(), spoilt, "what is refused is left as it is");

    OpenOptions::new().write(true).open(&journal).unwrap().write_all_at(&backup, 0).unwrap();
    site.ready().await.unwrap();
    answered.held(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_whose_plan_journal_stays_spoilt_gives_up_and_repeats_the_cause() {
    if !is_full("an `up` that gives up after a minute") {
        return;
    }
    let (site, _) = stopped_under_load().await;
    let journal = plan_journal(&site);
    flip_byte_in_the_middle(&journal);
    let (exit, said) = site.up_fails().await.unwrap();
    assert_eq!(exit, 1, "{said}");
    let path = journal.display().to_string();
    for expected in ["error[not_ready]", "the journal is damaged at byte", &path, "restore", "next: "] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
    assert_eq!(site.processes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_lost_plan_journal_may_have_run_runs_again() {
    let mut site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await.unwrap();
    let load = Load::begin(&site).await;
    load.more(20).await;
    let asked = load.end().await.count() as u64 + 1;
    assert_eq!(admitted(&site, asked).await, asked, "each was admitted, and the demonstration's own");
    site.stop().await.unwrap();
    let journal = site.state_of("data-").unwrap().join("journal");
    std::fs::rename(journal, site.folder().join("lost")).unwrap();

    // It says so, and takes only what was issued since: the next demonstration.
    site.again().await.unwrap();
    let api = site.api().unwrap();
    is_said(&api, EventKind::JournalDamaged, "journal.lost", 1).await;
    let latest: Page<ExecutionView> = api.get("/v1/tenants/demo/executions?limit=1").await.unwrap();
    assert_eq!(latest.items[0].state, ExecutionState::Completed);
    assert_eq!(admitted(&site, asked + 1).await, asked + 1, "something ran again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metering_journal_that_was_spoilt_is_reported_and_counts_nothing_twice() {
    let (mut site, answered) = stopped_under_load().await;
    flip_byte_in_the_middle(&metering_journal(&site));
    site.again().await.unwrap();
    let api = site.api().unwrap();
    is_said(&api, EventKind::JournalDamaged, "journal.middle", 1).await;
    answered.held(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_was_spoilt_while_it_waited_is_missed_and_its_usage_is_not() {
    let mut site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await.unwrap();
    let load = Load::begin(&site).await;
    load.more(20).await;
    let answered = load.end().await;
    let journal = metering_journal(&site);
    let before = heartbeats_in(&journal).len();
    signal(site.pid_of("palisade-control").unwrap(), "STOP").unwrap();
    let waiting = wait_until(PATIENCE, async || heartbeats_in(&journal).len() > before + 5).await;
    site.kill_everything().await.unwrap();
    assert!(waiting, "the sidecar stopped swearing");

    let beats_kept = heartbeats_in(&journal);
    flip_byte(&journal, beats_kept[beats_kept.len() - 3] + 100);
    site.again().await.unwrap();
    let api = site.api().unwrap();
    is_said(&api, EventKind::JournalDamaged, "journal.middle", 1).await;
    is_said(&api, EventKind::HeartbeatGap, "gap", 1).await;
    answered.are_whole(&site).await;
    let arrived = beats(&api).await;
    let missed = arrived.last().unwrap().sworn.counter - arrived.len() as u64;
    assert_eq!(missed, 1, "the others arrived");
}

/// A site that was stopped while executions waited in its data plane.
async fn stopped_under_load() -> (Site, Answered) {
    let mut site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await.unwrap();
    let load = Load::begin(&site).await;
    load.more(20).await;
    let answered = load.end().await;
    site.stop().await.unwrap();
    (site, answered)
}

/// How many executions the data plane has admitted, all journals together, once it is as many as expected.
async fn admitted(site: &Site, expected: u64) -> u64 {
    let api = site.api().unwrap();
    let admitted = async || {
        let usage: UsageView = api.get("/v1/tenants/demo/usage").await.unwrap();
        usage.totals.executions
    };
    wait_until(PATIENCE, async || admitted().await >= expected).await;
    admitted().await
}

/// Counters were passed over, which is a question; nothing looks like a forgery, and metering goes on.
async fn no_heartbeat_accuses(api: &Api) {
    let is_live =
        async || beats(api).await.pop().is_some_and(|last| last.stored.accepted && !last.sworn.spooled);
    assert!(wait_until(PATIENCE, is_live).await, "no live heartbeat is accepted");
    for beat in beats(api).await {
        assert!(["ok", "stale"].contains(&beat.stored.code.as_str()), "{:?}", beat.stored);
    }
}
