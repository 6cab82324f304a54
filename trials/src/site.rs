//! A site: `palisade up` in a folder of its own, stopped and removed at the end of the trial.

use crate::Api;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a site may take to come up: far more than a newcomer should wait, for noisy machines.
const READY: Duration = Duration::from_secs(60);

/// How a site is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the sample tenant and workflow are wanted.
    pub demo: bool,
    /// Milliseconds between heartbeats.
    pub heartbeat_interval_ms: u64,
    /// Further arguments of `palisade up`.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { demo: true, heartbeat_interval_ms: 500, arguments: Vec::new() }
    }
}

/// A running site.
pub struct Site {
    folder: TempDir,
    options: Options,
    up: Option<Child>,
    ready: Ready,
    /// The API, with the operator's token.
    pub api: Api,
}

/// What `--ready-file` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    control_plane_url: String,
    ca_cert_file: PathBuf,
    operator_token_file: PathBuf,
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
    /// Its process.
    pub pid: u32,
    /// Its sidecar's process.
    pub sidecar_pid: u32,
}

impl Site {
    /// Starts a site in a fresh folder and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the error holds what it said.
    pub async fn up(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("palisade-trial-").tempdir()?;
        open_for_other_users(folder.path())?;
        let (up, ready) = start(folder.path(), &options).await?;
        let api = Api::connect(&ready.control_plane_url, &ready.ca_cert_file, &ready.operator_token_file)?;
        Ok(Self { folder, options, up: Some(up), ready, api })
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
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

    /// The data planes that ran when the site became ready.
    #[must_use]
    pub fn data_planes(&self) -> &[DataPlane] {
        &self.ready.data_planes
    }

    /// The process of `palisade up`.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.up.as_ref().map(Child::id)
    }

    /// A `palisade` command against this site.
    #[must_use]
    pub fn palisade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("palisade"));
        command.arg("--state-dir").arg(self.state()).args(arguments).stdin(Stdio::null());
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
                "palisade {}: {}\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Stops the site as Ctrl-C does, and waits until all its processes have ended.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut up) = self.up.take() else { return Ok(()) };
        signal(up.id(), "INT")?;
        let ended = wait_until(Duration::from_secs(30), || {
            let seen = matches!(up.try_wait(), Ok(Some(_)));
            async move { seen }
        })
        .await;
        if !ended {
            up.kill()?;
            bail!("`palisade up` did not stop within 30 s of Ctrl-C");
        }
        Ok(())
    }

    /// Starts the site again on the same state directory.
    ///
    /// # Errors
    /// As [`Site::up`].
    pub async fn again(&mut self) -> Result<()> {
        self.stop().await?;
        let (up, ready) = start(self.folder.path(), &self.options).await?;
        self.api = Api::connect(&ready.control_plane_url, &ready.ca_cert_file, &ready.operator_token_file)?;
        (self.up, self.ready) = (Some(up), ready);
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut up) = self.up.take() {
            // Whatever happened in the trial, nothing of it may stay: its children end with it (PDEATHSIG).
            let _already_gone = signal(up.id(), "TERM");
            let until = Instant::now() + Duration::from_secs(15);
            while Instant::now() < until {
                if matches!(up.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _already_gone = up.kill();
            let _already_gone = up.wait();
        }
    }
}

/// Sends a signal by name (`KILL`, `TERM`, `STOP`) to a process.
///
/// # Errors
/// When `kill` cannot be run.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status()?;
    Ok(())
}

/// One of the built binaries: those of this build, whose folder the test binary is in.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.ancestors().find(|folder| folder.join(name).is_file());
    folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// Looks each 50 ms until `is_so`, for at most `limit`. Says whether it came to be.
pub async fn wait_until<F: Future<Output = bool>>(limit: Duration, mut is_so: impl FnMut() -> F) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is_so().await {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn start(folder: &Path, options: &Options) -> Result<(Child, Ready)> {
    let (ready_file, log) = (folder.join("ready.json"), folder.join("up.log"));
    let _not_there = std::fs::remove_file(&ready_file);
    let mut command = Command::new(program("palisade"));
    command.arg("up").arg("--state-dir").arg(folder.join("state")).arg("--ready-file").arg(&ready_file);
    command.args(["--data-plane-port", "0", "--control-plane-addr", "127.0.0.1:0"]);
    command.arg("--heartbeat-interval-ms").arg(options.heartbeat_interval_ms.to_string());
    if options.demo {
        command.arg("--demo");
    }
    command.args(&options.arguments);
    let said = File::options().create(true).append(true).open(&log)?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    let mut up = command.spawn().context("`palisade` is not built: cargo build --workspace --bins")?;
    let mut ended = false;
    let ready = wait_until(READY, || {
        ended = matches!(up.try_wait(), Ok(Some(_)));
        let seen = ready_file.is_file() || ended;
        async move { seen }
    })
    .await;
    if !ready || ended {
        let _already_gone = up.kill();
        let _already_gone = up.wait();
        bail!("`palisade up` did not become ready:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    }
    let ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
    Ok((up, ready))
}

/// As root, each zone runs under a user id of its own, which has to get into its folder.
#[cfg(unix)]
fn open_for_other_users(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
    Ok(())
}
