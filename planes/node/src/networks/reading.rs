//! What the kernel has, read as the engine compares it.

use super::NetworksError;
use super::survey::TABLE_IN;
use host::network::keeper::{self, Keeper, KeeperError, Listing};
use host::network::{Family, Inside, Namespace, NamespaceError, NamespaceName, Snapshot, Stack, sysctl};
use network::converge::{End, Found, Named};
use network::{
    Address, Firewall, Link, Namespace as Place, NetworkNumber, Policy, Route, Seen, State, Topology,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The kernel's own table for its addresses.
const TABLE_LOCAL: u32 = 255;

/// Links that some kernels put into every namespace, with the kind of each; nobody can remove them. Off, they carry
/// nothing.
const FALLBACKS: [(&str, &str); 9] = [
    ("tunl0", "ipip"),
    ("gre0", "gre"),
    ("gretap0", "gretap"),
    ("erspan0", "erspan"),
    ("ip_vti0", "vti"),
    ("ip6_vti0", "vti6"),
    ("sit0", "sit"),
    ("ip6tnl0", "ip6tnl"),
    ("ip6gre0", "ip6gre"),
];

/// The keeper's side of a place, if it has tables there.
pub(super) const fn kept_at(place: Place) -> Option<keeper::Place> {
    match place {
        Place::Router => Some(keeper::Place::Router),
        Place::Host => Some(keeper::Place::Host),
        Place::ControlPlane | Place::Tenant(_) => None,
    }
}

/// Whose a namespace of ours is, by its name; none of other names.
pub(super) fn place_of(name: &str) -> Option<Place> {
    let number = name.strip_prefix("palisade-t").and_then(|n| n.parse::<u32>().ok());
    let place = match number {
        Some(number) => Place::Tenant(NetworkNumber::try_from(number).ok()?),
        None => Place::ControlPlane,
    };
    (place.name().as_deref() == Some(name)).then_some(place)
}

/// The name of a place, for the places that have one.
pub(super) fn name_of(place: Place) -> Option<NamespaceName> {
    place.name()?.parse().ok()
}

/// Opens the namespace of a place. The router's lives as long as it is held: let it go soon.
pub(super) async fn open(
    place: Place,
    host: &Namespace,
    keeper: &Keeper,
) -> Result<Namespace, NetworksError> {
    match place {
        Place::Host => Ok(host.clone()),
        Place::Router => Ok(keeper.namespace().await?),
        Place::ControlPlane | Place::Tenant(_) => {
            let name = name_of(place).ok_or(NetworksError::NoNetwork(place))?;
            Ok(Namespace::open(&name)?)
        }
    }
}

/// Reads what stands under the names of ours, and every place of the topology.
pub(super) async fn all(
    topology: &Topology,
    host: &Namespace,
    keeper: &Keeper,
) -> Result<Found, NetworksError> {
    let mut found = Found { names: names(topology)?, ..Found::default() };
    for place in topology.namespaces.keys() {
        again(*place, topology, host, keeper, &mut found).await?;
    }
    Ok(found)
}

/// Reads one place anew.
pub(super) async fn again(
    place: Place,
    topology: &Topology,
    host: &Namespace,
    keeper: &Keeper,
    found: &mut Found,
) -> Result<(), NetworksError> {
    found.actual.namespaces.remove(&place);
    found.ends.retain(|(at, _), _| *at != place);
    let named = found.names.get(&place);
    let is_ours = matches!(place, Place::Host | Place::Router) || matches!(named, Some(Named::Ours(_)));
    let Some(expected) = topology.namespaces.get(&place).filter(|_| is_ours) else { return Ok(()) };
    let namespace = match open(place, host, keeper).await {
        Ok(namespace) => namespace,
        // Gone since its name was read: the next reading tells.
        Err(NetworksError::Namespace(NamespaceError::Absent(_))) => return Ok(()),
        Err(other) => return Err(other),
    };
    let (ends, seen) = look(place, &namespace, expected, keeper).await?;
    found.ends.extend(ends);
    found.actual.namespaces.insert(place, seen);
    Ok(())
}

/// Reads one namespace, with the settings that are `expected` there and the tables that the keeper has there.
///
/// # Errors
/// When it cannot be entered or read, or the keeper not be asked.
pub async fn seen(
    place: Place,
    namespace: &Namespace,
    expected: &State,
    keeper: &Keeper,
) -> Result<Seen, NetworksError> {
    Ok(look(place, namespace, expected, keeper).await?.1)
}

/// The ends of a namespace's links.
type Ends = Vec<((Place, String), End)>;

async fn look(
    place: Place,
    namespace: &Namespace,
    expected: &State,
    keeper: &Keeper,
) -> Result<(Ends, Seen), NetworksError> {
    let paths: Vec<String> = expected.sysctls.keys().cloned().collect();
    let (snapshot, sysctls) = namespace.enter(move |inside| read(inside, &paths)).await??;
    let firewall = match kept_at(place) {
        Some(at) => Some(listed(keeper.list(at).await)?),
        None => None,
    };
    let ends = ends(place, &snapshot);
    let state = State { sysctls, ..state(snapshot) };
    Ok((ends, Seen { state, firewall }))
}

/// What stands under each name of ours.
pub(super) fn names(topology: &Topology) -> Result<BTreeMap<Place, Named>, NetworksError> {
    let mut names = BTreeMap::new();
    for owned in Namespace::list()? {
        if let Some(place) = place_of(owned.name.as_ref()) {
            let named = owned.tag.map_or(Named::Hollow, |tag| Named::Ours(tag.as_ref().to_owned()));
            names.insert(place, named);
        }
    }
    let is_there = |place: &&Place| name_of(**place).is_some_and(|name| Namespace::open(&name).is_ok());
    let unseen = topology.namespaces.keys().filter(|place| !names.contains_key(place));
    let foreign: Vec<Place> = unseen.filter(is_there).copied().collect();
    names.extend(foreign.into_iter().map(|place| (place, Named::Foreign)));
    Ok(names)
}

type Read = (Snapshot, BTreeMap<String, String>);

fn read(inside: &Inside, paths: &[String]) -> Result<Read, NetworksError> {
    let snapshot = Stack::open(inside)?.snapshot()?;
    let value = |path: &String| Some((path.clone(), sysctl::read(inside, &path.parse().ok()?).ok()?));
    Ok((snapshot, paths.iter().filter_map(value).collect()))
}

fn ends(place: Place, snapshot: &Snapshot) -> Ends {
    let seen = snapshot.links.iter().filter(|link| !is_fallback(link));
    seen.map(|link| {
        let tag = link.tag().map(|tag| tag.as_ref().to_owned());
        ((place, link.name.clone()), End { index: link.index, peer: link.peer_index, tag })
    })
    .collect()
}

fn is_fallback(link: &host::network::Link) -> bool {
    let same = |(name, kind): &(&str, &str)| link.name == *name && link.kind.as_deref() == Some(*kind);
    !link.up && FALLBACKS.iter().any(same)
}

fn state(snapshot: Snapshot) -> State {
    let links = snapshot.links.into_iter().filter(|link| !is_fallback(link)).map(|link| {
        let kind = link.kind.unwrap_or_else(|| "loopback".to_owned());
        Link { name: link.name, kind, up: link.up, mtu: link.mtu }
    });
    let addresses = snapshot.addresses.into_iter();
    let addresses = addresses.map(|found| Address { link: found.link, address: found.address });
    // Probes of ours lead through the host's link too, for as long as they last.
    let routes = snapshot.routes.into_iter().filter(|route| ![TABLE_LOCAL, TABLE_IN].contains(&route.table));
    let routes = routes.map(|route| Route {
        table: route.table,
        destination: route.destination,
        via: route.via,
        link: route.link.unwrap_or_default(),
    });
    let rules = snapshot.routing_rules.into_iter().filter(|rule| rule.family == Family::Ipv4);
    let policies =
        rules.map(|rule| Policy { priority: rule.priority, table: rule.table, always: rule.always });
    State {
        links: links.collect(),
        addresses: addresses.collect(),
        routes: routes.collect(),
        policies: policies.collect(),
        sysctls: BTreeMap::new(),
    }
}

/// What a keeper lists. What nftables itself cannot list is seen as that, and is no reason to see nothing else.
fn listed(listing: Result<Listing, KeeperError>) -> Result<Firewall, NetworksError> {
    match listing {
        Ok(listing) => firewall(listing),
        Err(KeeperError::Refused { detail, .. }) => Ok(Firewall {
            tables: format!("table inet {}\ntable inet {}\n", keeper::TABLE, keeper::FLOOR_TABLE),
            owned_by_keeper: true,
            listings: vec![detail.into_bytes()],
        }),
        Err(other) => Err(other.into()),
    }
}

/// A keeper's listing, as the engine reads it.
fn firewall(listing: Listing) -> Result<Firewall, NetworksError> {
    let document: Value = serde_json::from_str(&listing.json).map_err(|_| NetworksError::Listing)?;
    let entries = document.get("nftables").and_then(Value::as_array).ok_or(NetworksError::Listing)?;
    let text = |table: &Value, key| table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut tables = String::new();
    let mut owned_by_keeper = false;
    for table in entries.iter().filter_map(|entry| entry.get("table")) {
        let (family, name) = (text(table, "family"), text(table, "name"));
        let is_owned = text(table, "flags") == "owner";
        owned_by_keeper |= is_owned && family == "inet" && name == keeper::TABLE;
        tables.push_str(&format!("table {family} {name}\n"));
    }
    Ok(Firewall { tables, owned_by_keeper, listings: vec![listing.json.into_bytes()] })
}
