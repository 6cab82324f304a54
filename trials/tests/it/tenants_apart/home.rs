//! A site on a machine of its own, before an internet of its own.

use crate::shared::sample;
use host::network::probe::{self, Attempt, Listener, Verdict};
use host::network::{Namespace, Stack};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use trials::{Internet, Options, Site, running_in, wait_until};

/// How long anything may take that has to happen by itself.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// How long an answer may take: a link that was just switched on is dead for a second or two.
pub(super) const ANSWERED: Duration = Duration::from_secs(30);

/// How long silence is listened to. The same wires answered before, so an answer would come in time.
pub(super) const SILENT: Duration = Duration::from_millis(700);

/// It all. The site goes first.
pub(super) struct Apart {
    pub(super) site: Site,
    pub(super) internet: Internet,
}

impl Apart {
    /// A site with the demonstration, up; or none, and a loud word about it, where networks cannot be had.
    pub(super) async fn up(trial: &str) -> Option<Self> {
        let mut apart = Self::prepare(trial, Options::default())?;
        apart.site.again().await.unwrap();
        Some(apart)
    }

    /// The same before its first start.
    pub(super) fn prepare(trial: &str, options: Options) -> Option<Self> {
        let mut site = Site::prepare(options).unwrap();
        let mut internet = Internet::make(trial, site.folder()).unwrap()?;
        site.put_on_machine(&mut internet).unwrap();
        Some(Self { site, internet })
    }

    /// Another site on another machine before the same internet.
    pub(super) async fn neighbour(&mut self, options: Options) -> Site {
        let mut site = Site::prepare(options).unwrap();
        site.put_on_machine(&mut self.internet).unwrap();
        site.again().await.unwrap();
        site
    }

    /// What a command says, as JSON.
    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        json(&self.site, arguments)
    }

    /// The network where a tenant lives.
    pub(super) fn network(&self, tenant: &str) -> Value {
        self.json(&["network", "show", tenant])
    }

    /// The number of the network where a tenant lives.
    pub(super) fn number(&self, tenant: &str) -> u8 {
        u8::try_from(self.network(tenant)["number"].as_u64().unwrap()).unwrap()
    }

    /// A tenant's network namespace, as it is now. While it is held it lives on.
    pub(super) fn namespace(&self, tenant: &str) -> Namespace {
        self.site.machine().unwrap().named(&format!("palisade-t{}", self.number(tenant))).unwrap()
    }

    /// The router's network namespace, which is a keeper's. Let it go soon.
    pub(super) fn router(&self) -> Namespace {
        let keepers = keepers(&self.site);
        let has_router = |pid: &u32| {
            let namespace = Namespace::of_process(*pid).unwrap();
            on_stack(&namespace, |stack| stack.links()).iter().any(|link| link.name == "pup")
        };
        let router = keepers.into_iter().find(has_router).expect("a keeper in the router's namespace");
        Namespace::of_process(router).unwrap()
    }

    /// Creates a tenant with the sample workflow, and waits until its data plane runs.
    pub(super) async fn found(&self, name: &str) {
        found(&self.site, name).await;
    }

    /// Runs the sample of a tenant to its end.
    pub(super) fn runs_a_plan(&self, tenant: &str) {
        runs_a_plan(&self.site, tenant);
    }

    /// Somebody on the internet who listens on a port of 443, and says again what is said.
    pub(super) async fn stranger(&self, port: u16) -> Listener {
        let at = SocketAddr::new(Internet::STRANGER.into(), port);
        Listener::open(self.internet.namespace(), probe::Protocol::Tcp, at).await.unwrap()
    }

    /// An open flow of a tenant to the stranger.
    pub(super) async fn flow(&self, tenant: &str) -> TcpStream {
        trials::flow(&self.namespace(tenant), (Internet::STRANGER, 443)).await.unwrap()
    }

    /// How a tenant's connection ends.
    pub(super) async fn connect(&self, tenant: &str, to: (Ipv4Addr, u16), patience: Duration) -> Verdict {
        connect(&self.namespace(tenant), to, patience).await
    }

    /// The control groups that are ours now.
    pub(super) fn groups(&self) -> Vec<PathBuf> {
        let tenants = self.json(&["tenant", "list"]);
        let ids = tenants.as_array().unwrap().iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned());
        groups_of(&ids.collect::<Vec<_>>())
    }

    /// Stops the site as Ctrl-C does, after which nothing is left.
    pub(super) async fn end(mut self) {
        let groups = self.groups();
        self.site.stop().await.unwrap();
        self.nothing_is_left().await;
        no_group_is_left(&groups).await;
    }

    /// No process, name, link or table of ours is left.
    pub(super) async fn nothing_is_left(&self) {
        nothing_is_left(&self.site).await;
    }
}

/// What a command of a site says, as JSON.
pub(super) fn json(site: &Site, arguments: &[&str]) -> Value {
    let said = site.run(&[arguments, &["-o", "json"]].concat()).unwrap();
    serde_json::from_str(&said).unwrap()
}

/// The processes that keep a site's networks.
pub(super) fn keepers(site: &Site) -> Vec<u32> {
    let all = site.processes().into_iter();
    all.filter(|process| process.name == "palisade-keeper").map(|process| process.pid).collect()
}

/// Creates a tenant with the sample workflow, and waits until its data plane runs.
pub(super) async fn found(site: &Site, name: &str) {
    site.run(&["tenant", "create", name]).unwrap();
    std::fs::write(site.folder().join("orders.yaml"), sample("orders.yaml")).unwrap();
    site.run(&["workflow", "apply", "orders.yaml", "--tenant", name]).unwrap();
    assert!(wait_until(SOON, async || data_plane(site, name).is_some()).await, "{}", site.said());
}

/// A tenant's data plane, if it runs.
pub(super) fn data_plane(site: &Site, tenant: &str) -> Option<Value> {
    let all = json(site, &["data-plane", "list"]);
    let found = all.as_array()?.iter().find(|data_plane| data_plane["tenant_name"] == tenant)?.clone();
    let pids = [found["pid"].as_u64()?, found["sidecar_pid"].as_u64()?];
    let alive = |pid: &u64| PathBuf::from(format!("/proc/{pid}")).exists();
    pids.iter().all(alive).then_some(found)
}

/// Runs the sample of a tenant to its end.
pub(super) fn runs_a_plan(site: &Site, tenant: &str) {
    std::fs::write(site.folder().join("orders.json"), sample("orders.json")).unwrap();
    let run = ["run", "orders", "--input", "orders.json", "--wait", "--tenant", tenant];
    let said = site.run(&run).unwrap();
    assert!(said.contains("completed"), "{tenant}: {said}");
}

/// Stops a site, after which nothing is left.
pub(super) async fn ended(mut site: Site) {
    site.stop().await.unwrap();
    nothing_is_left(&site).await;
}

async fn nothing_is_left(site: &Site) {
    let is_gone = async || running_in(site.folder()).is_empty();
    assert!(wait_until(SOON, is_gone).await, "{:?}", running_in(site.folder()));
    site.machine().unwrap().is_clean(SOON).await.unwrap();
}

/// How a connection out of a namespace ends.
pub(super) async fn connect(namespace: &Namespace, to: (Ipv4Addr, u16), patience: Duration) -> Verdict {
    let to = SocketAddr::new(IpAddr::V4(to.0), to.1);
    let attempt = Attempt { protocol: probe::Protocol::Tcp, to, from: None };
    probe::run(namespace, &[attempt], patience).await.unwrap()[0].verdict
}

/// Runs `work` on the network stack of a namespace.
pub(super) fn on_stack<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce(&mut Stack<'_>) -> Result<T, host::network::StackError> + Send,
) -> T {
    namespace.enter_blocking(|inside| work(&mut Stack::open(inside).unwrap())).unwrap().unwrap()
}

/// The control groups whose names hold one of these ids, in whatever hierarchy.
fn groups_of(ids: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if ids.iter().any(|id| name.contains(id)) {
                found.push(path.clone());
            }
            open.push(path);
        }
    }
    found
}

/// None of the groups is there any more.
pub(super) async fn no_group_is_left(groups: &[PathBuf]) {
    let left = || groups.iter().filter(|group| group.exists()).collect::<Vec<_>>();
    assert!(wait_until(SOON, async || left().is_empty()).await, "{:?}", left());
}
