//! What was changed by hand is seen; what was asked for is not.

use super::by_hand::{add_rule_for_some, remove_rule_for_some};
use super::flows::{connect, listen_at};
use super::probing::{ANSWERED, SILENT};
use super::world::{World, inside, link, on_stack};
use super::{STRANGER, here, number, set};
use host::network::probe::Verdict;
use host::network::{Namespace, NewRoute, Nft};
use ipnet::IpNet;
use network::Namespace as Place;
use std::net::IpAddr;

/// What somebody does by hand, what undoes it, and what is to be told of it in between.
struct ByHand {
    place: Place,
    deed: fn(&Namespace),
    undo: fn(&Namespace),
    told: &'static str,
}

#[tokio::test]
async fn drift_sees_what_was_changed_by_hand_and_nothing_in_what_was_asked_for() {
    let Some(world) = World::build("networks: drift", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert_eq!(connect(&world, 2, SILENT).await, Verdict::TimedOut);
    assert_eq!(told(&world).await, [""; 0], "traffic is no drift");
    for ByHand { place, deed, undo, told: expected } in by_hand() {
        let namespace = world.namespace(place).await;
        deed(&namespace);
        assert_eq!(told(&world).await, [expected]);
        undo(&namespace);
        assert_eq!(told(&world).await, [""; 0], "{expected}");
    }
}

fn by_hand() -> [ByHand; 8] {
    [
        ByHand {
            place: Place::Tenant(number(3)),
            deed: |namespace| {
                on_stack(namespace, |stack| stack.add_address(&link("eth0"), address()).unwrap())
            },
            undo: |namespace| {
                on_stack(namespace, |stack| stack.remove_address(&link("eth0"), address()).unwrap());
            },
            told: "address in tenant-3: addresses has `10.103.0.99/16 on eth0`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| on_stack(namespace, |stack| stack.add_route(&detour()).unwrap()),
            undo: |namespace| on_stack(namespace, |stack| stack.remove_route(&detour()).unwrap()),
            told: "route in router: routes has `93.184.216.34/32 through pt3, table 254`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| set(namespace, "net/netfilter/nf_conntrack_tcp_loose", "1"),
            undo: |namespace| set(namespace, "net/netfilter/nf_conntrack_tcp_loose", "0"),
            told: "sysctl in router: net/netfilter/nf_conntrack_tcp_loose should be `0` and is `1`",
        },
        ByHand {
            place: Place::Host,
            deed: |namespace| set(namespace, "net/ipv4/conf/palisade/rp_filter", "0"),
            undo: |namespace| set(namespace, "net/ipv4/conf/palisade/rp_filter", "1"),
            told: "sysctl in host: net/ipv4/conf/palisade/rp_filter should be `1` and is `0`",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| nft(namespace, "add table ip hole"),
            undo: |namespace| nft(namespace, "delete table ip hole"),
            told: "table_foreign in router: firewall has `ip hole`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| nft(namespace, "insert rule inet palisade_floor forward accept"),
            undo: |namespace| {
                nft(
                    namespace,
                    "flush chain inet palisade_floor forward\nadd rule inet palisade_floor forward meta mark 1 accept",
                );
            },
            told: "rule_foreign in router: inet palisade_floor forward has `accept`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: |namespace| nft(namespace, "add table inet palisade_floor { flags dormant; }"),
            undo: |namespace| nft(namespace, "add table inet palisade_floor"),
            told: "object_foreign in router: inet palisade has `flag dormant of the floor`, which nothing asked for",
        },
        ByHand {
            place: Place::Router,
            deed: add_rule_for_some,
            undo: remove_rule_for_some,
            told: "route_policy in router: routing policy has `priority 32766 asks table 254, with conditions of its \
                   own`, which nothing asked for",
        },
    ]
}

fn address() -> IpNet {
    "10.103.0.99/16".parse().unwrap()
}

fn detour() -> NewRoute {
    NewRoute { destination: IpAddr::V4(STRANGER).into(), via: None, link: link("pt3") }
}

fn nft(namespace: &Namespace, text: &str) {
    inside(namespace, |inside| Nft::open(inside).unwrap().run(text).unwrap());
}

pub(super) async fn told(world: &World) -> Vec<String> {
    world.drift().await.iter().map(ToString::to_string).collect()
}
