//! What the host is like: its routes and addresses, and its way to the internet.

use super::NetworksError;
use super::memory::Memory;
use host::network::{Inside, Namespace, RouteKind, Snapshot, Stack, sysctl};
use ipnet::{IpNet, Ipv4Net};
use network::HostRoute;
use network::addresses::HOST_LINK;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Linux's main routing table.
const TABLE_MAIN: u32 = 254;

/// The host's link to what stands in for the internet while networks are probed.
pub(super) const DECOY_LINK: &str = "palisade-probe";

/// What the host is like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Its own routes, ours left out.
    pub routes: Vec<HostRoute>,
    /// Its own addresses, sorted; loopback's and our link's left out.
    pub addresses: Vec<Ipv4Addr>,
    /// The links to the internet that forward for us and did not before, sorted.
    pub interfaces: Vec<String>,
    /// Its address on the way to the internet.
    pub address: Option<Ipv4Addr>,
}

/// Reads the facts. `configured` are the links to the internet, unless they are to be found.
pub(super) async fn read(
    host: &Namespace,
    configured: Option<Vec<String>>,
    memory: &Memory,
) -> Result<HostFacts, NetworksError> {
    let ours = memory.switched_on().clone();
    host.enter(move |inside| {
        let snapshot = Stack::open(inside)?.snapshot()?;
        Ok(of(inside, &snapshot, configured, &ours))
    })
    .await?
}

fn of(
    inside: &Inside,
    snapshot: &Snapshot,
    configured: Option<Vec<String>>,
    ours: &BTreeSet<String>,
) -> HostFacts {
    let foreign = |link: &str| link != HOST_LINK && link != DECOY_LINK;
    let routes = routes(snapshot, foreign);
    let out: BTreeSet<String> = configured.map_or_else(
        || ways_out(&routes).map(|route| route.link.clone()).collect(),
        |configured| configured.into_iter().collect(),
    );
    // Whoever forwards already goes on as before; what we switched on is remembered.
    let interfaces = out.iter().filter(|link| ours.contains(*link) || !forwards(inside, link));
    HostFacts {
        addresses: addresses(snapshot, foreign)
            .map(|(_, net)| net.addr())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        interfaces: interfaces.cloned().collect(),
        address: own_address(snapshot, foreign),
        routes,
    }
}

fn routes(snapshot: &Snapshot, foreign: impl Fn(&str) -> bool) -> Vec<HostRoute> {
    let routes = snapshot.routes.iter().filter_map(|route| {
        let IpNet::V4(destination) = route.destination else { return None };
        let link = route.link.clone().unwrap_or_default();
        let counts = matches!(route.kind, RouteKind::Unicast | RouteKind::Refusing);
        (counts && foreign(&link)).then_some(HostRoute { destination, link })
    });
    routes.collect()
}

fn ways_out(routes: &[HostRoute]) -> impl Iterator<Item = &HostRoute> {
    routes.iter().filter(|route| route.destination.prefix_len() == 0 && !route.link.is_empty())
}

fn addresses(snapshot: &Snapshot, foreign: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, Ipv4Net)> {
    snapshot.addresses.iter().filter_map(move |found| match found.address {
        IpNet::V4(net) if !net.addr().is_loopback() && foreign(&found.link) => {
            Some((found.link.as_str(), net))
        }
        IpNet::V4(_) | IpNet::V6(_) => None,
    })
}

/// The address by which the first default route's next hop knows the host.
fn own_address(snapshot: &Snapshot, foreign: impl Fn(&str) -> bool + Copy) -> Option<Ipv4Addr> {
    let is_default = |route: &&host::network::Route| {
        route.destination.prefix_len() == 0 && route.table == TABLE_MAIN && route.destination.addr().is_ipv4()
    };
    let route = snapshot.routes.iter().filter(is_default).min_by_key(|route| route.priority)?;
    let link = route.link.as_deref()?;
    let on_link = || addresses(snapshot, foreign).filter(|(on, _)| *on == link).map(|(_, net)| net);
    let near = on_link().find(|net| match route.via {
        Some(IpAddr::V4(via)) => net.contains(&via),
        Some(IpAddr::V6(_)) | None => true,
    });
    near.or_else(|| on_link().next()).map(|net| net.addr())
}

/// Whether a link forwards. One that does not say does not.
fn forwards(inside: &Inside, link: &str) -> bool {
    let path = format!("net/ipv4/conf/{link}/forwarding").parse();
    path.is_ok_and(|path| sysctl::read(inside, &path).is_ok_and(|value| value == "1"))
}
