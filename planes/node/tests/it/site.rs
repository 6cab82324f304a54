//! A node's folder, programs that stand in for data planes and sidecars, and a control plane for it.

use crate::control::{Control, Heard};
use api::placement::RunningPlacement;
use host::clock::Clock;
use host::files::{self, Owner};
use node::run::End;
use node::{NodeConfig, RunError};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use terms::{TenantId, Token};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::event::SecurityEvent;

/// Stands in for a data plane: says that it is ready, and notes in its folder when it began and when it stopped.
const DATA_PLANE: &str = r#"#!/bin/sh
dir=$(dirname "$2")
note() { echo "$(date +%s%N) data $1" >> "$dir/order"; }
trap 'note stopped; kill $!; exit 0' TERM
note "started $$"
echo says something >&2
[ -e "$(dirname "$0")/hostile" ] && mkfifo "$dir/ready.json" || echo "{\"url\":\"https://127.0.0.1:5678\",\"pid\":$$}" > "$dir/ready.json"
while :; do sleep 60 & wait $!; done
"#;

const SIDECAR: &str = r#"#!/bin/sh
note() { echo "$(date +%s%N) meter $1" >> "$(dirname "$2")/order"; }
trap 'note stopped "$2"; kill $!; exit 0' TERM
note "started $$" "$2"
while :; do sleep 60 & wait $!; done
"#;

/// What stops a node, and its end.
pub(crate) type Running = (oneshot::Sender<()>, JoinHandle<Result<End, RunError>>);

/// Everything around one node.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) config: NodeConfig,
    pub(crate) control: Arc<Control>,
    pub(crate) heard: Heard,
    _stop: Option<oneshot::Sender<()>>,
}

impl Site {
    /// A site whose control plane answers on this host's loopback.
    pub(crate) async fn new() -> Self {
        let mut site = Self::without_control_plane();
        let (at, stop) = site.control.serve("127.0.0.1:0".parse().unwrap()).await;
        site.config.control_plane_url = format!("https://localhost:{}", at.port());
        Self { _stop: Some(stop), ..site }
    }

    /// A site whose control plane answers nowhere yet.
    pub(crate) fn without_control_plane() -> Self {
        let (control, heard) = Control::new();
        let dir = programs();
        let config = config(&dir, control.roots_pem());
        Self { dir, config, control, heard, _stop: None }
    }

    /// Places `tenant` here.
    pub(crate) fn place(&self, tenant: TenantId, run: bool) {
        self.control.place(tenant, run);
    }

    /// Starts a node; it stops when the sender is used or dropped.
    pub(crate) fn start(&self) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = self.config.clone();
        let running = tokio::spawn(async move {
            let run = node::run(&config, &Clock::system(), async move { drop(stopped.await) }).await;
            run.inspect_err(|error| tracing::error!(%error, "the node ended"))
        });
        (stop, running)
    }

    /// What the first report says in which `tenant` runs with a sidecar and `fits`, the last one included.
    pub(crate) async fn running(
        &mut self,
        tenant: TenantId,
        fits: impl Fn(&RunningPlacement) -> bool,
    ) -> RunningPlacement {
        self.heard.running(tenant, fits).await
    }

    /// Waits for a report in which nothing runs.
    pub(crate) async fn nothing_running(&mut self) {
        self.heard.placements(|report| report.running.is_empty()).await;
    }

    /// The first event to arrive with this reason.
    pub(crate) async fn event(&mut self, reason: &str) -> SecurityEvent {
        self.heard.event(reason).await
    }

    /// Waits until `name` is in the state directory.
    pub(crate) async fn appears(&self, name: &str) {
        while !self.path(name).exists() {
            tokio::task::yield_now().await;
        }
    }

    /// What the programs noted, in order.
    pub(crate) fn order(&self) -> Vec<String> {
        let folders = std::fs::read_dir(&self.config.state_dir).unwrap();
        let texts = folders.map(|folder| std::fs::read_to_string(folder.unwrap().path().join("order")));
        let texts: Vec<String> = texts.filter_map(Result::ok).collect();
        let notes = texts.iter().flat_map(|text| text.lines()).map(|line| line.split_once(' ').unwrap());
        let mut notes: Vec<(u128, &str)> = notes.map(|(at, what)| (at.parse().unwrap(), what)).collect();
        notes.sort_unstable();
        notes.into_iter().map(|(_, what)| what.to_owned()).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.state_dir.join(name)
    }

    /// Makes data planes that start from now on leave a pipe where their ready file should be.
    pub(crate) fn turn_hostile(&self) {
        std::fs::write(self.dir.path().join("bin/hostile"), "").unwrap();
    }

    pub(crate) fn turn_friendly(&self) {
        std::fs::remove_file(self.dir.path().join("bin/hostile")).unwrap();
    }
}

/// Folders and programs that other users can reach: as root, each process has its own.
fn programs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let bin = dir.path().join("bin");
    files::create_dir(&bin, 0o711, Owner::This).unwrap();
    for (name, text, mode) in [("palisade-data", DATA_PLANE, 0o755), ("palisade-meter", SIDECAR, 0o755)] {
        files::write_atomically(&bin.join(name), text.as_bytes(), mode, Owner::This).unwrap();
    }
    dir
}

fn config(dir: &TempDir, ca_pem: &str) -> NodeConfig {
    let state = dir.path().join("state");
    files::create_dir(&state, 0o711, Owner::This).unwrap();
    files::create_private_dir(&state.join("node")).unwrap();
    let token_file = state.join("node/enrol.token");
    let token = Token::mint("enrol", &[1; 32]);
    files::write_private_atomically(&token_file, token.expose().as_bytes()).unwrap();
    let config = NodeConfig::with_defaults(state, "https://localhost:1".to_owned(), token_file);
    std::fs::write(&config.control_plane_ca_file, ca_pem).unwrap();
    NodeConfig { data_plane_port: 0, poll_ms: 50, bin_dir: Some(dir.path().join("bin")), ..config }
}
