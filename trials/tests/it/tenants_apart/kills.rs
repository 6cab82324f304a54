//! Whatever is killed, it comes back, and nothing is open meanwhile.

use super::home::{ANSWERED, Apart, SILENT, SOON, connect, data_plane, keepers};
use host::network::Namespace;
use host::network::probe::Verdict;
use network::addresses::{CONTROL_PLANE, UPLINK_ROUTER};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use trials::{Internet, Site, signal, wait_until};

/// What a cloud tells about itself, which no tenant may hear.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_comes_back_and_nothing_is_open_meanwhile() {
    let Some(apart) = Apart::up("networks: kills").await else { return };
    apart.found("acme").await;
    apart.internet.decoys(&[METADATA]).unwrap();
    let _decoys = (apart.stranger(80).await, apart.stranger(443).await);
    let _metadata = listen(&apart, METADATA).await;
    assert_eq!(apart.connect("acme", (Internet::STRANGER, 443), ANSWERED).await, Verdict::Connected);
    let intruder = Intruder::begin(&apart);
    for victim in ["palisade-node", "palisade-control"] {
        apart.site.kill_and_wait_for_another(victim).await.unwrap();
        is_whole_again(&apart).await;
    }
    let before = keepers(&apart.site);
    before.iter().for_each(|keeper| signal(*keeper, "KILL").unwrap());
    let is_kept = async || {
        let now = keepers(&apart.site);
        now.len() == before.len() && now.iter().all(|keeper| !before.contains(keeper))
    };
    assert!(wait_until(SOON, is_kept).await, "{:?}", apart.site.processes());
    is_whole_again(&apart).await;
    let (tried, passed) = intruder.end().await;
    assert!(tried > 20, "only {tried} were tried");
    assert_eq!(passed, 0, "of {tried} attempts to get out");
    apart.end().await;
}

/// Everybody works, and every wall stands.
async fn is_whole_again(apart: &Apart) {
    for tenant in ["demo", "acme"] {
        let runs = async || {
            let answers = apart.site.palisade(&["data-plane", "list"]).output().unwrap().status.success();
            answers && data_plane(&apart.site, tenant).is_some() && is_in_its_network(&apart.site, tenant)
        };
        assert!(wait_until(SOON, runs).await, "{tenant} is not back:\n{}", apart.site.said());
        let run = ["run", "orders", "--input", "orders.json", "--wait", "--tenant", tenant];
        std::fs::write(apart.site.folder().join("orders.json"), crate::shared::sample("orders.json"))
            .unwrap();
        let completes = async || apart.site.run(&run).is_ok_and(|said| said.contains("completed"));
        assert!(wait_until(SOON, completes).await, "{tenant} runs no plans:\n{}", apart.site.said());
    }
    let is_declared = async || apart.site.run(&["network", "drift"]).is_ok();
    assert!(wait_until(SOON, is_declared).await, "{:?}", apart.site.palisade(&["network", "drift"]).output());
    let probed = apart.site.run(&["network", "probe"]).unwrap();
    assert!(probed.contains("all hold: "), "{probed}");
}

fn is_in_its_network(site: &Site, tenant: &str) -> bool {
    let network = super::home::json(site, &["network", "show", tenant]);
    let name = format!("palisade-t{}", network["number"]);
    let machine = site.machine().unwrap();
    data_plane(site, tenant).is_some_and(|data_plane| {
        let own = std::fs::metadata(format!("/proc/{}/ns/net", data_plane["pid"]));
        let own = own.map(|own| std::os::unix::fs::MetadataExt::ino(&own)).unwrap_or_default();
        machine.number_of(&name).is_ok_and(|kept| kept == own)
    })
}

async fn listen(apart: &Apart, address: Ipv4Addr) -> host::network::probe::Listener {
    let at = std::net::SocketAddr::new(address.into(), 80);
    let tcp = host::network::probe::Protocol::Tcp;
    host::network::probe::Listener::open(apart.internet.namespace(), tcp, at).await.unwrap()
}

/// Somebody in a tenant's network who tries without pause what is denied.
struct Intruder {
    ends: Arc<AtomicBool>,
    tried: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Intruder {
    fn begin(apart: &Apart) -> Self {
        let (ends, tried, passed) = (Arc::default(), Arc::default(), Arc::default());
        let name = format!("palisade-t{}", apart.number("acme"));
        let other = Ipv4Addr::new(10, 100 + apart.number("demo"), 0, 10);
        let machine = apart.site.machine().unwrap();
        let open = machine.opener(&name);
        let goals = [
            (Internet::STRANGER, 80),
            (METADATA, 80),
            (other, 5678),
            (CONTROL_PLANE, 80),
            (UPLINK_ROUTER, 443),
            (machine.address(), 8443),
        ];
        let task =
            tokio::spawn(attack(open, goals, Arc::clone(&ends), Arc::clone(&tried), Arc::clone(&passed)));
        Self { ends, tried, passed, task }
    }

    async fn end(self) -> (u64, u64) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        (self.tried.load(Ordering::Relaxed), self.passed.load(Ordering::Relaxed))
    }
}

async fn attack(
    open: impl Fn() -> anyhow::Result<Namespace>,
    goals: [(Ipv4Addr, u16); 6],
    ends: Arc<AtomicBool>,
    tried: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
) {
    while !ends.load(Ordering::Relaxed) {
        for goal in goals {
            // Gone for a moment while it is made anew.
            let Ok(namespace) = open() else {
                tokio::time::sleep(SILENT).await;
                continue;
            };
            let verdict = connect(&namespace, goal, SILENT).await;
            tried.fetch_add(1, Ordering::Relaxed);
            if matches!(verdict, Verdict::Connected | Verdict::Refused) {
                passed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
