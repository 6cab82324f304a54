//! IPv6 where nobody asked for it: addresses, routes and neighbours by hand, so that only the rules stand in its way.

use super::by_hand::add_neighbour;
use super::set;
use super::world::{HOST_INTERFACE, INTERNET_INTERFACE, Spot, World, link, on_stack};
use host::network::{Namespace, NewRoute};
use ipnet::IpNet;
use network::Namespace as Place;
use network::addresses::{CONTROL_LINK, HOST_LINK, INNER_LINK, UPLINK};
use std::net::{IpAddr, Ipv6Addr};

/// The host's address on the internet.
const HOST: Ipv6Addr = Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x99);

/// The address that a place has; of a tenant's, its data plane's.
pub(super) fn ipv6_of(spot: Spot) -> Ipv6Addr {
    match spot {
        Spot::Of(Place::Host) => inner(255, 2),
        Spot::Of(Place::Router) => inner(255, 1),
        Spot::Of(Place::ControlPlane) => inner(100, 2),
        Spot::Of(Place::Tenant(number)) => inner(100 + u16::from(number.value()), 10),
        Spot::Internet => Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111),
        Spot::Behind(name) => panic!("nobody gave IPv6 to `{name}`"),
    }
}

/// An address of the network of this number.
const fn inner(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, host)
}

impl World {
    /// Gives every place an address, and the router and the host the will to forward.
    pub(super) async fn give_ipv6(&self) {
        let (host, router) = (self.namespace(Place::Host).await, self.namespace(Place::Router).await);
        for namespace in [&host, &router] {
            set(namespace, "net/ipv6/conf/all/disable_ipv6", "0");
            set(namespace, "net/ipv6/conf/all/forwarding", "1");
        }
        give(&router, UPLINK, ipv6_of(Spot::Of(Place::Router)));
        give(&host, HOST_LINK, ipv6_of(Spot::Of(Place::Host)));
        meet((&router, UPLINK, inner(255, 1)), (&host, HOST_LINK, inner(255, 2)));
        way(&router, "::/0", UPLINK, inner(255, 2));
        way(&host, "fd00::/16", HOST_LINK, inner(255, 1));
        give(&host, HOST_INTERFACE, HOST);
        give(&self.internet, INTERNET_INTERFACE, ipv6_of(Spot::Internet));
        way(&self.internet, "fd00::/16", INTERNET_INTERFACE, HOST);
        for place in self.topology.namespaces.keys() {
            let (name, network) = match place {
                Place::Host | Place::Router => continue,
                Place::ControlPlane => (CONTROL_LINK.to_owned(), 100),
                Place::Tenant(number) => (number.link(), 100 + u16::from(number.value())),
            };
            let namespace = self.namespace(*place).await;
            set(&namespace, "net/ipv6/conf/all/disable_ipv6", "0");
            let (gateway, own) = (inner(network, 1), ipv6_of(Spot::Of(*place)));
            give(&router, &name, gateway);
            give(&namespace, INNER_LINK, own);
            meet((&router, &name, gateway), (&namespace, INNER_LINK, own));
            way(&namespace, "::/0", INNER_LINK, gateway);
        }
    }
}

/// An end of a wire: its namespace, its link, its address.
type End<'a> = (&'a Namespace, &'a str, Ipv6Addr);

/// Gives a link an address, of which nobody is asked whether he has it already, and no router is looked for.
fn give(namespace: &Namespace, name: &str, address: Ipv6Addr) {
    set(namespace, &format!("net/ipv6/conf/{name}/disable_ipv6"), "0");
    set(namespace, &format!("net/ipv6/conf/{name}/dad_transmits"), "0");
    set(namespace, &format!("net/ipv6/conf/{name}/accept_ra"), "0");
    let address = IpNet::new(IpAddr::V6(address), 64).unwrap();
    on_stack(namespace, |stack| stack.add_address(&link(name), address).unwrap());
}

/// Makes two ends know each other: the rules let nobody ask.
fn meet(one: End<'_>, other: End<'_>) {
    for ((near, name, _), (far, far_name, address)) in [(one, other), (other, one)] {
        let mac = on_stack(far, |stack| stack.link(&link(far_name)).unwrap().mac.unwrap());
        add_neighbour(near, name, address, mac);
    }
}

fn way(namespace: &Namespace, destination: &str, name: &str, via: Ipv6Addr) {
    let (destination, via) = (destination.parse().unwrap(), Some(IpAddr::V6(via)));
    on_stack(namespace, |stack| {
        stack.add_route(&NewRoute { destination, via, link: link(name) }).unwrap();
    });
}
