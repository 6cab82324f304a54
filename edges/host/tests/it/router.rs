//! A router of a test: a keeper's namespace between two others.

use crate::site::{ANSWERED, SILENT, Site, bring_up, default_route, end, inside, on_stack, tag};
use host::network::keeper::{Keeper, Place};
use host::network::probe::{Attempt, Listener, Protocol, Verdict, run};
use host::network::{Namespace, sysctl};
use host::process::{Network, Spawn};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Where a keeper's process of a test finds its socket.
const SOCKET_VARIABLE: &str = "PALISADE_TEST_KEEPER_SOCKET";

/// What the router lets through, and marks for the floor: one port, and answers.
pub(crate) const RULES: &str = "\
table inet palisade {
  flags owner
}
delete table inet palisade
table inet palisade {
  flags owner
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established meta mark set 0x1 accept
    tcp dport 443 meta mark set 0x1 accept
  }
}
";

/// What stays when the table above is gone.
pub(crate) const FLOOR: &str = "\
table inet palisade_floor {
}
delete table inet palisade_floor
table inet palisade_floor {
  chain forward {
    type filter hook forward priority filter + 10; policy drop;
    meta mark 0x1 accept
  }
}
";

/// Two namespaces that reach each other only through a keeper's.
pub(crate) struct Router {
    /// 192.0.2.10.
    pub(crate) left: Namespace,
    /// 198.51.100.10.
    pub(crate) right: Namespace,
    dir: TempDir,
    keeper: Killed,
    _site: Site,
}

/// A process that ends with its test.
struct Killed(u32);

impl Drop for Killed {
    fn drop(&mut self) {
        kill(self.0);
    }
}

impl Router {
    /// A router with `rules` loaded before a link is up, or none where a test cannot have one.
    pub(crate) async fn with(rules: &str) -> Option<(Self, Keeper)> {
        let mut site = Site::new()?;
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("keeper.sock");
        let keeper = Keeper::start(keeper_process(&socket), socket).await.unwrap();
        let (left, right) = (site.namespace(), site.namespace());
        let router = Self { left, right, dir, keeper: Killed(keeper.pid()), _site: site };
        keeper.load(Place::Router, rules.to_owned()).await.unwrap();
        router.connect(&keeper.namespace().await.unwrap());
        Some((router, keeper))
    }

    fn connect(&self, middle: &Namespace) {
        on_stack(middle, |stack| {
            stack.create_veth(&end("pt1", 1), &end("eth0", 2), &self.left).unwrap();
            stack.create_veth(&end("pt2", 3), &end("eth0", 4), &self.right).unwrap();
        });
        inside(middle, |inside| {
            sysctl::write(inside, &"net/ipv4/ip_forward".parse().unwrap(), "1").unwrap();
        });
        bring_up(middle, "pt1", "192.0.2.1/24");
        bring_up(middle, "pt2", "198.51.100.1/24");
        bring_up(&self.left, "eth0", "192.0.2.10/24");
        bring_up(&self.right, "eth0", "198.51.100.10/24");
        default_route(&self.left, "eth0", "192.0.2.1");
        default_route(&self.right, "eth0", "198.51.100.1");
    }

    /// Where its keeper listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("keeper.sock")
    }

    /// Ends its keeper as the kernel ends a process that used too much.
    pub(crate) fn kill_keeper(&self) {
        kill(self.keeper.0);
    }

    /// Something that listens on the right.
    pub(crate) async fn listen(&self, port: u16) -> Listener {
        let address = format!("198.51.100.10:{port}").parse().unwrap();
        Listener::open(&self.right, Protocol::Tcp, address).await.unwrap()
    }

    /// How a connection from the left to the right ends that should be answered.
    pub(crate) async fn answer(&self, port: u16) -> Verdict {
        self.connect_to(port, ANSWERED).await
    }

    /// How a connection from the left to the right ends that nobody should answer.
    pub(crate) async fn silence(&self, port: u16) -> Verdict {
        self.connect_to(port, SILENT).await
    }

    async fn connect_to(&self, port: u16, patience: Duration) -> Verdict {
        let to = format!("198.51.100.10:{port}").parse().unwrap();
        let attempt = Attempt { protocol: Protocol::Tcp, to, from: None };
        run(&self.left, &[attempt], patience).await.unwrap()[0].verdict
    }
}

/// This program again, as a keeper.
pub(crate) fn keeper_process(socket: &Path) -> Spawn {
    let mut spawn = Spawn::new(std::env::current_exe().unwrap(), "/".into());
    spawn.args = ["--exact", "router::process_of_a_keeper", "--nocapture"].map(Into::into).to_vec();
    spawn.env = vec![(SOCKET_VARIABLE.into(), socket.into())];
    // The host's, for all that it knows.
    spawn.network = Network::Fresh;
    spawn
}

/// Not a test by itself: the tests of keepers run it in processes of its own.
#[test]
fn process_of_a_keeper() {
    let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else { return };
    let ended: Result<Infallible, _> = host::network::keeper::run(Path::new(&socket), &tag());
    panic!("{}", ended.unwrap_err());
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // Ended before: what it was for.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
