//! A clock that is set back: what needs its time waits for it, everything else goes on, and nothing is lost.

use super::load::{Load, PATIENCE, beats};
use super::said::is_said;
use api::execution::{ExecutionState, ExecutionView};
use terms::Timestamp;
use trials::{Options, Site, skipped, wait_until};
use wire::event::EventKind;

const HOUR_S: i64 = 3_600;

/// Less than the longest wall time of an execution, which is by this clock: one that waits while the clock is set
/// back and forth would otherwise end for it.
const HALF_AN_HOUR_S: i64 = 1_800;

/// How far ahead of its receipt a heartbeat may be.
const AHEAD_MAX_MS: i64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_an_hour_between_two_runs_loses_nothing() {
    let Some(mut site) = hours_old_site().await else { return };
    let load = Load::begin(&site).await;
    load.more(20).await;
    let answered = load.end().await;
    site.stop().await.unwrap();

    site.set_clock(-HOUR_S).unwrap();
    site.again().await.unwrap();
    let api = site.api().unwrap();
    is_said(&api, EventKind::ClockAnomaly, "from_the_future", 1).await;
    let since = now().plus_ms(-HOUR_S * 1_000 - 120_000)..now().plus_ms(-HOUR_S * 1_000);
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    let demonstration = executions.iter().find(|execution| since.contains(&execution.created_at)).unwrap();
    assert_eq!(demonstration.state, ExecutionState::Completed, "new work goes on");

    set_right_again(&mut site).await;
    answered.are_whole(&site).await;
    none_was_counted_ahead_of_its_time(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_under_load_loses_nothing() {
    let Some(mut site) = hours_old_site().await else { return };
    let load = Load::begin(&site).await;
    load.more(10).await;
    site.set_clock(-HALF_AN_HOUR_S).unwrap();
    load.more(10).await;
    let api = site.api().unwrap();
    is_said(&api, EventKind::ClockAnomaly, "from_the_future", 1).await;
    site.set_clock(0).unwrap();
    load.more(10).await;
    let answered = load.end().await;
    set_right_again(&mut site).await;
    answered.are_whole(&site).await;
    none_was_counted_ahead_of_its_time(&site).await;
}

/// A site whose certificates are older than what its clock is set back by, as they are on any but the first day.
async fn hours_old_site() -> Option<Site> {
    let options = Options { heartbeat_interval_ms: 300, ..Options::default() };
    let mut site = Site::prepare(options).unwrap();
    if !site.set_clock(-2 * HOUR_S).unwrap() {
        skipped("a clock that is set back", "there is no C compiler");
        return None;
    }
    site.again().await.unwrap();
    let api = site.api().unwrap();
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    assert!(executions[0].created_at < now().plus_ms(-HOUR_S * 1_000), "it is not on its own clock");
    site.set_clock(0).unwrap();
    Some(site)
}

/// Ends what waits at once: a data plane that runs on notices within half a minute that its clock was set.
async fn set_right_again(site: &mut Site) {
    site.stop().await.unwrap();
    site.set_clock(0).unwrap();
    site.again().await.unwrap();
}

/// Every heartbeat arrived, and those that are later than the control plane's own time do not count.
async fn none_was_counted_ahead_of_its_time(site: &Site) {
    let api = site.api().unwrap();
    let is_live = async || beats(&api).await.pop().is_some_and(|last| last.stored.accepted);
    assert!(wait_until(PATIENCE, is_live).await, "no heartbeat is accepted any more");
    for (counter, beat) in (1..).zip(beats(&api).await) {
        assert_eq!(beat.sworn.counter, counter, "one is lost");
        let ahead_ms = Timestamp::from_unix_s(beat.sworn.time).ms_since(beat.stored.received_at);
        let expected: &[&str] =
            if ahead_ms > AHEAD_MAX_MS { &["from_the_future"] } else { &["ok", "stale", "time_went_back"] };
        assert!(expected.contains(&beat.stored.code.as_str()), "{ahead_ms} ms ahead: {:?}", beat.stored);
    }
}

fn now() -> Timestamp {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_unix_ms(since_epoch.as_millis() as i64)
}
