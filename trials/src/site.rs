//! A site: `palisade up` in a folder of its own, stopped and removed at the end of the trial.

use crate::clock::Clock;
use crate::guard::Guard;
use crate::preload::Preload;
use crate::{Api, Internet, Machine, Process, Raw, running_in, signal, wait_until};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a site may take to come up: far more than a newcomer should wait, for noisy machines.
pub const READY: Duration = Duration::from_secs(60);

/// How long a site may take to stop: as long as its parts are given, one after the other.
const STOPPED: Duration = Duration::from_secs(45);

/// How a site is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the sample tenant and workflow are wanted.
    pub demo: bool,
    /// Milliseconds between heartbeats.
    pub heartbeat_interval_ms: u64,
    /// Further arguments of `palisade up`.
    pub arguments: Vec<String>,
    /// Which ports: any, or those that were there before or are the default.
    pub any_port: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { demo: true, heartbeat_interval_ms: 500, arguments: Vec::new(), any_port: true }
    }
}

/// A running site.
#[derive(Debug)]
pub struct Site {
    folder: PathBuf,
    options: Options,
    up: Option<Child>,
    ready: Ready,
    clock: Option<Clock>,
    insider: Option<Preload>,
    machine: Option<Machine>,
    /// Dropped last: it removes the folder.
    _guard: Guard,
}

/// What `--ready-file` says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    control_plane_url: String,
    ca_cert_file: PathBuf,
    operator_token_file: PathBuf,
    driver: String,
    not_enforced: Vec<String>,
    data_planes: Vec<DataPlane>,
}

/// One tenant's processes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlane {
    /// The tenant's name.
    pub tenant: String,
    /// Where the data plane listens.
    pub url: String,
    /// The tenant's own network, CIDR, if it has one.
    pub network: Option<String>,
    /// Its process.
    pub pid: u32,
    /// Its sidecar's process.
    pub sidecar_pid: u32,
}

impl Site {
    /// A folder for a site that is not started yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn prepare(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("palisade-trial-").tempdir()?.keep();
        let guard = Guard::new(&folder)?;
        // As root, each zone runs under a user id of its own, which has to get into its folder.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711))?;
        Ok(Self {
            folder,
            options,
            up: None,
            ready: Ready::default(),
            clock: None,
            insider: None,
            machine: None,
            _guard: guard,
        })
    }

    /// Starts a site in a fresh folder and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the error holds what it said.
    pub async fn up(options: Options) -> Result<Self> {
        let mut site = Self::prepare(options)?;
        site.again().await?;
        Ok(site)
    }

    /// Puts a site that was not started yet on a machine of its own, with networks, as root gets them.
    ///
    /// # Errors
    /// When the machine cannot be made.
    pub fn put_on_machine(&mut self, internet: &mut Internet) -> Result<()> {
        self.machine = Some(internet.machine(&self.folder)?);
        Ok(())
    }

    /// Gives every later `palisade up` these further arguments instead of those that it had.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.options.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// The machine of its own that it is on.
    ///
    /// # Errors
    /// When it is on none.
    pub fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().context("the site is on no machine of its own")
    }

    /// The folder of everything that belongs to the trial.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The control plane's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.ready.control_plane_url
    }

    /// The PEM roots by which the control plane is verified.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ready.ca_cert_file
    }

    /// The file of the operator's token.
    #[must_use]
    pub fn token_file(&self) -> &Path {
        &self.ready.operator_token_file
    }

    /// The operator's token, as a request carries it.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn bearer(&self) -> Result<String> {
        Ok(format!("Bearer {}", std::fs::read_to_string(self.token_file())?.trim()))
    }

    /// Where the control plane shows its metrics.
    ///
    /// # Errors
    /// When it does not say.
    pub fn metrics_url(&self) -> Result<String> {
        let ready = std::fs::read(self.state().join("control/ready.json"))?;
        let ready: serde_json::Value = serde_json::from_slice(&ready)?;
        let url = ready.get("metrics_url").and_then(serde_json::Value::as_str);
        Ok(url.context("the control plane names no metrics URL")?.to_owned())
    }

    /// A client of the API with the operator's token. Each trial needs its own: connections end with the
    /// runtime that opened them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn api(&self) -> Result<Api> {
        Api::connect(self.url(), self.ca_file(), self.token_file())
    }

    /// A client of the API that calls from `source`, without a credential.
    ///
    /// # Errors
    /// As [`Raw::new`].
    pub fn raw(&self, source: Ipv4Addr) -> Result<Raw> {
        Raw::new(self.url(), self.ca_file(), source)
    }

    /// What keeps tenants apart: `linux` or `loopback`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.ready.driver
    }

    /// The controls that do not hold for want of networks.
    #[must_use]
    pub fn not_enforced(&self) -> &[String] {
        &self.ready.not_enforced
    }

    /// The data planes that ran when the site became ready.
    #[must_use]
    pub fn data_planes(&self) -> &[DataPlane] {
        &self.ready.data_planes
    }

    /// What `palisade up` said, over all its runs.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("up.log")).unwrap_or_default()
    }

    /// Every process that runs in the site's folder.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        running_in(&self.folder)
    }

    /// The process of a program that runs once, such as `palisade-control`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid_of(&self, name: &str) -> Result<u32> {
        let found = self.processes().into_iter().find(|process| process.name == name);
        Ok(found.with_context(|| format!("{name} does not run"))?.pid)
    }

    /// A folder or file of the state directory whose name begins with `prefix`, such as `data-`.
    ///
    /// # Errors
    /// When there is none.
    pub fn state_of(&self, prefix: &str) -> Result<PathBuf> {
        let names = std::fs::read_dir(self.state())?.flatten();
        let mut found = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        Ok(found.next().with_context(|| format!("there is no {prefix}* in the state directory"))?.path())
    }

    /// A `palisade` command against this site.
    #[must_use]
    pub fn palisade(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&program("palisade"));
        command.args(arguments);
        command
    }

    fn command(&self, palisade: &Path) -> Command {
        let mut command = match &self.machine {
            None => Command::new(palisade),
            Some(machine) => machine.command(palisade, &self.folder),
        };
        command.arg("--state-dir").arg(self.state()).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs a `palisade` command that has to succeed, and gives its output.
    ///
    /// # Errors
    /// When it fails; the error holds what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.palisade(arguments).output()?;
        if !output.status.success() {
            bail!(
                "palisade {}: {}\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sets the site's own clock to `shift_s` seconds from the system's. It has one if this was called before it was
    /// started the first time. False if this machine has no C compiler, which a clock is made with.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn set_clock(&mut self, shift_s: i64) -> Result<bool> {
        if self.clock.is_none() {
            self.clock = Clock::make(self.folder.join("clock"))?;
        }
        self.clock.as_ref().map(|clock| clock.set(shift_s)).transpose().map(|set| set.is_some())
    }

    /// One of the programs that `palisade` starts, by itself, on the site's clock if it has one; not started yet.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let path = self.clock.as_ref().map_or_else(|| program(name), |clock| clock.program(name));
        let mut command = Command::new(path);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Has the `loading` programs of the site, such as `palisade-data`, act as the C in `source` says from within, once
    /// they are started. False if this machine has no C compiler.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn act_within(&mut self, source: &str, defined: &[(&str, &str)], loading: &[&str]) -> Result<bool> {
        self.insider = Preload::make(self.folder.join("insider"), source, defined, loading)?;
        Ok(self.insider.is_some())
    }

    /// The `palisade up` of this site, not started yet.
    #[must_use]
    pub fn up_command(&self) -> Command {
        let mut command = match (&self.clock, &self.insider) {
            (None, None) => self.palisade(&[]),
            (None, Some(insider)) => self.command(&insider.palisade()),
            (Some(clock), _) => {
                let mut command = self.command(&clock.palisade());
                command.env("LD_PRELOAD", clock.library());
                command
            }
        };
        command.args(["up", "--ready-file"]).arg(self.ready_file());
        // A site on the trial's own machine leaves that one's network alone.
        if self.machine.is_none() {
            command.args(["--driver", "loopback"]);
        }
        if self.options.any_port {
            command.args(["--data-plane-port", "0", "--control-plane-addr", "127.0.0.1:0"]);
        }
        command.arg("--heartbeat-interval-ms").arg(self.options.heartbeat_interval_ms.to_string());
        if self.options.demo {
            command.arg("--demo");
        }
        command.args(&self.options.arguments);
        command
    }

    /// Starts the site, or starts it again on the same state directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the error holds what it said.
    pub async fn again(&mut self) -> Result<()> {
        self.stop().await?;
        self.start()?;
        self.ready().await
    }

    /// Starts the site, which must not run, and does not wait for anything.
    ///
    /// # Errors
    /// When `palisade` cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let _not_there = std::fs::remove_file(self.ready_file());
        let log = File::options().create(true).append(true).open(self.folder.join("up.log"))?;
        let mut command = self.up_command();
        command.stdout(log.try_clone()?).stderr(log);
        self.up = Some(command.spawn().context("`palisade` is not built: cargo build --workspace --bins")?);
        Ok(())
    }

    /// Waits until a site that was started is ready.
    ///
    /// # Errors
    /// When it does not come up; the error holds what it said.
    pub async fn ready(&mut self) -> Result<()> {
        let ready = wait_until(READY, async || self.ready_file().is_file() || self.has_ended()).await;
        if !ready || self.has_ended() {
            bail!("`palisade up` did not become ready:\n{}", self.said());
        }
        self.ready = serde_json::from_slice(&std::fs::read(self.ready_file())?)?;
        Ok(())
    }

    /// Starts `palisade up`, which has to fail, and gives its exit code and what it said.
    ///
    /// # Errors
    /// When it comes up, or does not end.
    pub async fn up_fails(&self) -> Result<(i32, String)> {
        let path = self.folder.join("failed.log");
        let log = File::create(&path)?;
        let mut child = self.up_command().stdout(log.try_clone()?).stderr(log).spawn()?;
        // `up` waits for a minute itself before it gives up on what it started.
        let ended = wait_until(READY * 2, async || matches!(child.try_wait(), Ok(Some(_)))).await;
        let said = std::fs::read_to_string(&path)?;
        if !ended {
            child.kill()?;
            bail!("`palisade up` was to fail and runs:\n{said}");
        }
        Ok((child.wait()?.code().unwrap_or(-1), said))
    }

    /// Stops the site as Ctrl-C does, and waits until it has ended.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut up) = self.up.take() else { return Ok(()) };
        signal(up.id(), "INT")?;
        if !wait_until(STOPPED, async || matches!(up.try_wait(), Ok(Some(_)))).await {
            up.kill()?;
            bail!("`palisade up` did not stop within {STOPPED:?} of Ctrl-C");
        }
        Ok(())
    }

    /// Kills `palisade up` itself, as no signal that it can catch would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_up(&mut self) -> Result<()> {
        let mut up = self.up.take().context("it does not run")?;
        up.kill()?;
        up.wait()?;
        Ok(())
    }

    /// Kills every process of the site, `palisade up` first, so that none of them has a last word.
    ///
    /// # Errors
    /// When one of them stays.
    pub async fn kill_everything(&mut self) -> Result<()> {
        let all = self.processes();
        self.kill_up()?;
        all.iter().try_for_each(|process| signal(process.pid, "KILL"))?;
        match wait_until(STOPPED, async || self.processes().is_empty()).await {
            true => Ok(()),
            false => bail!("still there: {:?}", self.processes()),
        }
    }

    /// Kills a process of the site and waits until another one of the same program runs.
    ///
    /// # Errors
    /// When none comes.
    pub async fn kill_and_wait_for_another(&self, name: &str) -> Result<()> {
        let killed = self.pid_of(name)?;
        signal(killed, "KILL")?;
        let runs = async || self.pid_of(name).is_ok_and(|pid| pid != killed);
        match wait_until(READY, runs).await {
            true => Ok(()),
            false => bail!("no other {name} was started:\n{}", self.said()),
        }
    }

    fn ready_file(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    fn has_ended(&mut self) -> bool {
        self.up.as_mut().is_none_or(|up| !matches!(up.try_wait(), Ok(None)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        // In order first, so that the trial ends as a site does; the guard takes what is left.
        let _already_gone = signal(up.id(), "TERM");
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until && matches!(up.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _already_gone = up.kill();
        let _already_gone = up.wait();
    }
}

/// One of the built binaries: those of this build, whose folder the test binary is in.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.ancestors().find(|folder| folder.join(name).is_file());
    folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}
