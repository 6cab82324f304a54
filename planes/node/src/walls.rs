//! The walls that the node builds around its tenants' processes: what they see of its files, and how much of its
//! memory, processors and processes they may use. And what it knows of the walls that they build themselves.

use crate::config::NodeConfig;
use crate::supervise::Role;
use core::ops::RangeInclusive;
use host::confine::cgroup::{
    Cgroup, CgroupError, Controller, GroupName, GroupNameError, Limits, remove_slice,
};
use host::confine::{WALLS_FILE, Wall, Walls};
use host::process::{Spawn, View};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::{NodeId, TenantId};
use tokio::time::{Instant, sleep};
use wire::networks::Quota;

/// The bounds of a quota's memory: below, a data plane has no room for one plan; above, a figure is a mistake.
const MEMORY_BYTES: RangeInclusive<u64> = 64 << 20..=1 << 40;

/// The bounds of a quota's processor time: the shortest share that the kernel takes, and more than a host has.
const CPU_MILLICORES: RangeInclusive<u64> = 10..=1_024_000;

/// The bounds of a quota's processes and threads: a data plane's own threads, and what the kernel has numbers for.
const PIDS: RangeInclusive<u64> = 96..=4_194_304;

/// What a sidecar may use, whatever its tenant does: a hundred times what it needs for a heartbeat.
const SIDECAR: Limits = Limits { memory_bytes: 128 << 20, cpu_millicores: 250, pids: 32 };

/// Where operators keep what is theirs, root keys among it: configurations, beside which no tenant has business.
const OPERATORS: &str = "/etc/palisade";

/// How long a process may take to say which walls it stands behind.
const SAID_WITHIN: Duration = Duration::from_secs(60);

/// How long a process that was killed may take to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether something is so.
const LOOK: Duration = Duration::from_millis(50);

/// The largest file that says it: six words.
const SAID_MAX: usize = 1_024;

/// The walls of one node's host. Clones share what they know.
#[derive(Debug, Clone)]
pub struct HostWalls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None without root: then nothing can be built.
    slice: Option<GroupName>,
    views: bool,
    missing: Mutex<BTreeSet<String>>,
    groups: Mutex<BTreeMap<(TenantId, Role), Group>>,
}

/// The group of one process.
#[derive(Debug)]
struct Group {
    cgroup: Cgroup,
    limits: Limits,
}

/// Says why a process cannot be walled in as it must be.
#[derive(Debug, thiserror::Error)]
pub enum WallError {
    /// A quota is out of bounds.
    #[error("the quota's `{what}` is {is}, and must be from {min} to {max}")]
    Quota {
        /// Which figure.
        what: &'static str,
        /// What it is.
        is: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// No group can be made.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// A tenant's id is no name of a group.
    #[error(transparent)]
    Name(#[from] GroupNameError),
}

/// One process, and the only folders that it is to see beside the system's.
pub struct Of<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) role: Role,
    pub(crate) quota: Quota,
    /// Its own folder.
    pub(crate) own: &'a Path,
    /// The folder of the socket between data plane and sidecar.
    pub(crate) run: &'a Path,
}

impl HostWalls {
    /// Sees what this host can build, and logs what it cannot.
    pub(crate) fn around(node: NodeId) -> Self {
        let slice = host::process::is_root().then(|| GroupName::slice_of(&node.to_string()).ok()).flatten();
        let view = View::probe();
        let host = Self(Arc::new(Inner {
            views: slice.is_some() && view == Wall::Raised,
            slice,
            missing: Mutex::default(),
            groups: Mutex::default(),
        }));
        if let Wall::Absent { why } = view {
            host.lacks("mount_view", &why);
        }
        host
    }

    /// Builds what stands around a process before it begins.
    ///
    /// # Errors
    /// [`WallError`]; the process must not start then.
    pub(crate) fn raise(&self, of: &Of<'_>, config: &NodeConfig, spawn: &mut Spawn) -> Result<(), WallError> {
        let limits = limits(of.role, of.quota)?;
        if self.0.views {
            spawn.view = Some(view(of, config, &spawn.program));
        }
        let Some(slice) = &self.0.slice else {
            self.lacks("cgroup", &"this needs root");
            return Ok(());
        };
        let cgroup = Cgroup::create(slice, &name(of.tenant, of.role)?, limits)?;
        for missing in cgroup.missing() {
            let which = match missing.controller {
                Controller::Memory => "cgroup_memory",
                Controller::Cpu => "cgroup_cpu",
                Controller::Pids => "cgroup_pids",
            };
            self.lacks(which, &missing.why);
        }
        spawn.group = Some(cgroup.entrance());
        held(&self.0.groups).insert((of.tenant, of.role), Group { cgroup, limits });
        Ok(())
    }

    /// Gives a tenant's data plane that runs what its quota is now. One that cannot be given leaves it what it has.
    pub(crate) fn adjust(&self, tenant: TenantId, quota: Quota) {
        let (Some(slice), role) = (&self.0.slice, Role::DataPlane) else { return };
        let mut groups = held(&self.0.groups);
        let Some(group) = groups.get_mut(&(tenant, role)) else { return };
        let adjusted = limits(role, quota).and_then(|limits| {
            if limits != group.limits {
                Cgroup::create(slice, &name(tenant, role)?, limits)?;
                group.limits = limits;
                tracing::info!(%tenant, ?limits, "another quota");
            }
            Ok(())
        });
        if let Err(error) = adjusted {
            tracing::error!(%tenant, %error, "a quota is not what it should be");
        }
    }

    /// Takes down what stood around a process that has ended, and ends what it may have started.
    pub(crate) async fn lower(&self, tenant: TenantId, role: Role) {
        let Some(Group { cgroup, .. }) = held(&self.0.groups).remove(&(tenant, role)) else { return };
        let until = Instant::now() + EMPTY_WITHIN;
        while let Err(error) = cgroup.kill().and_then(|()| cgroup.remove()) {
            if Instant::now() > until {
                tracing::warn!(%tenant, ?role, %error, "a control group stays");
                break;
            }
            sleep(LOOK).await;
        }
    }

    /// Looks, once a process has begun, which walls stand around it: by the kernel's word, and by its own for what
    /// the kernel does not show.
    pub(crate) async fn look(&self, role: Role, pid: u32, own: &Path) {
        let file = own.join(WALLS_FILE);
        let until = Instant::now() + SAID_WITHIN;
        let said = loop {
            // The folder is the process's: what lies there may be anything.
            let said = host::files::read_foreign(&file, SAID_MAX).ok();
            match said.and_then(|bytes| serde_json::from_slice::<Walls>(&bytes).ok()) {
                Some(said) => break said,
                None if Instant::now() > until => break Walls::default(),
                None => sleep(LOOK).await,
            }
        };
        // Where the kernel shows nobody's processes, there is only its own word.
        let shown = Walls::around(pid).unwrap_or(said);
        let walls = Walls { landlock_tcp: said.landlock_tcp, ..shown };
        for name in walls.missing() {
            // Of these the node knows more itself.
            let known = name == "cgroup" || name == "mount_view" && !self.0.views;
            if !known {
                self.lacks(name, &format!("a process of the kind {role:?} stands without it"));
            }
        }
    }

    /// The names of the walls that are missing on this host, by which it reports them.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        held(&self.0.missing).iter().cloned().collect()
    }

    /// The processor time that a tenant's data plane used since its group was made, in microseconds; none if nothing
    /// counts it.
    #[must_use]
    pub fn cpu_time_us(&self, tenant: TenantId) -> Option<u64> {
        held(&self.0.groups).get(&(tenant, Role::DataPlane))?.cgroup.cpu_time_us().ok()
    }

    /// Logs each missing wall the first time.
    fn lacks(&self, wall: &str, why: &dyn core::fmt::Display) {
        if held(&self.0.missing).insert(wall.to_owned()) {
            tracing::warn!(wall, %why, "a wall is missing on this host");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(slice) = &self.slice
            && let Err(error) = remove_slice(slice)
        {
            tracing::warn!(%error, "a control group stays");
        }
    }
}

/// What is gone with its holder must not stop the node: each change under these locks is whole in itself.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(tenant: TenantId, role: Role) -> Result<GroupName, GroupNameError> {
    let part = match role {
        Role::DataPlane => "data",
        Role::Sidecar => "meter",
    };
    format!("{part}-{tenant}").parse()
}

fn limits(role: Role, quota: Quota) -> Result<Limits, WallError> {
    let within = |what, is: u64, bounds: RangeInclusive<u64>| {
        let (min, max) = bounds.into_inner();
        if (min..=max).contains(&is) { Ok(()) } else { Err(WallError::Quota { what, is, min, max }) }
    };
    within("memory_bytes", quota.memory_bytes, MEMORY_BYTES)?;
    within("cpu_millicores", quota.cpu_millicores.into(), CPU_MILLICORES)?;
    within("pids", quota.pids.into(), PIDS)?;
    Ok(match role {
        Role::DataPlane => Limits {
            memory_bytes: quota.memory_bytes,
            cpu_millicores: quota.cpu_millicores,
            pids: quota.pids,
        },
        Role::Sidecar => SIDECAR,
    })
}

/// What a process sees: the system's programs and libraries, its own program, its own folder, the one that it shares
/// with the other process of its tenant, and whom to trust. Nothing else of the state directory, and nothing of the
/// operator's, wherever that is and whoever may read it.
fn view(of: &Of<'_>, config: &NodeConfig, program: &Path) -> View {
    let mut view = View::of_system();
    view.hidden.extend([config.state_dir.clone(), OPERATORS.into()]);
    // With what lies beside it, unless that is hidden.
    view.readable.extend(program.parent().map(Path::to_owned));
    view.readable.extend([program.to_owned(), config.control_plane_ca_file.clone()]);
    view.writable.push(of.own.to_owned());
    match of.role {
        Role::DataPlane => {
            view.writable.push(of.run.to_owned());
            view.readable.extend(config.loopback.egress_allow.iter().filter_map(|one| one.ca_file.clone()));
        }
        // It calls on the socket there, and makes nothing.
        Role::Sidecar => view.readable.push(of.run.to_owned()),
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::process::Running;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::process::ChildStdout;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);
    const LEAST: Quota =
        Quota { memory_bytes: *MEMORY_BYTES.start(), cpu_millicores: 500, pids: 96, connections: 1 };

    /// Says that it lives when it is asked.
    const NEIGHBOUR: &str = "echo up; read x; for i in $(seq 10); do true & done; wait; echo alive";

    #[tokio::test]
    async fn a_tenant_that_takes_more_memory_than_its_quota_is_ended_and_its_neighbours_live() {
        let Some(site) = Site::new("cgroup_memory") else { return };
        let neighbours = site.neighbours().await;
        let greedy =
            site.start(A, Role::DataPlane, "x=$(head -c 200M /dev/zero | tr '\\0' x); echo ${#x}").await;
        assert_eq!(greedy.said().await, "");
        for neighbour in neighbours {
            assert_eq!(neighbour.asked().await, "alive\n");
        }
    }

    #[tokio::test]
    async fn a_tenant_that_starts_more_processes_than_its_quota_is_refused_them_and_its_neighbours_are_not() {
        let Some(site) = Site::new("cgroup_pids") else { return };
        let neighbours = site.neighbours().await;
        let forks = "for i in $(seq 200); do sleep 60 > /dev/null & done; echo never";
        let greedy = site.start(A, Role::DataPlane, forks).await;
        assert_eq!(greedy.said().await, "");
        for neighbour in neighbours {
            assert_eq!(neighbour.asked().await, "alive\n");
        }
        // What it did start ends with its group.
        site.walls.lower(A, Role::DataPlane).await;
        assert!(held(&site.walls.0.groups).get(&(A, Role::DataPlane)).is_none());
    }

    #[tokio::test]
    async fn the_processor_time_of_a_tenant_is_counted() {
        let Some(site) = Site::new("cgroup_cpu") else { return };
        assert_eq!(site.walls.cpu_time_us(A), None);
        let busy = site.start(A, Role::DataPlane, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").await;
        busy.said().await;
        assert!(site.walls.cpu_time_us(A).unwrap() > 1_000);
        site.walls.lower(A, Role::DataPlane).await;
        assert_eq!(site.walls.cpu_time_us(A), None);
    }

    #[tokio::test]
    async fn neither_of_a_tenants_processes_sees_more_than_its_part() {
        let Some(site) = Site::new("mount_view") else { return };
        let state = site.dir.path().display();
        let look = format!(
            "cd {state}; ls; ls run-{A}; for at in run-{A} data-{A} meter-{A}; do true > $at/x && echo \"wrote $at\"; \
             done; cat node/known node.key data-{B}/secret; echo end"
        );
        let data = site.start(A, Role::DataPlane, &look).await;
        let wrote = format!("wrote run-{A}\nwrote data-{A}\n");
        assert_eq!(data.said().await, format!("ca.pem\ndata-{A}\nrun-{A}\nmeter.sock\n{wrote}end\n"));
        let meter = site.start(A, Role::Sidecar, &look).await;
        assert_eq!(
            meter.said().await,
            format!("ca.pem\nmeter-{A}\nrun-{A}\nmeter.sock\nx\nwrote meter-{A}\nend\n")
        );
    }

    #[tokio::test]
    async fn what_stands_around_a_process_is_the_kernels_word_and_not_its_own() {
        let Some(site) = Site::new("mount_view") else { return };
        let boast = r#"echo '{"no_new_privs":true,"capabilities_empty":true,"seccomp":true,"landlock_tcp":true,"mount_view":true,"cgroup":true}' > walls.json; echo up; read x"#;
        let started = site.start(A, Role::DataPlane, boast).await;
        site.walls.look(Role::DataPlane, started.running.pid(), &site.folder("data", A)).await;
        // A shell has no filter of calls. What it says of its ports is all that anybody knows.
        let missing = site.walls.missing();
        assert!(missing.contains(&"seccomp".to_owned()), "{missing:?}");
        for stands in ["no_new_privs", "capabilities_empty", "landlock_tcp", "mount_view", "cgroup"] {
            assert!(!missing.contains(&stands.to_owned()), "{missing:?}");
        }
    }

    #[tokio::test]
    async fn a_quota_that_changes_holds_at_once_and_one_out_of_bounds_changes_nothing() {
        let Some(site) = Site::new("cgroup_pids") else { return };
        let started = site
            .start(
                A,
                Role::DataPlane,
                "echo up; read x; for i in $(seq 150); do sleep 9 > /dev/null & done; echo many",
            )
            .await;
        site.walls.adjust(A, Quota { pids: 0, ..LEAST });
        site.walls.adjust(B, Quota { pids: 0, ..LEAST });
        site.walls.adjust(A, Quota { pids: 300, ..LEAST });
        site.walls.adjust(A, Quota { pids: u32::MAX, ..LEAST });
        assert_eq!(started.asked().await, "up\nmany\n");
        site.walls.lower(A, Role::DataPlane).await;
    }

    #[test]
    fn a_quota_out_of_bounds_is_refused_by_name() {
        for (named, quota) in [
            ("memory_bytes", Quota { memory_bytes: 0, ..LEAST }),
            ("memory_bytes", Quota { memory_bytes: u64::MAX, ..LEAST }),
            ("cpu_millicores", Quota { cpu_millicores: 0, ..LEAST }),
            ("cpu_millicores", Quota { cpu_millicores: u32::MAX, ..LEAST }),
            ("pids", Quota { pids: 95, ..LEAST }),
            ("pids", Quota { pids: u32::MAX, ..LEAST }),
        ] {
            for role in [Role::DataPlane, Role::Sidecar] {
                let refusal = limits(role, quota).unwrap_err().to_string();
                assert!(refusal.starts_with(&format!("the quota's `{named}` is ")), "{refusal}");
            }
        }
        assert_eq!(limits(Role::DataPlane, LEAST).unwrap().memory_bytes, 64 << 20);
        assert_eq!(limits(Role::Sidecar, LEAST).unwrap(), SIDECAR);
        assert!(limits(Role::DataPlane, Quota::default()).is_ok());
    }

    /// A host with the folders of two tenants, all of which anybody may read and, as far as folders go, write.
    struct Site {
        dir: TempDir,
        walls: HostWalls,
        config: NodeConfig,
    }

    impl Site {
        /// None, said loudly, where this host has not the wall that is tried.
        fn new(needed: &str) -> Option<Self> {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let walls = HostWalls::around(NodeId::from_bytes(host::entropy::bytes().unwrap()));
            let config =
                NodeConfig::with_defaults(dir.path().into(), "https://localhost:1".into(), "t".into());
            let site = Self { dir, walls, config };
            for tenant in [A, B] {
                for part in ["data", "meter", "run"] {
                    site.make(&site.folder(part, tenant));
                }
            }
            site.make(site.dir.path());
            site.make(&site.dir.path().join("node"));
            for file in ["ca.pem", "node.key", "node/known"] {
                std::fs::write(site.dir.path().join(file), "SECRET\n").unwrap();
            }
            std::fs::write(site.folder("data", B).join("secret"), "SECRET\n").unwrap();
            std::fs::write(site.folder("run", A).join("meter.sock"), "").unwrap();
            site.try_once();
            let missing = site.walls.missing();
            if missing.iter().any(|missing| missing == needed || missing == "cgroup") {
                eprintln!("SKIPPED: this host lacks {missing:?}");
                return None;
            }
            Some(site)
        }

        /// What is missing shows with the first group.
        fn try_once(&self) {
            let mut spawn = self.spawn("true");
            let (own, run) = (self.folder("data", B), self.folder("run", B));
            let of = Of { tenant: B, role: Role::DataPlane, quota: LEAST, own: &own, run: &run };
            self.walls.raise(&of, &self.config, &mut spawn).unwrap();
        }

        fn folder(&self, part: &str, tenant: TenantId) -> PathBuf {
            self.dir.path().join(format!("{part}-{tenant}"))
        }

        fn make(&self, folder: &Path) {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
        }

        fn spawn(&self, script: &str) -> Spawn {
            let mut spawn = Spawn::new("/bin/sh".into(), self.dir.path().into());
            spawn.args = vec!["-c".into(), script.into()];
            spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
            (spawn.stdin_pipe, spawn.stdout_pipe) = (true, true);
            (spawn.uid, spawn.gid) = (Some(4_242), Some(4_242));
            spawn
        }

        async fn start(&self, tenant: TenantId, role: Role, script: &str) -> Started {
            let part = match role {
                Role::DataPlane => "data",
                Role::Sidecar => "meter",
            };
            let (own, run) = (self.folder(part, tenant), self.folder("run", tenant));
            let mut spawn = self.spawn(script);
            spawn.cwd.clone_from(&own);
            let of = Of { tenant, role, quota: LEAST, own: &own, run: &run };
            self.walls.raise(&of, &self.config, &mut spawn).unwrap();
            let mut running = spawn.spawn().await.unwrap();
            let stdout = running.take_stdout().unwrap();
            Started { running, stdout }
        }

        /// The sidecar of the same tenant, and another tenant's data plane, both of which run.
        async fn neighbours(&self) -> [Started; 2] {
            let mut all = [
                self.start(A, Role::Sidecar, NEIGHBOUR).await,
                self.start(B, Role::DataPlane, NEIGHBOUR).await,
            ];
            for one in &mut all {
                one.stdout.read_exact(&mut [0; 3]).await.unwrap();
            }
            all
        }
    }

    struct Started {
        running: Running,
        stdout: ChildStdout,
    }

    impl Started {
        /// What it says until its end.
        async fn said(mut self) -> String {
            let mut text = String::new();
            self.stdout.read_to_string(&mut text).await.unwrap();
            self.running.wait().await.unwrap();
            text
        }

        /// What it answers to a line.
        async fn asked(mut self) -> String {
            self.running.take_stdin().unwrap().write_all(b"x\n").await.unwrap();
            self.said().await
        }
    }
}
