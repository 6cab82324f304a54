//! What the kernel has, read as the engine compares it.

use super::world::{World, inside};
use host::network::{Family, Inside, Snapshot, Stack, keeper, sysctl};
use network::{
    Actual, Address, Drift, Firewall, Link, Namespace as Place, Policy, Route, Seen, State, drift,
};
use serde_json::Value;

/// The kernel's own table for its addresses.
const TABLE_LOCAL: u32 = 255;

impl World {
    /// Where the kernel differs from what was asked for.
    pub(super) async fn drift(&self) -> Vec<Drift> {
        let mut actual = Actual::default();
        for (place, expected) in &self.topology.namespaces {
            let namespace = self.namespace(*place).await;
            let state = inside(&namespace, |inside| state(inside, expected));
            let firewall = match place {
                Place::Router => Some(keeper::Place::Router),
                Place::Host => Some(keeper::Place::Host),
                Place::ControlPlane | Place::Tenant(_) => None,
            };
            let firewall = match firewall {
                Some(place) => Some(self::firewall(self.keeper.list(place).await.unwrap().json)),
                None => None,
            };
            actual.namespaces.insert(*place, Seen { state, firewall });
        }
        drift(&self.desired, &actual)
    }
}

fn state(inside: &Inside, expected: &State) -> State {
    let snapshot = Stack::open(inside).unwrap().snapshot().unwrap();
    let read = |path: &String| Some((path.clone(), sysctl::read(inside, &path.parse().unwrap()).ok()?));
    let sysctls = expected.sysctls.keys().filter_map(read).collect();
    State { sysctls, ..of(snapshot) }
}

fn of(snapshot: Snapshot) -> State {
    let links = snapshot.links.into_iter().map(|link| {
        let kind = link.kind.unwrap_or_else(|| "loopback".to_owned());
        Link { name: link.name, kind, up: link.up, mtu: link.mtu }
    });
    let addresses =
        snapshot.addresses.into_iter().map(|found| Address { link: found.link, address: found.address });
    let routes = snapshot.routes.into_iter().filter(|route| route.table != TABLE_LOCAL).map(|route| Route {
        table: route.table,
        destination: route.destination,
        via: route.via,
        link: route.link.unwrap_or_default(),
    });
    let rules = snapshot.routing_rules.into_iter().filter(|rule| rule.family == Family::Ipv4);
    let policies =
        rules.map(|rule| Policy { priority: rule.priority, table: rule.table, always: rule.always });
    State {
        policies: policies.collect(),
        links: links.collect(),
        addresses: addresses.collect(),
        routes: routes.collect(),
        sysctls: Default::default(),
    }
}

fn firewall(listing: String) -> Firewall {
    let document: Value = serde_json::from_str(&listing).unwrap();
    let tables = document["nftables"].as_array().unwrap().iter().filter_map(|entry| entry.get("table"));
    let text = |table: &Value, key: &str| table[key].as_str().unwrap().to_owned();
    let lines =
        tables.clone().map(|table| format!("table {} {}\n", text(table, "family"), text(table, "name")));
    let owned = tables.clone().any(|table| table["name"] == "palisade" && table["flags"] == "owner");
    Firewall { tables: lines.collect(), owned_by_keeper: owned, listings: vec![listing.into_bytes()] }
}
