//! The whole node: processes, folders, tokens, reports.

use crate::site::Site;
use api::enrolment::EnrolmentKind;
use api::network::Driver;
use node::RunError;
use node::run::End;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use terms::{TenantId, Workload};

const A: TenantId = TenantId::from_bytes([1; 16]);
const B: TenantId = TenantId::from_bytes([2; 16]);

#[tokio::test]
async fn a_placed_tenant_gets_its_two_processes_each_with_its_own_folder_user_and_token() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    let placement = site.running(A, |_| true).await;
    assert_eq!(placement.url, "https://127.0.0.1:5678");
    let [data, meter] = ["data", "meter"].map(|part| site.path(&format!("{part}-{A}")).metadata().unwrap());
    assert_eq!((data.mode() & 0o777, meter.mode() & 0o777), (0o700, 0o700));
    if host::process::is_root() {
        let base = site.config.uid_base;
        assert_eq!((data.uid(), meter.uid()), (base + 2, base + 3));
        assert_eq!(owner(placement.pid), base + 2);
        assert_eq!(owner(placement.sidecar_pid), base + 3);
    }
    site.appears(&format!("meter-{A}/enrol.token")).await;
    let [token, config] =
        ["enrol.token", "meter.toml"].map(|name| site.path(&format!("meter-{A}/{name}")).metadata().unwrap());
    assert_eq!((token.mode() & 0o777, token.uid()), (0o600, meter.uid()));
    assert_eq!((config.mode() & 0o777, config.uid()), (0o600, meter.uid()));
    stop.send(()).unwrap();
    assert_eq!(running.await.unwrap().unwrap(), End::Stopped);
    let mut tokens = site.control.tokens.lock().unwrap().clone();
    tokens.sort_by_key(|(kind, _)| kind.as_str());
    assert_eq!(tokens, [(EnrolmentKind::DataPlane, A), (EnrolmentKind::Sidecar, A)]);
}

#[tokio::test]
async fn a_halted_tenants_data_plane_stops_before_its_sidecar_and_its_folders_stay() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    site.running(A, |_| true).await;
    site.place(A, false);
    site.event("process.stopped").await;
    site.event("process.stopped").await;
    assert_eq!(site.order()[2..], ["data stopped", "meter stopped"]);
    assert!(site.path(&format!("data-{A}")).exists() && site.path(&format!("meter-{A}")).exists());

    site.place(A, true);
    site.running(A, |_| true).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_ends_every_process_in_order_and_says_so() {
    let mut site = Site::new().await;
    site.place(A, true);
    site.place(B, true);
    let (stop, running) = site.start();
    site.running(A, |_| true).await;
    site.running(B, |_| true).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    let order = site.order();
    let count = |what: &str| order.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("data stopped"), count("meter stopped")), (2, 2));
    assert_eq!(order.last().unwrap(), "meter stopped");
    site.nothing_running().await;
}

#[tokio::test]
async fn a_killed_process_is_reported_and_started_again_and_the_other_one_is_left_alone() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    let before = site.running(A, |_| true).await;
    kill(before.pid);
    let event = site.event("process.crashed").await;
    assert_eq!((event.resource.as_str(), event.tenant), ("process/data-plane", Some(A)));
    let after = site.running(A, |found| found.pid != before.pid).await;
    assert_eq!(after.sidecar_pid, before.sidecar_pid);
    kill(after.sidecar_pid);
    let last = site.running(A, |found| found.sidecar_pid != after.sidecar_pid).await;
    assert_eq!(last.pid, after.pid);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_control_plane_that_hangs_holds_up_no_restart_and_no_stop() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    let before = site.running(A, |_| true).await;
    site.control.hangs.send_replace(true);
    kill(before.pid);
    while site.order().iter().filter(|line| line.starts_with("data started")).count() < 2 {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(site.order()[3..], ["data stopped", "meter stopped"]);
}

#[tokio::test]
async fn a_hostile_ready_file_holds_up_nobody_else() {
    let mut site = Site::new().await;
    site.turn_hostile();
    site.place(A, true);
    let (stop, running) = site.start();
    site.appears(&format!("data-{A}/ready.json")).await;
    site.turn_friendly();
    site.place(B, true);
    site.running(B, |_| true).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_processes_say_is_kept_where_only_the_node_writes() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    site.running(A, |_| true).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    let logs = site.path("node/logs");
    assert_eq!(logs.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let said = std::fs::read_to_string(logs.join(format!("data-{A}.log"))).unwrap();
    assert_eq!(said, "says something\n");
}

#[tokio::test]
async fn a_node_that_comes_back_gives_nobody_elses_users_away() {
    let mut site = Site::new().await;
    for tenant in [A, B] {
        site.place(tenant, true);
        let (stop, running) = site.start();
        site.running(tenant, |_| true).await;
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }
    let known = std::fs::read_to_string(site.path("node/node.json")).unwrap();
    assert!(known.contains("\"last_slot\":2"), "{known}");
}

#[tokio::test]
async fn a_node_without_networks_says_so() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    let report = site.heard.networks(|_| true).await;
    assert_eq!((report.driver, report.applied, report.traffic.len()), (Driver::Loopback, 0, 0));
    site.running(A, |_| true).await;
    assert!(!site.heard.placements(|_| true).await.walls.own_networks);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_node_on_one_state_directory_is_refused() {
    let mut site = Site::new().await;
    site.place(A, true);
    let (stop, running) = site.start();
    site.running(A, |_| true).await;
    assert!(matches!(site.start().1.await.unwrap(), Err(RunError::Lock(_))));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_identity_that_is_no_nodes_is_refused() {
    let site = Site::new().await;
    *site.control.enrols.lock().unwrap() = Workload::DataPlane(A);
    assert!(matches!(site.start().1.await.unwrap(), Err(RunError::Stranger(_))));
}

#[tokio::test]
async fn values_out_of_bounds_are_named() {
    let mut site = Site::new().await;
    site.config.poll_ms = 1;
    let Err(RunError::Config(error)) = site.start().1.await.unwrap() else { panic!() };
    assert_eq!(error.to_string(), "`poll_ms` must be from 50 to 60000");
}

fn owner(pid: u32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}
