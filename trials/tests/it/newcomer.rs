//! A newcomer: one command from nothing to a verified, metered execution; and again; and away.

use crate::shared::{sample, site};
use api::execution::{ExecutionState, ExecutionView};
use api::key::Keys;
use api::page::Page;
use api::tenant::TenantView;
use api::usage::UsageView;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use trials::{Internet, Options, Site, is_full, wait_until};
use wire::outcome::Reason;

/// How long a newcomer waits, the build aside.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn one_command_brings_up_a_verified_and_metered_execution() {
    let site = site().await;
    let said = site.said();
    for expected in [
        "control plane  -       https://localhost:",
        "node           -",
        "data plane     demo    https://127.0.0.1:",
        "sidecar        demo",
        "workflow       orders v1",
        "result         completed (ok, ",
        "plan hash      ",
        "signed by key  ",
        " accepted, the last at ",
        "usage          1 executions, 13 steps",
    ] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
}

#[tokio::test]
async fn what_is_shown_is_what_the_api_says() {
    let site = site().await;
    let (api, said) = (site.api().unwrap(), site.said());
    let executions: Page<ExecutionView> = api.get("/v1/tenants/demo/executions").await.unwrap();
    let execution = executions.items.last().unwrap();
    let keys: Keys = api.get("/v1/keys").await.unwrap();
    assert!(said.contains(&execution.id.to_string()));
    assert!(said.contains(&execution.plan.as_ref().unwrap().hash.to_string()));
    assert!(said.contains(keys.keys[0].kid.as_str()));
    assert_eq!(execution.outcome.unwrap().reason, Reason::Ok);
}

#[tokio::test]
async fn it_takes_less_than_ten_seconds() {
    if !is_full("up within ten seconds") {
        return;
    }
    let began = Instant::now();
    let _site = Site::up(Options::default()).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn every_command_that_is_offered_next_works() {
    let site = site().await;
    let said = site.said();
    let offered: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  palisade ")).collect();
    assert!(offered.len() >= 5, "{said}");
    for command in offered {
        let arguments: Vec<&str> =
            command.split(' ').take_while(|argument| *argument != "--state-dir").collect();
        site.run(&arguments).unwrap();
    }
}

#[tokio::test]
async fn the_ready_file_names_processes_that_run() {
    let site = site().await;
    let [data_plane] = site.data_planes() else { panic!("{:?}", site.data_planes()) };
    assert_eq!(data_plane.tenant, "demo");
    let pids: BTreeSet<u32> = site.processes().into_iter().map(|process| process.pid).collect();
    assert!(pids.contains(&data_plane.pid) && pids.contains(&data_plane.sidecar_pid), "{pids:?}");
    let tenants: Page<TenantView> = site.api().unwrap().get("/v1/tenants").await.unwrap();
    assert!(tenants.items.iter().any(|tenant| tenant.name.as_str() == "demo"));
}

#[tokio::test]
async fn the_state_directory_is_closed_to_everybody_else() {
    let site = site().await;
    let is_root = site.processes().iter().any(|process| process.name == "palisade-node" && process.uid == 0);
    let state = site.state();
    assert_eq!(mode(&state), if is_root { 0o711 } else { 0o700 });
    for entry in std::fs::read_dir(&state).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        match name.as_str() {
            "ca.pem" | "up.json" | "audit.vkey" => assert_eq!(mode(&path), 0o644, "{name}"),
            // Copies of the programs, which hold no secret.
            "bin" => assert_eq!(mode(&path), 0o711, "{name}"),
            _ if name.starts_with("run-") => assert_eq!(mode(&path), 0o711, "{name}"),
            _ if path.is_dir() => {
                assert_eq!(mode(&path), 0o700, "{name}");
                assert_private(&path);
            }
            _ => assert_eq!(mode(&path), 0o600, "{name}"),
        }
    }
}

#[tokio::test]
async fn as_root_each_zone_is_a_user_of_its_own() {
    let site = site().await;
    let processes = site.processes();
    let uid = |name: &str| processes.iter().find(|process| process.name == name).unwrap().uid;
    let zones = ["palisade-control", "palisade-data", "palisade-meter"];
    if uid("palisade-node") == 0 {
        let users: BTreeSet<u32> = zones.map(uid).into();
        assert_eq!(users.len(), zones.len());
        assert!(!users.contains(&0), "{processes:?}");
    } else {
        assert!(site.said().contains("zones: all processes are one user"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_root_the_default_is_a_network_of_its_own_for_each_tenant() {
    let mut site = Site::prepare(Options { any_port: false, ..Options::default() }).unwrap();
    let Some(mut internet) = Internet::make("the default as root", site.folder()).unwrap() else { return };
    site.put_on_machine(&mut internet).unwrap();
    site.again().await.unwrap();
    assert_eq!((site.driver(), site.not_enforced()), ("linux", &[][..]));
    let said = site.said();
    for expected in [
        "control plane  -       https://localhost:8443 ",
        "data plane     demo    https://10.101.0.10:5678 ",
        "  10.101.0.0/16\n",
        "usage          1 executions, 13 steps",
    ] {
        assert!(said.contains(expected), "no `{expected}` in:\n{said}");
    }
    assert!(!said.contains("NET-1"), "{said}");
    let offered = said.lines().filter_map(|line| line.strip_prefix("  palisade "));
    for command in offered {
        let arguments: Vec<&str> = command.split(' ').take_while(|word| *word != "--state-dir").collect();
        site.run(&arguments).unwrap();
    }
    site.stop().await.unwrap();
    site.machine().unwrap().is_clean(SOON).await.unwrap();
}

#[tokio::test]
async fn the_bad_sample_is_faulted_and_the_exit_code_says_so() {
    let site = site().await;
    std::fs::write(site.folder().join("bad.json"), sample("orders-bad.json")).unwrap();
    let run = ["run", "orders", "--input", "bad.json", "--wait", "--tenant", "demo", "-o", "json"];
    let output = site.palisade(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let execution: ExecutionView = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(execution.state, ExecutionState::Faulted);
    assert_eq!(execution.outcome.unwrap().reason, Reason::Raised);
}

#[tokio::test]
async fn a_second_up_takes_up_what_the_first_one_left() {
    let mut site = Site::up(Options::default()).await.unwrap();
    let before = Kept::of(&site).await;
    site.again().await.unwrap();
    let after = Kept::of(&site).await;
    assert_eq!(after.tenant, before.tenant);
    assert_eq!(after.keys, before.keys, "a restart mints no key");
    assert_eq!(after.token, before.token);
    assert!(before.executions.is_subset(&after.executions));
    assert_eq!(after.executions.len(), before.executions.len() + 1, "the demonstration runs once more");
    assert!(after.usage.heartbeats > before.usage.heartbeats);
    assert!(after.usage.totals.executions > before.usage.totals.executions);
}

#[tokio::test]
async fn ctrl_c_stops_everything_in_order_and_leaves_no_process() {
    let mut site = Site::up(Options::default()).await.unwrap();
    let names: Vec<String> = site.processes().into_iter().map(|process| process.name).collect();
    assert_eq!(names, ["palisade", "palisade-control", "palisade-data", "palisade-meter", "palisade-node"]);
    site.stop().await.unwrap();
    assert_eq!(site.processes(), []);
    let said = site.said();
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no `{text}` in:\n{said}"));
    assert!(place("palisade-node stopped") < place("palisade-control stopped"));
    assert!(!site.folder().join("ready.json").exists(), "nothing is ready any more");
    assert!(!site.state().join("control/ready.json").exists());
}

#[tokio::test]
async fn an_up_that_is_killed_takes_everything_with_it_and_the_next_one_goes_on() {
    let mut site = Site::up(Options::default()).await.unwrap();
    let before = Kept::of(&site).await;
    site.kill_up().unwrap();
    assert!(wait_until(SOON, async || site.processes().is_empty()).await, "{:?}", site.processes());
    site.again().await.unwrap();
    let after = Kept::of(&site).await;
    assert_eq!((after.tenant, after.keys), (before.tenant, before.keys));
    assert!(before.executions.is_subset(&after.executions));
}

/// What has to survive.
struct Kept {
    tenant: String,
    keys: Vec<String>,
    token: String,
    executions: BTreeSet<String>,
    usage: UsageView,
}

impl Kept {
    async fn of(site: &Site) -> Self {
        let api = site.api().unwrap();
        let tenant: TenantView = api.get("/v1/tenants/demo").await.unwrap();
        let keys: Keys = api.get("/v1/keys").await.unwrap();
        let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
        Self {
            tenant: tenant.id.to_string(),
            keys: keys.keys.into_iter().map(|key| key.kid.to_string()).collect(),
            token: std::fs::read_to_string(site.token_file()).unwrap(),
            executions: executions.into_iter().map(|execution| execution.id.to_string()).collect(),
            usage: api.get("/v1/tenants/demo/usage").await.unwrap(),
        }
    }
}

/// Every file in a zone's folder is its owner's alone.
fn assert_private(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        // A file that is being replaced may be gone already.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        if path.is_dir() {
            assert_private(&path);
        }
    }
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}
