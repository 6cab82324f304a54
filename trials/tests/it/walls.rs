//! The walls around a tenant's processes and the node, as the kernel shows them, and tried from within.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trials::{Options, Site, skipped, wait_until};

const SOON: Duration = Duration::from_secs(60);

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EROFS: i32 = 30;

/// What no filter lets through, whoever asks.
const CALLS: [&str; 23] = [
    "ptrace",
    "process_vm_readv",
    "mount",
    "umount",
    "chroot",
    "pivot_root",
    "open_tree",
    "unshare",
    "setns",
    "bpf",
    "keyctl",
    "init_module",
    "perf_event_open",
    "io_uring_setup",
    "userfaultfd",
    "setuid",
    "shmget",
    "personality",
    "netlink",
    "packet",
    "raw",
    "vsock",
    "process",
];

/// What is not there for a tenant's processes, though the file system's own permissions would show some of it.
const ABSENT: [&str; 8] = [
    "root-key",
    "node-memory",
    "operator-token",
    "open-secret",
    "other-process",
    "kernel-switch",
    "networks",
    "groups",
];

#[tokio::test]
async fn code_that_runs_within_a_tenants_processes_gets_no_further_than_its_walls() -> Result<()> {
    let Some(site) = Insider::up().await? else { return Ok(()) };
    for part in ["data", "meter"] {
        let log = site.log(&format!("{part}-"))?;
        let found = site.found(&log).await?;
        for call in CALLS.into_iter().chain(["program"]) {
            ensure!(found.result(call)? == EPERM, "{part}: {call} is {}", found.result(call)?);
        }
        for file in ABSENT {
            ensure!(found.result(file)? == ENOENT, "{part}: {file} is {}", found.result(file)?);
        }
        for file in ["new-in-etc", "new-in-root", "new-in-state"] {
            let result = found.result(file)?;
            ensure!([EROFS, EACCES].contains(&result), "{part}: {file} is {result}");
        }
        ensure!(found.result("new-in-tmp")? == 0, "{part}: its own /tmp cannot be used");
        let folders: Vec<&str> =
            found.state.iter().map(|name| name.split('-').next().unwrap_or(name)).collect();
        let mut expected = ["ca.pem", part, "run"];
        expected.sort_unstable();
        ensure!(folders == expected, "{part} sees {:?}", found.state);
        let ports_are_shut = site.walls(part)?.get("landlock_tcp") == Some(&true);
        for call in ["connect", "bind"] {
            let is_refused = found.result(call)? == EACCES;
            ensure!(is_refused == ports_are_shut, "{part}: {call} is {}", found.result(call)?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_same_code_gets_further_where_there_are_no_walls() -> Result<()> {
    let Some(site) = Insider::up().await? else { return Ok(()) };
    let found = site.found(&site.site.state().join("control/log")).await?;
    for call in ["ptrace", "process", "netlink", "process_vm_readv"] {
        ensure!(found.result(call)? != EPERM, "{call} is refused to everybody here, which proves nothing");
    }
    for file in ["root-key", "open-secret", "other-process", "kernel-switch", "groups"] {
        ensure!(found.result(file)? == 0, "{file} is {} for everybody", found.result(file)?);
    }
    Ok(())
}

#[tokio::test]
async fn the_kernel_shows_every_wall_around_a_tenants_processes() -> Result<()> {
    if !is_root() {
        skipped("the walls around a tenant's processes", "only root can build them");
        return Ok(());
    }
    let site = Site::up(Options::default()).await?;
    let placed = site.data_planes().first().context("no data plane")?;
    for (pid, part) in [(placed.pid, "data-"), (placed.sidecar_pid, "meter-")] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        for line in [
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "Groups:\t ",
        ] {
            ensure!(status.lines().any(|shown| shown == line), "{part}: no `{line}` in {status}");
        }
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let writable = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let (place, options) = (fields.next()?, fields.next()?);
            (!options.split(',').any(|option| option == "ro")).then(|| place.to_owned())
        });
        let mut expected = vec!["/tmp".to_owned(), site.state_of(part)?.display().to_string()];
        if part == "data-" {
            expected.push(site.state_of("run-")?.display().to_string());
        }
        ensure!(writable.collect::<Vec<_>>() == expected, "{part}: {mounts}");
        let said = std::fs::read(site.state_of(part)?.join("walls.json"))?;
        let said: BTreeMap<String, bool> = serde_json::from_slice(&said)?;
        let missing: Vec<&String> =
            said.iter().filter(|(_, stands)| !**stands).map(|(wall, _)| wall).collect();
        ensure!(said.len() == 6 && missing.iter().all(|wall| *wall == "landlock_tcp"), "{part}: {said:?}");
    }
    Ok(())
}

/// A site whose tenant's processes, and control plane, run somebody else's code.
struct Insider {
    site: Site,
}

/// What came of it.
struct Found {
    results: BTreeMap<String, i32>,
    /// What the state directory seems to hold.
    state: Vec<String>,
}

impl Insider {
    /// None, said loudly, where it proves nothing.
    async fn up() -> Result<Option<Self>> {
        let what = "code of others within a tenant's processes";
        if !is_root() {
            skipped(what, "only root can build walls around them");
            return Ok(None);
        }
        let mut site = Site::prepare(Options::default())?;
        let secret = site.folder().join("everybody-may-read-this");
        std::fs::write(&secret, "a key in the wrong place")?;
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        let (state, secret) = (site.state(), secret.display().to_string());
        let defined = [("STATE", &*state.to_string_lossy()), ("SECRET", &*secret)];
        let loading = ["palisade-data", "palisade-meter", "palisade-control"];
        if !site.act_within(include_str!("walls/insider.c"), &defined, &loading)? {
            skipped(what, "there is no C compiler");
            return Ok(None);
        }
        // The sample workflow runs to its end with it.
        site.again().await?;
        Ok(Some(Self { site }))
    }

    fn log(&self, prefix: &str) -> Result<PathBuf> {
        let mut names = std::fs::read_dir(self.site.state().join("node/logs"))?.flatten();
        let found = names.find(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        Ok(found.with_context(|| format!("no log {prefix}"))?.path())
    }

    fn walls(&self, part: &str) -> Result<BTreeMap<String, bool>> {
        let said = std::fs::read(self.site.state_of(&format!("{part}-"))?.join("walls.json"))?;
        Ok(serde_json::from_slice(&said)?)
    }

    /// What the code in one process says in its log.
    async fn found(&self, log: &Path) -> Result<Found> {
        let text = || std::fs::read_to_string(log).unwrap_or_default();
        let ended = wait_until(SOON, async || text().contains("INSIDER end")).await;
        ensure!(ended, "{}: {}", log.display(), text());
        let mut found = Found { results: BTreeMap::new(), state: Vec::new() };
        for line in text().lines().filter_map(|line| line.strip_prefix("INSIDER ")) {
            let (what, result) = line.split_once(' ').context("a line without a result")?;
            if what == "in-state" {
                found.state.push(result.to_owned());
            } else {
                found.results.insert(what.to_owned(), result.parse()?);
            }
        }
        found.state.sort_unstable();
        Ok(found)
    }
}

impl Found {
    fn result(&self, what: &str) -> Result<i32> {
        self.results.get(what).copied().with_context(|| format!("`{what}` was not tried"))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
