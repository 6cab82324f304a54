//! A disk without space: new work is refused or waits, and all of it goes on by itself once there is space.

use super::load::{Load, PATIENCE};
use super::mounts::SmallDisk;
use std::path::PathBuf;
use std::time::Duration;
use trials::{Denied, Options, Site, wait_until};

/// Milliseconds between heartbeats.
const INTERVAL_MS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_everything_refuses_what_is_new_and_loses_nothing() {
    let Some(mut trial) = Trial::on(|site| site.state()).await else { return };
    let load = trial.filled_under_load().await;
    let denied = trial.first_refusal().await;
    assert_eq!((denied.status, denied.code.as_str()), (503, "unavailable"));
    trial.site.run(&["tenant", "list"]).unwrap();
    // No log says so any more, but the data plane and the sidecar meet it as well.
    tokio::time::sleep(Duration::from_millis(5 * INTERVAL_MS)).await;
    trial.freed_and_whole(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_a_data_plane_makes_its_executions_wait() {
    let Some(mut trial) = Trial::on(|site| site.state_of("data-").unwrap()).await else { return };
    let load = trial.filled_under_load().await;
    trial.is_logged("data-", "the journal was not written").await;
    // The control plane answers for more, and keeps them until they can be delivered.
    load.more(10).await;
    trial.freed_and_whole(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_a_sidecar_costs_heartbeats_and_no_usage() {
    let Some(mut trial) = Trial::on(|site| site.state_of("meter-").unwrap()).await else { return };
    let load = trial.filled_under_load().await;
    trial.is_logged("meter-", "a heartbeat could not be kept").await;
    load.more(10).await;
    trial.freed_and_whole(load).await;
}

/// A site with a disk of its own under one of its folders.
struct Trial {
    site: Site,
    disk: SmallDisk,
}

impl Trial {
    async fn on(folder: impl Fn(&Site) -> PathBuf) -> Option<Self> {
        let options = Options { heartbeat_interval_ms: INTERVAL_MS, ..Options::default() };
        let mut site = Site::up(options).await.unwrap();
        site.stop().await.unwrap();
        let disk = SmallDisk::under(&folder(&site), &site.folder().join("aside"))?;
        site.again().await.unwrap();
        Some(Self { site, disk })
    }

    async fn filled_under_load(&self) -> Load {
        let load = Load::begin(&self.site).await;
        load.more(10).await;
        self.disk.fill().await;
        load
    }

    async fn freed_and_whole(&mut self, load: Load) {
        self.disk.free();
        load.more(10).await;
        load.end().await.held(&self.site).await;
    }

    /// Changes one thing after the other until one is refused.
    async fn first_refusal(&self) -> Denied {
        let api = self.site.api().unwrap();
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

    /// Waits until a process, by the beginning of its log's name, has logged that.
    async fn is_logged(&self, process: &str, text: &str) {
        let logs = self.site.state().join("node/logs");
        let log = || {
            let mut entries = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path());
            let is_its_own =
                |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(process);
            std::fs::read_to_string(entries.find(is_its_own).unwrap()).unwrap()
        };
        assert!(wait_until(PATIENCE, async || log().contains(text)).await, "no `{text}` in:\n{}", log());
    }
}
