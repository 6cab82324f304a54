//! Processes that this one supervises, and how this one hardens itself.

mod birth;
mod log_file;
mod output;
mod spawner;
mod view;

pub use output::Output;
pub use view::View;

use crate::confine::cgroup::Entrance;
use crate::network::Namespace;
use birth::Birth;
use log_file::LogFile;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

/// How often a log's length is looked at.
const LOG_LOOK: Duration = Duration::from_secs(30);

/// A child to start. It gets this environment and these file handles and no others.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments; never a secret, since every user of the host can read them.
    pub args: Vec<OsString>,
    /// The user to run as; needs root.
    pub uid: Option<u32>,
    /// The group to run as; needs root.
    pub gid: Option<u32>,
    /// The working folder.
    pub cwd: PathBuf,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The network it has; any but this process's needs root.
    pub network: Network,
    /// The files it sees, all of this process's if none; needs root.
    pub view: Option<View>,
    /// The control group it is in from its first instruction on, this process's if none; needs root.
    pub group: Option<Entrance>,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Where its stderr goes.
    pub stderr: Output,
    /// Whether its stdin is a pipe from here ([`Running::take_stdin`]); empty otherwise.
    pub stdin_pipe: bool,
    /// Whether its stdout is a pipe to here ([`Running::take_stdout`]); dropped otherwise.
    pub stdout_pipe: bool,
}

/// The network that a child has.
#[derive(Debug, Clone)]
pub enum Network {
    /// The one of this process.
    Inherited,
    /// A new one, with nothing in it, that lasts as long as the child.
    Fresh,
    /// This one.
    Of(Namespace),
}

/// How long a child lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it ends, or this process does, or its [`Running`] is dropped.
    WithParent,
    /// Until it ends.
    Own,
}

/// A child that was started. Dropping it kills the child, unless that has a lifetime of its own.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pid: u32,
    log: Option<Arc<LogFile>>,
    /// When the log's length is next looked at.
    look: Instant,
}

/// Says why a child did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program could not be run.
    #[error("cannot start `{}`{}: {source}", .program.display(), .step.map(|step| format!(" ({step})")).unwrap_or_default())]
    Start {
        /// The program's file.
        program: PathBuf,
        /// What the child failed at before it became the program, if it got that far.
        step: Option<&'static str>,
        /// The system's reason.
        source: io::Error,
    },
    /// The files that it should see cannot be laid out.
    #[error("cannot lay out the files of `{}`: {source}", .program.display())]
    View {
        /// The program's file.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file for its output could not be opened.
    #[error("cannot write the log file `{}`: {source}", .path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Spawn {
    /// A child that runs `program` in `cwd` as this user, with no arguments, environment or pipes.
    #[must_use]
    pub fn new(program: PathBuf, cwd: PathBuf) -> Self {
        Self {
            program,
            args: Vec::new(),
            uid: None,
            gid: None,
            cwd,
            env: Vec::new(),
            network: Network::Inherited,
            view: None,
            group: None,
            lifetime: Lifetime::WithParent,
            stderr: Output::Inherit,
            stdin_pipe: false,
            stdout_pipe: false,
        }
    }

    /// Starts the child: without new privileges, in its own process group (Ctrl-C in the terminal reaches the
    /// parent alone, which stops children in its order), private files by default, and gone if the parent is, unless
    /// it has a lifetime of its own.
    ///
    /// # Errors
    /// When the program cannot be run, the group, network or view cannot be entered, the user cannot be changed to, or
    /// the log file cannot be opened.
    pub async fn spawn(self) -> Result<Running, SpawnError> {
        let (stderr, log) =
            self.stderr.open(self.uid).map_err(|(path, source)| SpawnError::Output { path, source })?;
        let failed = |source| SpawnError::Start { program: self.program.clone(), step: None, source };
        let (birth, told) = Birth::of(&self)?;
        let mut command = self.command(stderr, birth);
        // With the command, this process's own end of what the child tells goes.
        let spawned = spawner::run(move || command.spawn()).await.map_err(failed)?;
        let mut child = spawned.map_err(|source| SpawnError::Start {
            program: self.program.clone(),
            step: told.failed_at(),
            source,
        })?;
        let pid = child.id().ok_or_else(|| failed(io::Error::other("the child ended before it began")))?;
        if let (Output::Prefixed(prefix), Some(stderr)) = (self.stderr, child.stderr.take()) {
            tokio::spawn(output::copy_lines(prefix, stderr));
        }
        Ok(Running { child, pid, log: log.map(Arc::new), look: Instant::now() })
    }

    fn command(&self, stderr: Stdio, birth: Birth) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.cwd);
        command.stdin(if self.stdin_pipe { Stdio::piped() } else { Stdio::null() });
        command.stdout(if self.stdout_pipe { Stdio::piped() } else { Stdio::null() });
        command.stderr(stderr).process_group(0).kill_on_drop(self.lifetime == Lifetime::WithParent);
        #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
        // SAFETY: the closure makes system calls only: it allocates nothing, takes no lock, and touches no
        // memory of the parent, so it is sound in the child of a threaded process.
        unsafe {
            command.pre_exec(move || birth.complete());
        }
        command
    }
}

impl Running {
    /// The process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The writing end of its stdin, once, if it was asked for.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The reading end of its stdout, once, if it was asked for.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits until it has ended, and turns its log over whenever that is long. Safe to cancel and to call again.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                ended = self.child.wait() => return ended,
                () = tokio::time::sleep_until(self.look) => {}
            }
            self.look = Instant::now() + LOG_LOOK;
            let Some(log) = self.log.as_ref().filter(|log| log.is_long()).map(Arc::clone) else { continue };
            let turned = tokio::task::spawn_blocking(move || log.turn_over()).await;
            if let Err(error) = turned.map_err(io::Error::other).flatten() {
                tracing::warn!(pid = self.pid, %error, "a long log could not be turned over");
            }
        }
    }

    /// Asks it to end (SIGTERM) and, `grace_ms` later, makes it end with its whole process group (SIGKILL).
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub async fn terminate(&mut self, grace_ms: u64) -> io::Result<ExitStatus> {
        self.signal(rustix::process::kill_process, Signal::TERM);
        match tokio::time::timeout(Duration::from_millis(grace_ms), self.child.wait()).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.signal(rustix::process::kill_process_group, Signal::KILL);
                self.child.wait().await
            }
        }
    }

    fn signal(&self, send: fn(Pid, Signal) -> rustix::io::Result<()>, signal: Signal) {
        // `id` is none once the child was reaped: its number may belong to another process by then.
        let alive = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = alive
            && let Err(error) = send(pid, signal)
        {
            tracing::debug!(pid = self.pid, %error, "signal not delivered");
        }
    }
}

/// The user that this process runs as.
#[must_use]
pub fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether this process may change to other users.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The path of the program `name` beside the one that is running.
///
/// # Errors
/// When the system does not say which program is running.
pub fn current_exe_sibling(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new("/")).join(name))
}

/// Hardens this process: no memory dumps, no inspection by others of its user, no new privileges.
///
/// Call it first in `main`: threads that run already keep their privileges' rules.
///
/// # Errors
/// When the kernel refuses any of the three.
pub fn harden_self() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Lets this process, and children that it starts later, have at least `files` open at a time, or as many as its own
/// hard limit gives. Says how many that are.
pub fn allow_files(files: u64) -> u64 {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(files, |maximum| files.min(maximum));
    match current {
        Some(current) if current < wanted => {
            let raised = Rlimit { current: Some(wanted), maximum };
            rustix::process::setrlimit(Resource::Nofile, raised).map_or(current, |()| wanted)
        }
        Some(current) => current,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use std::io::BufRead as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_child_sees_only_the_environment_it_was_given() {
        let mut spawn = shell("env");
        spawn.env = vec![("PLANE".into(), "data".into())];
        let seen = stdout_of(spawn).await;
        assert!(seen.contains("PLANE=data") && !seen.contains("CARGO"), "{seen}");
    }

    #[tokio::test]
    async fn a_child_has_no_new_privileges_a_private_umask_and_its_own_group() {
        let seen =
            stdout_of(shell("grep NoNewPrivs /proc/$$/status; umask; cut -d' ' -f5 /proc/$$/stat; echo $$"))
                .await;
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..2], ["NoNewPrivs:\t1", "0077"]);
        assert_eq!(lines[2], lines[3], "leads its process group");
    }

    #[tokio::test]
    async fn a_child_holds_no_file_of_its_parent() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        let seen = stdout_of(shell("ls -l /proc/$$/fd")).await;
        assert!(!seen.contains(secret.path().to_str().unwrap()), "{seen}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_to_end_is_killed() {
        let mut running = start(shell("trap '' TERM; echo deaf; while :; do read x; done")).await;
        let mut stdout = running.take_stdout().unwrap();
        stdout.read_exact(&mut [0; 4]).await.unwrap();
        let status = running.terminate(1).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn a_child_that_listens_ends_with_its_own_status() {
        let mut running = start(shell("trap 'exit 7' TERM; echo ready; read x; exit 1")).await;
        running.take_stdout().unwrap().read_exact(&mut [0; 5]).await.unwrap();
        let mut stdin = running.take_stdin().unwrap();
        running.signal(rustix::process::kill_process, Signal::TERM);
        // Shells run a trap when the read returns.
        let _ = stdin.write_all(b"\n").await;
        assert_eq!(running.wait().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Spawn::new("/absent/program".into(), "/".into()).spawn().await.unwrap_err();
        assert!(error.to_string().starts_with("cannot start `/absent/program`"), "{error}");
    }

    #[tokio::test]
    async fn a_log_file_is_private_and_takes_what_the_child_says() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("child.log");
        for _ in 0..2 {
            let mut spawn = shell("echo trouble >&2");
            spawn.stderr = Output::File(log.clone());
            start(spawn).await.wait().await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "trouble\ntrouble\n");
        crate::files::read_private(&log, 100).unwrap();
    }

    #[tokio::test]
    async fn root_gives_a_child_another_user_without_its_own_groups() {
        if !is_root() {
            return;
        }
        let mut spawn = shell("id -u; id -g; id -G");
        (spawn.uid, spawn.gid) = (Some(4_242), Some(4_243));
        assert_eq!(stdout_of(spawn).await, "4242\n4243\n4243\n");
    }

    #[test]
    fn a_child_is_told_to_end_when_its_supervisor_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let mut supervisor = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::supervisor_of_a_child_that_says_when_it_ends"])
            .env(PIPE_VARIABLE, &pipe)
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(std::fs::File::open(&pipe).unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "up");
        supervisor.kill().unwrap();
        assert_eq!(said.next().unwrap().unwrap(), "told");
        supervisor.wait().unwrap();
    }

    const PIPE_VARIABLE: &str = "PALISADE_TEST_PIPE";

    /// Not a test by itself: the one above runs it in a process of its own, and kills that.
    #[tokio::test]
    async fn supervisor_of_a_child_that_says_when_it_ends() {
        let Some(pipe) = std::env::var_os(PIPE_VARIABLE) else { return };
        let told = "trap 'echo told >&3; exit' TERM";
        let script = "for _ in $(seq 200); do sleep 0.05; done; echo survived >&3";
        let mut spawn = shell(&format!("exec 3>{}; {told}; echo up >&3; {script}", pipe.display()));
        spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        start(spawn).await.wait().await.unwrap();
    }

    #[test]
    fn a_hardened_process_gives_no_dumps_and_gains_nothing() {
        harden_self().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert!(rustix::thread::no_new_privs().unwrap());
    }

    #[test]
    fn a_sibling_lies_beside_the_running_program() {
        let sibling = current_exe_sibling("palisade-data").unwrap();
        assert_eq!(sibling.parent(), std::env::current_exe().unwrap().parent());
        assert!(sibling.ends_with("palisade-data"));
    }

    fn shell(script: &str) -> Spawn {
        let mut spawn = Spawn::new("/bin/sh".into(), "/".into());
        spawn.args = vec!["-c".into(), script.into()];
        (spawn.stdin_pipe, spawn.stdout_pipe) = (true, true);
        spawn
    }

    async fn start(spawn: Spawn) -> Running {
        spawn.spawn().await.unwrap()
    }

    async fn stdout_of(spawn: Spawn) -> String {
        let mut running = start(spawn).await;
        let mut text = String::new();
        running.take_stdout().unwrap().read_to_string(&mut text).await.unwrap();
        running.wait().await.unwrap();
        text
    }
}
