//! kill -9 under load: nothing accepted is lost, nothing runs twice, nothing is counted twice.

use crate::faults::load::{Load, PATIENCE};
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use trials::{Options, Site, is_full, wait_until};

/// Everything that runs for one tenant.
const PROCESSES: [&str; 5] =
    ["palisade", "palisade-control", "palisade-data", "palisade-meter", "palisade-node"];

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_keeps_every_answer_that_it_gave() {
    under_load(&["palisade-control", "palisade-control"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_takes_its_processes_along_and_the_next_one_brings_them_back() {
    under_load(&["palisade-node"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_data_plane_loses_no_execution_and_runs_none_twice() {
    under_load(&["palisade-data", "palisade-data"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_counts_nothing_twice() {
    under_load(&["palisade-meter", "palisade-meter", "palisade-meter"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_every_process_is_killed_goes_on_where_it_was() {
    let mut site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await.unwrap();
    let load = Load::begin(&site).await;
    load.more(20).await;
    let answered = load.end().await;
    site.kill_everything().await.unwrap();
    site.again().await.unwrap();
    answered.held(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_and_whenever_nothing_is_lost() {
    if !is_full("random kills of all four processes") {
        return;
    }
    // `up` gives up on a control plane or a node that dies a third time within a minute.
    let (control, node, data, meter) =
        ("palisade-control", "palisade-node", "palisade-data", "palisade-meter");
    let kills = [control, control, node, node, data, data, data, data, meter, meter, meter, meter];
    under_load(&in_random_order(&kills)).await;
}

/// Kills the processes one after the other, each while executions are in flight and heartbeats flow.
async fn under_load(victims: &[&str]) {
    let site = Site::up(Options { heartbeat_interval_ms: 300, ..Options::default() }).await.unwrap();
    let load = Load::begin(&site).await;
    for victim in victims {
        load.more(10).await;
        assert!(wait_until(PATIENCE, async || site.pid_of(victim).is_ok()).await, "{victim} does not run");
        site.kill_and_wait_for_another(victim).await.unwrap();
    }
    load.more(10).await;
    let answered = load.end().await;
    answered.held(&site).await;
    let names = || site.processes().into_iter().map(|process| process.name).collect::<Vec<_>>();
    assert!(wait_until(PATIENCE, async || names() == PROCESSES).await, "{:?}", names());
}

fn in_random_order<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let random = RandomState::new();
    let shuffled: BTreeMap<u64, &str> =
        names.iter().enumerate().map(|(at, name)| (random.hash_one(at), *name)).collect();
    let order = shuffled.into_values().collect();
    eprintln!("killing {order:?}");
    order
}
