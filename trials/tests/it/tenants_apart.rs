//! As root: every tenant in a network of its own, with the shipped programs, on machines that are the trial's own.

mod controls;
mod drift;
mod drivers;
mod home;
mod kills;
mod lives;
mod second_host;

use home::Apart;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use trials::Options;

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_lives_in_a_network_of_its_own_and_every_wall_is_shown_to_hold() {
    let Some(apart) = Apart::up("networks: a whole system").await else { return };
    for name in ["acme", "globex"] {
        apart.found(name).await;
    }
    each_process_is_where_it_belongs(&apart);
    for name in ["demo", "acme", "globex"] {
        apart.runs_a_plan(name);
    }

    let listed = apart.site.run(&["network", "list"]).unwrap();
    for (name, number) in [("demo", 1), ("acme", 2), ("globex", 3)] {
        let row = listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(row.contains(&format!("10.{}.0.0/16", 100 + number)) && row.contains("held"), "{listed}");
        let shown = apart.site.run(&["network", "show", name]).unwrap();
        assert!(shown.contains("restricted=true") && shown.contains("nat_gateway"), "{shown}");
    }
    let drift = apart.site.run(&["network", "drift"]).unwrap();
    assert!(drift.contains("as declared") && !drift.contains("WHAT DIFFERS"), "{drift}");
    let probed = apart.site.run(&["network", "probe"]).unwrap();
    assert!(probed.contains("all hold: ") && probed.contains("1 of 1 hosts answered"), "{probed}");
    for control in ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5"] {
        assert!(probed.contains(control), "{control} was not probed:\n{probed}");
    }
    apart.end().await;
}

/// Every data plane and sidecar runs in its tenant's namespace under a user of its own, the control plane in its own,
/// and the node in the host's.
fn each_process_is_where_it_belongs(apart: &Apart) {
    let machine = apart.site.machine().unwrap();
    let mut users = BTreeSet::new();
    let data_planes = apart.json(&["data-plane", "list"]);
    let data_planes = data_planes.as_array().unwrap();
    assert_eq!(data_planes.len(), 3);
    for data_plane in data_planes {
        let tenant = data_plane["tenant_name"].as_str().unwrap();
        let number = apart.network(tenant)["number"].as_u64().unwrap();
        let own = machine.number_of(&format!("palisade-t{number}")).unwrap();
        assert_eq!(data_plane["url"], format!("https://10.{}.0.10:5678", 100 + number));
        for pid in [&data_plane["pid"], &data_plane["sidecar_pid"]] {
            let pid = u32::try_from(pid.as_u64().unwrap()).unwrap();
            assert_eq!(network_of(pid), own, "{tenant}");
            users.insert(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid());
        }
        assert_eq!(data_plane["networks_enforced"], true);
    }
    let control = apart.site.pid_of("palisade-control").unwrap();
    assert_eq!(network_of(control), machine.number_of("palisade-cp").unwrap());
    users.insert(std::fs::metadata(format!("/proc/{control}")).unwrap().uid());
    assert_eq!(users.len(), 7, "two for each of three tenants, and the control plane's: {users:?}");
    assert!(!users.contains(&0), "{users:?}");
    let node = apart.site.pid_of("palisade-node").unwrap();
    let up = apart.site.pid_of("palisade").unwrap();
    assert_eq!(network_of(node), network_of(up));
}

/// The number of the network namespace that a process runs in.
fn network_of(pid: u32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).unwrap().ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_on_two_machines_do_not_disturb_each_other() {
    let Some(mut one) = Apart::up("networks: two sites at once").await else { return };
    let other = one.neighbour(Options { any_port: false, ..Options::default() }).await;
    for site in [&one.site, &other] {
        let probed = site.run(&["network", "probe"]).unwrap();
        assert!(probed.contains("all hold: "), "{probed}");
    }
    one.end().await;
    home::runs_a_plan(&other, "demo");
    let drift = other.run(&["network", "drift"]).unwrap();
    assert!(drift.contains("as declared"), "{drift}");
    home::ended(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_end_without_a_last_word_a_reset_leaves_nothing() {
    let Some(mut apart) = Apart::up("networks: a reset after a kill").await else { return };
    apart.site.kill_everything().await.unwrap();
    apart.site.run(&["node", "reset", "--yes"]).unwrap();
    apart.nothing_is_left().await;
    // It has nothing to do the second time, and the next start builds all of it again.
    apart.site.run(&["node", "reset", "--yes"]).unwrap();
    apart.site.again().await.unwrap();
    apart.runs_a_plan("demo");
    apart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_fails_leaves_nothing() {
    let Some(apart) = Apart::up("networks: a trial that fails").await else { return };
    let (folder, groups) = (apart.site.folder().to_owned(), apart.groups());
    drop(apart);
    assert_eq!(trials::running_in(&folder), []);
    assert!(!folder.exists());
    home::no_group_is_left(&groups).await;
}
