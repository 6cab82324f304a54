//! A disk without space: new work is refused, what was accepted waits, and all of it goes on once there is space.

use super::load::{Load, PATIENCE};
use super::mounts::SmallDisk;
use std::time::Duration;
use trials::{Api, Denied, Options, Site, wait_until};

/// Milliseconds between heartbeats.
const INTERVAL_MS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_out_and_costs_nothing_that_was_accepted() {
    let options = Options { heartbeat_interval_ms: INTERVAL_MS, ..Options::default() };
    let mut site = Site::prepare(options).unwrap();
    let Some(disk) = SmallDisk::mount(&site.state()) else { return };
    site.again().await.unwrap();
    let load = Load::begin(&site).await;
    load.more(10).await;

    disk.fill().await;
    let denied = first_refusal(&site.api().unwrap()).await;
    assert_eq!((denied.status, denied.code.as_str()), (503, "unavailable"));
    // The data plane and the sidecar meet it too: some heartbeats fall due, and executions wake.
    tokio::time::sleep(Duration::from_millis(5 * INTERVAL_MS)).await;
    site.run(&["tenant", "list"]).unwrap();

    disk.free();
    load.more(10).await;
    let answered = load.end().await;
    answered.held(&site).await;
}

/// Changes one thing after the other until one is refused.
async fn first_refusal(api: &Api) -> Denied {
    let (mut number, mut denied) = (0, None);
    wait_until(PATIENCE, async || {
        number += 1;
        let document = format!(
            "document: {{ dsl: '1.0.0', namespace: trial, name: w{number}, version: '1.0.0' }}\n\
             do:\n  - only: {{ set: {{ n: 1 }} }}\n"
        );
        denied = Denied::of(api.apply("demo", &document).await).ok();
        denied.is_some()
    })
    .await;
    denied.expect("a refusal")
}
