//! The processes that `up` starts and keeps running: the control plane and the node.

use super::health::Deaths;
use super::site::Site;
use super::{Driver, PATIENCE_MS, POLL, base};
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;
use crate::state_dir::DISK;
use core::time::Duration;
use host::network::Namespace;
use host::process::{Network, Output as Stderr, Running, Spawn};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// How long the node may take to stop its data planes and sidecars, which end what they are at.
const NODE_GRACE_MS: u64 = 20_000;

/// How long the control plane may take to answer what it was asked.
const CONTROL_GRACE_MS: u64 = 15_000;

/// How long the networks may take to be taken down: processes of a node that was killed are waited for.
const TAKEN_DOWN: Duration = Duration::from_secs(45);

/// How soon after a failed call its process's death is known, if that was the reason.
const DEATH_NOTICE: Duration = Duration::from_millis(200);

/// How often it is looked whether the control plane still runs in the namespace that the node keeps for it.
const LOOK_AT_NETWORK: Duration = Duration::from_secs(1);

/// A log is begun anew at a start once it is this long; the old one stays beside it.
const LOG_MAX: u64 = 8 * 1024 * 1024;

/// How many of a log's last lines are shown when its process dies.
const TAIL_LINES: usize = 15;

/// How much of a log is read for them.
const TAIL_BYTES: u64 = 16 * 1024;

/// The variable that sets the log level of every process.
const LOG_LEVEL: &str = host::logs::LEVEL_VARIABLE;

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    running: Running,
    log: Log,
    /// The network of its own that it runs in, if it has one.
    network: Option<Namespace>,
}

/// A process's log file, and where this run's part begins.
#[derive(Debug, Clone)]
struct Log {
    path: PathBuf,
    begin: u64,
}

/// The processes that run.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    control: Option<Process>,
    node: Option<Process>,
    /// Whether a node of ours has built networks, or began to.
    builds: bool,
}

impl Processes {
    /// The control plane's process id.
    #[must_use]
    pub(crate) fn control_pid(&self) -> Option<u32> {
        self.control.as_ref().map(|process| process.running.pid())
    }

    /// The node's process id.
    #[must_use]
    pub(crate) fn node_pid(&self) -> Option<u32> {
        self.node.as_ref().map(|process| process.running.pid())
    }

    /// Starts the control plane and waits until it serves.
    ///
    /// # Errors
    /// When it cannot be started, dies, or is not ready in time; with the last lines of its log.
    pub(crate) async fn start_control(&mut self, site: &Site) -> Outcome {
        let dir = site.state.control();
        let ready_file = dir.join("ready.json");
        // Left by a run that was killed, it would say that this one is ready.
        remove(&ready_file)?;
        let network = match site.driver() {
            Driver::Linux => Some(base::control_plane_namespace(&site.state)?),
            Driver::Loopback => None,
        };
        let process = Process::start("palisade-control", site, &dir, site.control_uid(), network).await?;
        self.control = Some(process);
        match self.attend(is_there(&ready_file)).await? {
            true => Ok(()),
            false => Err(stuck(self.control.as_ref(), "the control plane is not ready after a minute")),
        }
    }

    /// Starts the node, which starts data planes and sidecars; and with networks waits until they stand.
    ///
    /// # Errors
    /// When it cannot be started, or its networks do not stand in time; with the last lines of its log.
    pub(crate) async fn start_node(&mut self, site: &Site) -> Outcome {
        let networks = site.state.networks();
        // Left by a run that was killed, it would say that they stand.
        remove(&networks)?;
        self.node = Some(Process::start("palisade-node", site, &site.state.node(), None, None).await?);
        if site.driver() == Driver::Loopback {
            return Ok(());
        }
        self.builds = true;
        match self.attend(is_there(&networks)).await? {
            true => Ok(()),
            false => Err(stuck(self.node.as_ref(), "the networks do not stand after a minute")),
        }
    }

    /// Does `work` while every process lives.
    ///
    /// # Errors
    /// What `work` fails with; or the death of a process, with the last lines of its log.
    pub(crate) async fn attend<T>(&mut self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            (name, status) = self.death() => return Err(self.died(name, status)),
        };
        if outcome.is_ok() {
            return outcome;
        }
        // A call that failed because its process just died is that death.
        match tokio::time::timeout(DEATH_NOTICE, self.death()).await {
            Ok((name, status)) => Err(self.died(name, status)),
            Err(_elapsed) => outcome,
        }
    }

    /// Watches over the processes and starts those that die again, until one dies too often.
    pub(crate) async fn keep_running(&mut self, site: &Site, progress: &Progress) -> Failure {
        let mut deaths = Deaths::default();
        loop {
            let network = self.control.as_ref().and_then(|control| control.network.clone());
            let (name, status) = tokio::select! {
                death = self.death() => death,
                () = replaced(network, site) => {
                    progress.line("the control plane's namespace was replaced; starting it in the new one");
                    match self.restart_control(site).await {
                        Ok(()) => progress.done("palisade-control runs again"),
                        Err(failure) => return failure,
                    }
                    continue;
                }
            };
            let failure = self.died(name, status);
            if !deaths.may_start_again(name, host::clock::now()) {
                return failure;
            }
            progress.line(&format!("{}; starting it again", failure.cause));
            failure.details.iter().for_each(|line| progress.line(&format!("  {line}")));
            let started = match name {
                "palisade-control" => self.start_control(site).await,
                _ => self.start_node(site).await,
            };
            if let Err(failure) = started {
                return failure;
            }
            progress.done(&format!("{name} runs again"));
        }
    }

    async fn restart_control(&mut self, site: &Site) -> Outcome {
        if let Some(mut process) = self.control.take() {
            // Whether or not it could be waited for, it does not run any more.
            let _ended = process.running.terminate(CONTROL_GRACE_MS).await;
        }
        self.start_control(site).await
    }

    /// Stops all processes: the node with its data planes and sidecars first, so that their last outcomes and
    /// heartbeats still arrive. Then takes down the networks that it built, which outlive it: a machine where `up` ran
    /// is as it was before.
    pub(crate) async fn stop(&mut self, site: &Site, progress: &Progress) {
        for (process, grace_ms) in
            [(self.node.take(), NODE_GRACE_MS), (self.control.take(), CONTROL_GRACE_MS)]
        {
            let Some(mut process) = process else { continue };
            progress.step(&format!("stopping {}", process.name));
            match process.running.terminate(grace_ms).await {
                Ok(_) => progress.done(&format!("{} stopped", process.name)),
                Err(error) => progress.line(&format!("{} did not stop: {error}", process.name)),
            }
        }
        if self.builds {
            progress.step("taking down the networks");
            match take_down(site).await {
                Ok(()) => progress.done("the networks are taken down"),
                Err(why) => progress.line(&format!(
                    "the networks are not taken down: {why}; next: palisade node reset --yes{}",
                    site.state.flag()
                )),
            }
        }
    }

    /// The failure of a node that does not bring up `tenant`'s data plane.
    #[must_use]
    pub(crate) fn node_is_stuck(&self, tenant: &str) -> Failure {
        stuck(self.node.as_ref(), &format!("the data plane of `{tenant}` is not up after a minute"))
    }

    /// Waits for the first death.
    async fn death(&mut self) -> (&'static str, Option<ExitStatus>) {
        tokio::select! {
            status = death_of(self.control.as_mut()) => ("palisade-control", status),
            status = death_of(self.node.as_mut()) => ("palisade-node", status),
        }
    }

    fn died(&mut self, name: &'static str, status: Option<ExitStatus>) -> Failure {
        let slot = if name == "palisade-control" { &mut self.control } else { &mut self.node };
        let process = slot.take();
        let how =
            status.map_or_else(|| "for an unknown reason".to_owned(), |status| format!("with {status}"));
        let details = process.map(|process| process.log.tail()).unwrap_or_default();
        Failure::new(Exit::Failure, "process_died", format!("{name} ended {how}"), LOOK).details(details)
    }
}

/// What to do about a process that died.
const LOOK: &str = "mend what its log says and run `palisade up` again; the state is kept \
                    (PALISADE_LOG=debug makes the log say more)";

impl Process {
    async fn start(
        name: &'static str,
        site: &Site,
        dir: &Path,
        uid: Option<u32>,
        network: Option<Namespace>,
    ) -> Outcome<Self> {
        let log = Log::open(dir)?;
        let mut spawn = Spawn::new(site.programs.join(name), dir.to_owned());
        spawn.args = vec!["--config".into(), dir.join("config.toml").into()];
        (spawn.uid, spawn.gid) = (uid, uid);
        spawn.network = network.clone().map_or(Network::Inherited, Network::Of);
        spawn.env = std::env::var_os(LOG_LEVEL).map(|level| (LOG_LEVEL.into(), level)).into_iter().collect();
        spawn.stderr = Stderr::File(log.path.clone());
        let running = spawn.spawn().await.map_err(|error| {
            Failure::new(
                Exit::Failure,
                "process_failed",
                error.to_string(),
                "check that the program can be run",
            )
        })?;
        Ok(Self { name, running, log, network })
    }
}

impl Log {
    /// The log in `dir`. Root writes it in a folder of somebody else's, so what is there must be a plain file
    /// and no link to another.
    fn open(dir: &Path) -> Outcome<Self> {
        let path = dir.join("log");
        let length = match path.symlink_metadata() {
            Err(_) => 0,
            Ok(metadata) if !metadata.is_file() => {
                return Err(Failure::bad_file(&path, "it is not a plain file", "remove it"));
            }
            Ok(metadata) if metadata.len() > LOG_MAX => {
                fs::rename(&path, dir.join("log.old"))
                    .map_err(|error| Failure::bad_file(&path, error, DISK))?;
                0
            }
            Ok(metadata) => metadata.len(),
        };
        Ok(Self { path, begin: length })
    }

    /// The last lines that this run wrote.
    fn tail(&self) -> Vec<String> {
        let read = || {
            let mut file = fs::File::open(&self.path)?;
            let end = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return vec![format!("its log {} is empty", self.path.display())];
        }
        let last = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        let header = format!("the last lines of {}:", self.path.display());
        core::iter::once(header).chain(last.map(|line| format!("| {line}"))).collect()
    }
}

/// Waits until the file is there; false if patience ends.
async fn is_there(path: &Path) -> Outcome<bool> {
    let began = host::clock::now();
    while host::clock::now().ms_since(began) <= PATIENCE_MS {
        if path.exists() {
            return Ok(true);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

/// Removes what the node built, and says why not.
async fn take_down(site: &Site) -> Result<(), String> {
    let dir = site.state.node();
    let log = Log::open(&dir).map_err(|failure| failure.cause)?;
    let mut spawn = Spawn::new(site.programs.join("palisade-node"), dir);
    spawn.args = vec!["reset".into(), "--state-dir".into(), site.state.path().into()];
    spawn.stderr = Stderr::File(log.path.clone());
    let mut running = spawn.spawn().await.map_err(|error| error.to_string())?;
    match tokio::time::timeout(TAKEN_DOWN, running.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err(log.tail().join("\n")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("that takes longer than {} s", TAKEN_DOWN.as_secs())),
    }
}

/// Waits until the node keeps another namespace for the control plane than `network`, which it runs in: somebody
/// removed that one. Never ends for one that has no network of its own.
async fn replaced(network: Option<Namespace>, site: &Site) {
    let Some(network) = network else { return core::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_AT_NETWORK).await;
        // While there is none, the node is about to make another.
        let kept = base::control_plane_namespace(&site.state);
        if kept.is_ok_and(|kept| kept.is_same_as(&network).is_ok_and(|same| !same)) {
            return;
        }
    }
}

async fn death_of(process: Option<&mut Process>) -> Option<ExitStatus> {
    match process {
        Some(process) => process.running.wait().await.ok(),
        None => core::future::pending().await,
    }
}

fn stuck(process: Option<&Process>, cause: &str) -> Failure {
    let details = process.map(|process| process.log.tail()).unwrap_or_default();
    Failure::new(Exit::Failure, "not_ready", cause, LOOK).details(details)
}

fn remove(path: &Path) -> Outcome {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::bad_file(path, error, DISK))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_of_this_run_only_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log"), "from an earlier run\n").unwrap();
        let log = Log::open(dir.path()).unwrap();
        let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
        fs::write(dir.path().join("log"), format!("from an earlier run\n{lines}")).unwrap();
        let tail = log.tail();
        assert_eq!(tail.len(), TAIL_LINES + 1);
        assert_eq!(tail.last().unwrap(), "| line 39");
        assert!(!tail.iter().any(|line| line.contains("earlier")));
    }

    #[test]
    fn a_log_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("log")).unwrap();
        assert_eq!(Log::open(dir.path()).unwrap_err().code, "file_invalid");
    }

    #[test]
    fn a_long_log_is_begun_anew_and_the_old_one_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("log")).unwrap();
        file.set_len(LOG_MAX + 1).unwrap();
        assert_eq!(Log::open(dir.path()).unwrap().begin, 0);
        assert!(dir.path().join("log.old").exists() && !dir.path().join("log").exists());
    }
}
