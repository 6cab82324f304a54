//! A machine of its own for a test, as far as networks go: processes, mounts, names and links that nobody outside
//! sees, and that end with the test's process, however that ends.

use crate::control::Control;
use host::logs::LogFormat;
use host::network::probe::{self, Attempt, Listener, Protocol, Verdict};
use host::network::{Inside, LinkName, Mac, Namespace, NamespaceName, NewRoute, Stack, Tag, VethEnd};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use trials::alone;

/// The host's own address on the internet, and its next hop there.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 99);
pub(crate) const PROVIDER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 1);

/// Somebody on the internet.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// The host's interface to the internet, and the other end.
const HOST_INTERFACE: &str = "eth0";
const INTERNET_INTERFACE: &str = "wan0";

/// How long an answer may take: a link that was just switched on is dead for a second or two.
pub(crate) const ANSWERED: Duration = Duration::from_secs(60);

/// How long silence is listened to. The same wires answered before, so an answer would come in time.
pub(crate) const SILENT: Duration = Duration::from_millis(700);

/// How long a test may take, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(300);

/// The machine, with an internet.
pub(crate) struct World {
    pub(crate) internet: Namespace,
}

/// Runs `test` in a world of its own; or says loudly why there can be none.
pub(crate) fn in_a_world(test: impl AsyncFnOnce(World)) {
    // A host reaches itself.
    let done = alone("ip link set lo up", async || {
        host::logs::init(LogFormat::Human, "info").unwrap();
        let test = tokio::time::timeout(LIMIT, test(World::build()));
        test.await.expect("what the test waits for does not come");
    });
    done.unwrap();
}

impl World {
    fn build() -> Self {
        let tag = "palisade restricted=true tenant=trial".parse::<Tag>().unwrap();
        let internet = Namespace::create(&name("palisade-trial-internet"), &tag).unwrap();
        let end = |name: &str, side: u8| VethEnd {
            name: link(name),
            tag: tag.clone(),
            mac: Mac([2, 0, 0, 0, 0, side]),
            mtu: 1_500,
        };
        let (near, far) = (end(HOST_INTERFACE, 1), end(INTERNET_INTERFACE, 2));
        on_stack(&host(), |stack| stack.create_veth(&near, &far, &internet).unwrap());
        bring_up(&host(), HOST_INTERFACE, &[HOST]);
        bring_up(&internet, INTERNET_INTERFACE, &[PROVIDER, STRANGER]);
        let route = NewRoute {
            destination: "0.0.0.0/0".parse().unwrap(),
            via: Some(IpAddr::V4(PROVIDER)),
            link: link(HOST_INTERFACE),
        };
        on_stack(&host(), |stack| stack.add_route(&route).unwrap());
        Self { internet }
    }

    /// Somebody who listens on the internet, as the stranger.
    pub(crate) async fn stranger(&self) -> Listener {
        listen(&self.internet, STRANGER, 443).await
    }
}

/// A control plane that answers inside of a namespace, until it is dropped.
pub(crate) struct Served {
    _stop: oneshot::Sender<()>,
}

impl Served {
    pub(crate) async fn inside(namespace: Namespace, control: &Arc<Control>, at: SocketAddr) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let control = Arc::clone(control);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let serve = async {
                let _serving = control.serve(at).await;
                ready.send(()).unwrap();
                drop(stopped.await);
            };
            namespace.enter_blocking(|_| runtime.block_on(serve)).unwrap();
        });
        is_ready.await.unwrap();
        Self { _stop: stop }
    }
}

/// The host's own namespace.
pub(crate) fn host() -> Namespace {
    Namespace::own().unwrap()
}

/// A namespace by its name.
pub(crate) fn named(text: &str) -> Namespace {
    Namespace::open(&name(text)).unwrap()
}

pub(crate) fn name(text: &str) -> NamespaceName {
    text.parse().unwrap()
}

pub(crate) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

/// Runs `work` on the network stack of a namespace.
pub(crate) fn on_stack<T: Send>(namespace: &Namespace, work: impl FnOnce(&mut Stack<'_>) -> T + Send) -> T {
    let work = |inside: &Inside| work(&mut Stack::open(inside).unwrap());
    namespace.enter_blocking(work).unwrap()
}

/// Somebody who listens at this address of a namespace.
pub(crate) async fn listen(namespace: &Namespace, address: Ipv4Addr, port: u16) -> Listener {
    let at = SocketAddr::new(IpAddr::V4(address), port);
    Listener::open(namespace, Protocol::Tcp, at).await.unwrap()
}

/// How a connection from a namespace ends.
pub(crate) async fn connect(from: &Namespace, to: (Ipv4Addr, u16), patience: Duration) -> Verdict {
    connect_as(None, from, to, patience).await
}

/// How a connection from an address of a namespace ends.
pub(crate) async fn connect_as(
    source: Option<Ipv4Addr>,
    from: &Namespace,
    to: (Ipv4Addr, u16),
    patience: Duration,
) -> Verdict {
    let to = SocketAddr::new(IpAddr::V4(to.0), to.1);
    let attempt = Attempt { protocol: Protocol::Tcp, to, from: source.map(IpAddr::V4) };
    probe::run(from, &[attempt], patience).await.unwrap()[0].verdict
}

fn bring_up(namespace: &Namespace, name: &str, addresses: &[Ipv4Addr]) {
    on_stack(namespace, |stack| {
        for address in addresses {
            stack.add_address(&link(name), format!("{address}/24").parse().unwrap()).unwrap();
        }
        stack.set_up(&link(name)).unwrap();
    });
}
