//! Every rule is needed: a table with one thing wrong does something else, through the real kernel.
//!
//! Each table that [`Ruleset::weakened`] makes is loaded in place of the right one, and everything is thrown at it: the
//! whole matrix and what no honest client sends, packet by packet. It is seen when one packet comes out where none
//! should, does not come out where it should, comes as somebody else, or is counted otherwise.

mod bench;
mod caps;
mod flows;
mod host;
mod odd;
mod router;
mod walls;

use super::world::HOST;
use super::{CONTROL, DATABASE, desired, reaching};
use bench::{Fault, Tried};
use host::Host;
use network::ControlPlane;
use network::ruleset::Ruleset;
use odd::NOBODY;
use router::Router;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use walls::{HOST_WALLS, ROUTER_WALLS, Wall};

#[tokio::test]
async fn every_rule_of_the_router_is_needed_or_a_second_wall() {
    let trial = "networks: rule mutation, router";
    let here = reaching(&[DATABASE, NOBODY], &[1, 3]);
    let elsewhere = desired(ControlPlane::Elsewhere { addresses: vec![CONTROL] }, &[1, 2]);
    let Some(at_home) = Router::new(trial, here).await else { return };
    let Some(away) = Router::new(trial, elsewhere).await else { return };
    all_is_needed([at_home, away], &ROUTER_WALLS).await;
}

#[tokio::test]
async fn every_rule_of_the_host_is_needed_or_a_second_wall() {
    let trial = "networks: rule mutation, host";
    let published = |address| {
        let reach = vec![SocketAddrV4::new(DATABASE, 5432)];
        let published = Some(SocketAddrV4::new(address, 8443));
        desired(ControlPlane::Here { published, reach }, &[1, 3])
    };
    let elsewhere = desired(ControlPlane::Elsewhere { addresses: vec![CONTROL] }, &[1, 3]);
    let Some(anywhere) = Host::new(trial, published(Ipv4Addr::UNSPECIFIED)).await else { return };
    let Some(at_one_address) = Host::new(trial, published(HOST)).await else { return };
    let Some(to_itself) = Host::new(trial, published(Ipv4Addr::LOCALHOST)).await else { return };
    let Some(away) = Host::new(trial, elsewhere).await else { return };
    all_is_needed([anywhere, at_one_address, to_itself, away], &HOST_WALLS).await;
}

/// Some rules only one of the hosts needs, and some elements only one has. What none needs must be a second wall: once
/// the first is gone, it makes a difference.
async fn all_is_needed<T: Tried, const N: usize>(mut hosts: [T; N], walls: &[Wall]) {
    let mut seen = BTreeSet::new();
    let mut unseen = BTreeSet::new();
    for host in &mut hosts {
        for weak in host.right().weakened() {
            if seen.contains(&weak.what) {
                continue;
            }
            if is_seen(host, &weak.ruleset).await {
                unseen.remove(&weak.what);
                seen.insert(weak.what);
            } else {
                unseen.insert(weak.what);
            }
        }
    }
    let known: BTreeSet<String> = walls.iter().map(|wall| wall.what.to_owned()).collect();
    assert_eq!(unseen, known);
    for wall in walls {
        let mut needed = false;
        for host in &mut hosts {
            needed = needed || wall.is_needed_behind(host).await;
        }
        assert!(needed, "{}: not even without {:?}", wall.what, wall.first);
    }
}

/// A packet may be late or lost once, and another may come in between: two rounds of three must say the same.
async fn is_seen(host: &mut impl Tried, table: &Ruleset) -> bool {
    let mut odd = 0;
    for round in 0..3 {
        match host.holds(table).await {
            Err(Fault::Leak(_)) => return true,
            Err(Fault::Other(_)) => odd += 1,
            Ok(()) => (),
        }
        if round == 1 && odd != 1 {
            break;
        }
    }
    odd >= 2
}
