//! The life of one process: made ready, started, watched, stopped.

use crate::config::NodeConfig;
use crate::folders::Folders;
use crate::known::Slot;
use crate::seat::Seat;
use crate::supervise::Role;
use crate::walls::{HostWalls, Of};
use api::enrolment::{EnrolmentKind, IssueEnrolment, IssuedEnrolment};
use host::confine::WALLS_FILE;
use host::process::{Output, Running, Spawn};
use serve::identity::{ControlPlane, wants_token};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use terms::TenantId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use wire::networks::Quota;

/// How long a process may take to stop before it is killed: a data plane lets calls under way end.
const GRACE_MS: u64 = 20_000;

/// How long a data plane may take to say where it takes plans.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often a data plane that starts is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// How often a process may wish for a token, and how long it has to wait for another one: who holds a token can
/// enrol, so that a process which asks and asks must not get ever more of them.
const WISH_LOOK: Duration = Duration::from_millis(200);
const TOKEN_EVERY: Duration = Duration::from_secs(5);

/// The wait after a request for a token that failed.
const TOKEN_RETRY: Duration = Duration::from_secs(1);

/// The largest ready file: an object with a URL and a process id.
const READY_MAX: usize = 4 * 1024;

/// The largest answer to the request for a token.
const ANSWER_MAX: usize = 16 * 1024;

/// How much of a process's last line is repeated.
const LAST_WORDS_MAX: u64 = 1_024;

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum News {
    /// The process runs; a data plane takes plans at this URL.
    Started(TenantId, Role, u32, Option<String>),
    /// The process has ended, or did not start.
    Ended(TenantId, Role),
    /// The tenant's folders are gone, or not.
    Removed(TenantId, bool),
}

/// One process to run.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) tenant: TenantId,
    pub(crate) role: Role,
    pub(crate) slot: Slot,
    pub(crate) seat: Seat,
    pub(crate) quota: Quota,
    pub(crate) walls: HostWalls,
    pub(crate) news: mpsc::UnboundedSender<News>,
}

/// Runs the process until it ends or `stop` is told (or dropped).
pub(crate) async fn live(order: Order, mut stop: oneshot::Receiver<()>) {
    let life = order.life(&mut stop);
    if let Err(why) = life.await {
        tracing::error!(tenant = %order.tenant, role = ?order.role, why, "a process does not run");
    }
    order.walls.lower(order.tenant, order.role).await;
    order.tell(News::Ended(order.tenant, order.role));
}

impl Order {
    async fn life(&self, stop: &mut oneshot::Receiver<()>) -> Result<(), String> {
        let folders = Folders::of(&self.config, self.tenant, self.slot);
        let said = |error: &dyn core::fmt::Display| error.to_string();
        folders.make(self.role).map_err(|e| said(&e))?;
        let config =
            folders.configure(&self.config, self.tenant, self.role, &self.seat).map_err(|e| said(&e))?;
        let (own, _) = folders.own(self.role);
        let ready = own.join("ready.json");
        // What a killed process left behind says nothing about the next one.
        for left in [&ready, &own.join(WALLS_FILE)] {
            let _not_there = std::fs::remove_file(left);
        }
        let log = folders.log(self.role);
        let said_before = log.metadata().map_or(0, |log| log.len());
        let mut running = self.spawn(&folders, &config, log.clone()).await?;
        let pid = running.pid();
        let token = async {
            loop {
                sleep(self.give_token_if_wanted(&folders).await).await;
            }
        };
        let started = async {
            let url = match self.role {
                Role::DataPlane => {
                    let said = wait_for_url(&ready).await.ok_or("it did not become ready")?;
                    Some(self.seat.url(said))
                }
                Role::Sidecar => None,
            };
            self.tell(News::Started(self.tenant, self.role, pid, url));
            self.walls.look(self.role, pid, own).await;
            core::future::pending::<Result<(), String>>().await
        };
        let why = tokio::select! {
            () = token => Ok(()),
            failed = started => failed,
            status = running.wait() => {
                let last_words = last_words(&log, said_before);
                return Err(format!("process {pid} ended by itself: {}{last_words}", describe(status)));
            }
            _told = &mut *stop => Ok(()),
        };
        running.terminate(GRACE_MS).await.map_err(|e| said(&e))?;
        why
    }

    async fn spawn(&self, folders: &Folders, config: &Path, log: PathBuf) -> Result<Running, String> {
        let (own, uid) = folders.own(self.role);
        let name = match self.role {
            Role::DataPlane => "palisade-data",
            Role::Sidecar => "palisade-meter",
        };
        let program = program(&self.config, name).map_err(|error| error.to_string())?;
        let mut spawn = Spawn::new(program, own.to_owned());
        spawn.args = vec!["--config".into(), config.into()];
        (spawn.uid, spawn.gid) = (uid, uid);
        spawn.network = self.seat.network();
        spawn.stderr = Output::File(log);
        if let Ok(level) = std::env::var(host::logs::LEVEL_VARIABLE) {
            spawn.env = vec![(host::logs::LEVEL_VARIABLE.into(), level.into())];
        }
        let of = Of { tenant: self.tenant, role: self.role, quota: self.quota, own, run: &folders.run };
        self.walls.raise(&of, &self.config, &mut spawn).map_err(|error| error.to_string())?;
        spawn.spawn().await.map_err(|error| error.to_string())
    }

    /// Gets a one-time token for a process that has no identity, or whose identity is lost, and says how long to
    /// wait before its next wish is looked at.
    async fn give_token_if_wanted(&self, folders: &Folders) -> Duration {
        let (own, _) = folders.own(self.role);
        if !wants_token(own) || own.join("enrol.token").symlink_metadata().is_ok() {
            return WISH_LOOK;
        }
        let kind = match self.role {
            Role::DataPlane => EnrolmentKind::DataPlane,
            Role::Sidecar => EnrolmentKind::Sidecar,
        };
        let body = IssueEnrolment { kind, tenant: Some(self.tenant) };
        let issued = self.control_plane.post::<IssuedEnrolment>("/v1/enrolments", &body, ANSWER_MAX).await;
        let given = match issued {
            Ok(issued) => folders.give_token(self.role, &issued.token).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = given {
            tracing::warn!(tenant = %self.tenant, role = ?self.role, why, "no enrolment token yet");
            return TOKEN_RETRY;
        }
        TOKEN_EVERY
    }

    fn tell(&self, news: News) {
        // The supervisor may have ended.
        let _gone = self.news.send(news);
    }
}

/// The last line, or its message, of a log behind its first `begin` bytes: whoever looks for the cause reads the
/// node's log first.
fn last_words(log: &Path, begin: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(LAST_WORDS_MAX))))?;
        let mut bytes = Vec::new();
        file.take(LAST_WORDS_MAX).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let Some(line) = text.lines().last() else { return String::new() };
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed.as_ref().and_then(|line| line.get("message")?.as_str());
    format!("; it said: {}", message.unwrap_or(line))
}

/// Waits until a data plane says where it takes plans.
async fn wait_for_url(ready: &Path) -> Option<String> {
    let until = Instant::now() + READY_WITHIN;
    while Instant::now() < until {
        // The folder is the data plane's: what lies there may be anything.
        if let Ok(bytes) = host::files::read_foreign(ready, READY_MAX)
            && let Ok(ready) = serde_json::from_slice::<serde_json::Value>(&bytes)
            && let Some(url) = ready.get("url").and_then(serde_json::Value::as_str)
        {
            return Some(url.to_owned());
        }
        sleep(LOOK).await;
    }
    None
}

/// The file of one of our programs.
pub(crate) fn program(config: &NodeConfig, name: &str) -> std::io::Result<PathBuf> {
    match &config.bin_dir {
        Some(dir) => Ok(dir.join(name)),
        None => host::process::current_exe_sibling(name),
    }
}

fn describe(status: std::io::Result<std::process::ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::LOGS;
    use serve::ca::Authority;
    use serve::identity::ControlPlaneAt;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use terms::{NodeId, Timestamp};

    const TENANT: TenantId = TenantId::from_bytes([2; 16]);

    /// Takes plans, and goes on until it is told to stop.
    const LASTING: &str = "\
trap 'kill $!; echo told > told; exit 0' TERM
sleep 1000 &
echo '{\"url\":\"https://127.0.0.1:7\"}' > ready.json
wait";

    #[tokio::test]
    async fn a_data_plane_counts_as_started_once_it_takes_plans_and_stops_when_told_without_a_control_plane()
    {
        let mut host = Host::new(LASTING);
        let (stop, stopped) = oneshot::channel();
        let life = tokio::spawn(live(host.order(Role::DataPlane), stopped));
        let Some(News::Started(TENANT, Role::DataPlane, _, Some(url))) = host.news.recv().await else {
            panic!("it did not start")
        };
        assert_eq!(url, "https://127.0.0.1:7");
        stop.send(()).unwrap();
        life.await.unwrap();
        assert!(matches!(host.news.recv().await, Some(News::Ended(TENANT, Role::DataPlane))));
        assert!(host.data().join("told").exists(), "it was asked, not killed");
    }

    #[tokio::test]
    async fn a_process_stops_too_when_its_supervisor_is_gone() {
        let mut host = Host::new(LASTING);
        let (stop, stopped) = oneshot::channel();
        let life = tokio::spawn(live(host.order(Role::DataPlane), stopped));
        assert!(matches!(host.news.recv().await, Some(News::Started(..))));
        drop(stop);
        life.await.unwrap();
        assert!(host.data().join("told").exists());
    }

    #[tokio::test]
    async fn an_earlier_process_cannot_speak_for_the_next_one_and_an_end_is_told() {
        let mut host = Host::new("test -e ready.json && sleep 1000; echo gone >&2; exit 3");
        let order = host.order(Role::DataPlane);
        Folders::of(&order.config, TENANT, order.slot).make(Role::DataPlane).unwrap();
        std::fs::write(host.data().join("ready.json"), br#"{"url":"https://127.0.0.1:6"}"#).unwrap();
        let (_stop, stopped) = oneshot::channel();
        live(order.clone(), stopped).await;
        assert!(matches!(host.news.recv().await, Some(News::Ended(TENANT, Role::DataPlane))));
        let folders = Folders::of(&order.config, TENANT, order.slot);
        assert_eq!(std::fs::read(folders.log(Role::DataPlane)).unwrap(), b"gone\n");
    }

    #[test]
    fn the_last_words_are_the_last_line_of_this_run_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let written = |text: &str| std::fs::write(&log, text).unwrap();
        written("earlier\n");
        assert_eq!(last_words(&log, 8), "", "what an earlier run said is not this one's");
        written("earlier\nfirst\nthe cause\n");
        assert_eq!(last_words(&log, 8), "; it said: the cause");
        written("{\"level\":\"ERROR\",\"message\":\"a \\\"cause\\\"\"}\n");
        assert_eq!(last_words(&log, 0), "; it said: a \"cause\"");
        written(&"x".repeat(5_000));
        assert!(last_words(&log, 0).len() < 1_100);
        assert_eq!(last_words(&dir.path().join("gone"), 0), "");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_as_an_end() {
        let mut host = Host::new(LASTING);
        let (_stop, stopped) = oneshot::channel();
        live(host.order(Role::Sidecar), stopped).await;
        assert!(matches!(host.news.recv().await, Some(News::Ended(TENANT, Role::Sidecar))));
        assert!(host.news.try_recv().is_err());
    }

    /// A host whose control plane is away, and whose data planes are a shell script.
    struct Host {
        dir: tempfile::TempDir,
        /// Of its own: control groups are named after it.
        node: NodeId,
        news: mpsc::UnboundedReceiver<News>,
        tell: mpsc::UnboundedSender<News>,
    }

    impl Host {
        fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let open = |path: &Path| std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
            // As root, the processes are other users.
            open(dir.path());
            std::fs::create_dir_all(dir.path().join("node").join(LOGS)).unwrap();
            let program = dir.path().join("palisade-data");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            open(&program);
            std::fs::write(dir.path().join("ca.pem"), "").unwrap();
            let (tell, news) = mpsc::unbounded_channel();
            let node = NodeId::from_bytes(host::entropy::bytes().unwrap());
            Self { dir, node, news, tell }
        }

        fn data(&self) -> PathBuf {
            self.dir.path().join(format!("data-{TENANT}"))
        }

        fn order(&self, role: Role) -> Order {
            let domain = "palisade.test".parse().unwrap();
            let roots = Authority::create(Timestamp::EPOCH, &domain, 86_400_000).unwrap();
            let at = ControlPlaneAt::new("https://localhost:1", roots.certificate_pem()).unwrap();
            let url = "https://localhost:1".into();
            let config = NodeConfig::with_defaults(self.dir.path().to_owned(), url, "token".into());
            Order {
                config: Arc::new(NodeConfig { bin_dir: Some(self.dir.path().to_owned()), ..config }),
                control_plane: ControlPlane::anonymous(&at).unwrap(),
                tenant: TENANT,
                role,
                slot: Slot { slot: 1, node: self.node, port: 0 },
                seat: Seat::Loopback { port: 0 },
                quota: Quota::default(),
                walls: HostWalls::around(self.node),
                news: self.tell.clone(),
            }
        }
    }
}
