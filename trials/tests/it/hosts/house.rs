//! A machine of its own for a trial, as far as networks go: processes, mounts, names and links that nobody outside
//! sees, and that end with the trial's process, however that ends.

use host::network::probe::{Listener, Protocol};
use host::network::{
    Inside, LinkName, Mac, Namespace, NamespaceName, NewRoute, Nft, Stack, Tag, VethEnd, sysctl,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tempfile::TempDir;
use trials::alone;

/// The host's own address on the internet.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 99);

/// The next hop of the host.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 1);

/// The host's interface to the internet, and the other end.
pub(super) const HOST_INTERFACE: &str = "eth0";
const INTERNET_INTERFACE: &str = "wan0";

/// A network of the host's own, such as containers have: the host's address there, and somebody else's.
pub(super) const LAN_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const LAN_NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);

/// The machine, with an internet.
pub(super) struct House {
    internet: Namespace,
    lan: Namespace,
    folder: TempDir,
}

/// Runs `trial` in a house of its own; or says loudly why there can be none.
pub(super) fn in_a_house(trial: impl AsyncFnOnce(House)) {
    alone("true", async || trial(House::build()).await).unwrap();
}

impl House {
    fn build() -> Self {
        let internet = Namespace::create(&name("palisade-trial-internet"), &tag()).unwrap();
        let lan = Namespace::create(&name("palisade-trial-lan"), &tag()).unwrap();
        on_stack(&host(), |stack| {
            let (near, far) = (end(HOST_INTERFACE, 1), end(INTERNET_INTERFACE, 2));
            stack.create_veth(&near, &far, &internet).unwrap();
            stack.create_veth(&end("lan0", 3), &end("eth0", 4), &lan).unwrap();
        });
        bring_up(&host(), "lan0", LAN_GATEWAY);
        bring_up(&lan, "eth0", LAN_NEIGHBOUR);
        route(&lan, "0.0.0.0/0", LAN_GATEWAY, "eth0");
        bring_up(&host(), HOST_INTERFACE, HOST);
        bring_up(&internet, INTERNET_INTERFACE, PROVIDER);
        route(&host(), "0.0.0.0/0", PROVIDER, HOST_INTERFACE);
        // Strangers who know where tenants are.
        route(&internet, "10.100.0.0/14", HOST, INTERNET_INTERFACE);
        route(&internet, "172.17.0.0/16", HOST, INTERNET_INTERFACE);
        Self { internet, lan, folder: tempfile::tempdir().unwrap() }
    }

    /// Gives the internet these addresses.
    pub(super) fn decoys(&self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let addresses: Vec<Ipv4Addr> = addresses.into_iter().collect();
        on_stack(&self.internet, |stack| {
            for address in addresses {
                stack.add_address(&link(INTERNET_INTERFACE), IpAddr::V4(address).into()).unwrap();
            }
        });
    }

    /// Somebody who listens on the internet.
    pub(super) async fn listen(&self, address: Ipv4Addr, port: u16) -> Listener {
        let address = SocketAddr::new(IpAddr::V4(address), port);
        Listener::open(&self.internet, Protocol::Tcp, address).await.unwrap()
    }

    /// The internet.
    pub(super) const fn internet(&self) -> &Namespace {
        &self.internet
    }

    /// The host's own network.
    pub(super) const fn lan(&self) -> &Namespace {
        &self.lan
    }

    /// The folder of the node.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// The host's own namespace.
pub(super) fn host() -> Namespace {
    Namespace::own().unwrap()
}

/// Runs `work` inside a namespace.
pub(super) fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce(&Inside) -> T + Send) -> T {
    namespace.enter_blocking(work).unwrap()
}

/// Runs `work` on the network stack of a namespace.
pub(super) fn on_stack<T: Send>(namespace: &Namespace, work: impl FnOnce(&mut Stack<'_>) -> T + Send) -> T {
    inside(namespace, |inside| work(&mut Stack::open(inside).unwrap()))
}

/// Runs a text of nftables in a namespace, as another root would.
pub(super) fn nft(namespace: &Namespace, text: &str) {
    inside(namespace, |inside| Nft::open(inside).unwrap().run(text).unwrap());
}

/// Writes a setting of a namespace.
pub(super) fn set(namespace: &Namespace, path: &str, value: &str) {
    inside(namespace, |inside| sysctl::write(inside, &path.parse().unwrap(), value).unwrap());
}

/// A name of a link.
pub(super) fn link(name: &str) -> LinkName {
    name.parse().unwrap()
}

/// A name of a namespace.
pub(super) fn name(name: &str) -> NamespaceName {
    name.parse().unwrap()
}

/// What marks everything of a trial.
pub(super) fn tag() -> Tag {
    "palisade restricted=true tenant=trial".parse().unwrap()
}

fn end(name: &str, side: u8) -> VethEnd {
    VethEnd { name: link(name), tag: tag(), mac: Mac([2, 0, 0, 0, 0, side]), mtu: 1_500 }
}

fn bring_up(namespace: &Namespace, name: &str, address: Ipv4Addr) {
    on_stack(namespace, |stack| {
        stack.add_address(&link(name), format!("{address}/24").parse().unwrap()).unwrap();
        stack.set_up(&link(name)).unwrap();
    });
}

fn route(namespace: &Namespace, destination: &str, via: Ipv4Addr, name: &str) {
    let destination = destination.parse().unwrap();
    let route = NewRoute { destination, via: Some(IpAddr::V4(via)), link: link(name) };
    on_stack(namespace, |stack| stack.add_route(&route).unwrap());
}
