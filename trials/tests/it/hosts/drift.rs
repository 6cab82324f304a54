//! Drift on a host at work: whatever somebody changes is seen, told once and repaired; nothing else is.

use super::house::{House, host, in_a_house, link, name, nft, on_stack, set, tag};
use super::tenants::{
    ANSWERED, SILENT, connect, document, keeper, namespace, number, router, settings, start, with_suspended,
};
use super::{SOON, STRANGER};
use host::clock::Clock;
use host::network::probe::Verdict;
use host::network::{Family, Mac, Namespace, NewRoute, RoutingRule, VethEnd};
use node::networks::{Finding, Networks};
use std::time::Duration;

/// What somebody does, and the first words of what is to be told: of either end, where both ends of a wire go and
/// one may be seen before the other has gone.
type ByHand = (&'static str, fn(&Grip));

/// Everything that somebody could lay hands on.
struct Grip {
    host: Namespace,
    router: Namespace,
    tenant: Namespace,
}

#[test]
fn whatever_is_changed_by_hand_is_told_and_repaired() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut networks = start(&house, Some(&document(1, &[1, 3]))).await;
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        for (told, deed) in by_hand() {
            let grip = Grip { host: host(), router: router(&house).await, tenant: namespace(1) };
            deed(&grip);
            drop(grip);
            let finding = next(&mut networks).await;
            assert!(finding.repaired, "{told}: {finding:?}");
            let lines: Vec<String> = finding.drifts.iter().map(ToString::to_string).collect();
            let is_told = |line: &String| told.split(" | ").any(|told| line.starts_with(told));
            assert!(lines.iter().any(is_told), "{told}: {lines:?}");
        }
        let report = networks.report().await.unwrap();
        assert!(report.drift.found >= by_hand().len() as u64, "{report:?}");
        assert_eq!((report.drift.repaired, report.drift.open.len()), (report.drift.found, 0));
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(3, 80, SILENT).await, Verdict::TimedOut);
    });
}

fn by_hand() -> [ByHand; 17] {
    [
        ("sysctl in router: net/netfilter/nf_conntrack_tcp_loose", |grip| {
            set(&grip.router, "net/netfilter/nf_conntrack_tcp_loose", "1");
        }),
        ("sysctl in tenant-1: net/ipv4/conf/all/accept_redirects", |grip| {
            set(&grip.tenant, "net/ipv4/conf/all/accept_redirects", "1");
        }),
        ("sysctl in host: net/ipv4/conf/palisade/rp_filter", |grip| {
            set(&grip.host, "net/ipv4/conf/palisade/rp_filter", "0");
        }),
        ("address in tenant-1: addresses has `10.101.0.99/16", |grip| {
            let address = "10.101.0.99/16".parse().unwrap();
            on_stack(&grip.tenant, |stack| stack.add_address(&link("eth0"), address).unwrap());
        }),
        ("address in host: addresses lacks `10.100.255.2/30", |grip| {
            let address = "10.100.255.2/30".parse().unwrap();
            on_stack(&grip.host, |stack| stack.remove_address(&link("palisade"), address).unwrap());
        }),
        ("route in tenant-1: routes lacks `0.0.0.0/0", |grip| {
            let (destination, via) = ("0.0.0.0/0".parse().unwrap(), "10.101.0.1".parse().ok());
            let route = NewRoute { destination, via, link: link("eth0") };
            on_stack(&grip.tenant, |stack| stack.remove_route(&route).unwrap());
        }),
        ("route in router: routes has `93.184.216.34/32", |grip| {
            let route =
                NewRoute { destination: "93.184.216.34/32".parse().unwrap(), via: None, link: link("pt3") };
            on_stack(&grip.router, |stack| stack.add_route(&route).unwrap());
        }),
        ("route_policy in router: routing policy has `priority 5", |grip| {
            let rule = RoutingRule { family: Family::Ipv4, priority: 5, table: 100, always: true };
            on_stack(&grip.router, |stack| stack.add_routing_rule(rule).unwrap());
        }),
        ("link in tenant-1: links lacks `eth0 (veth, up", |grip| {
            on_stack(&grip.tenant, |stack| stack.set_down(&link("eth0")).unwrap());
        }),
        ("link in router: links lacks `pt1 | link in tenant-1: links lacks `eth0", |grip| {
            on_stack(&grip.router, |stack| stack.delete_link(&link("pt1")).unwrap());
        }),
        ("link in router: links lacks `pup | link in host: links lacks `palisade", |grip| {
            on_stack(&grip.host, |stack| stack.delete_link(&link("palisade")).unwrap());
        }),
        ("link in tenant-1: links has `side0", |grip| {
            let end = |name, side| VethEnd {
                name: link(name),
                tag: tag(),
                mac: Mac([2, 0, 0, 9, 9, side]),
                mtu: 1_400,
            };
            on_stack(&grip.tenant, |stack| {
                stack.create_veth(&end("side0", 1), &end("side1", 2), &grip.host).unwrap()
            });
        }),
        ("table_missing in router: firewall lacks `inet palisade_floor`", |grip| {
            nft(&grip.router, "flush ruleset")
        }),
        ("table_missing in host: firewall lacks `inet palisade_floor`", |grip| {
            nft(&grip.host, "flush ruleset")
        }),
        ("rule_foreign in router: inet palisade_floor forward has `accept`", |grip| {
            nft(&grip.router, "insert rule inet palisade_floor forward accept");
        }),
        ("table_foreign in router: firewall has `ip hole`", |grip| nft(&grip.router, "add table ip hole")),
        ("changed_back in router", |grip| {
            nft(&grip.router, "add table ip hole");
            nft(&grip.router, "delete table ip hole");
        }),
    ]
}

#[test]
fn a_namespace_that_lost_its_name_is_made_anew_and_the_node_is_told() {
    in_a_house(async |house| {
        let mut networks = start(&house, Some(&document(1, &[1, 3]))).await;
        let before = namespace(3);
        Namespace::remove(&name("palisade-t3")).unwrap();
        let finding = next(&mut networks).await;
        assert_eq!((finding.repaired, finding.rebuilt), (true, vec![number(3)]), "{:?}", finding.drifts);
        assert!(!namespace(3).is_same_as(&before).unwrap());
        on_stack(&before, |stack| assert!(stack.link(&link("eth0")).is_err(), "the old one is connected"));
    });
}

#[test]
fn a_keeper_that_is_killed_is_replaced() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut networks = start(&house, Some(&document(1, &[1, 3]))).await;
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        let before = namespace(1);
        for _ in 0..3 {
            let old = keeper(&house).await.pid();
            trials::signal(old, "KILL").unwrap();
            let finding = next(&mut networks).await;
            let codes: Vec<&str> = finding.drifts.iter().map(|drift| drift.kind.code()).collect();
            assert_eq!((codes, finding.repaired), (vec!["keeper_ended"], true));
            assert_ne!(keeper(&house).await.pid(), old);
            assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
            assert_eq!(connect(3, 80, SILENT).await, Verdict::TimedOut);
        }
        assert!(namespace(1).is_same_as(&before).unwrap(), "what runs in it goes on");
    });
}

#[test]
fn a_node_that_is_to_report_only_changes_nothing() {
    in_a_house(async |house| {
        let document = document(1, &[1]);
        let settings = settings(house.folder(), false);
        let mut networks = Networks::start(settings, Clock::system(), Some(&document)).await.unwrap();
        let path = "net/ipv4/conf/all/accept_redirects";
        set(&namespace(1), path, "1");
        let finding = next(&mut networks).await;
        assert!(!finding.repaired && finding.drifts.len() == 1, "{finding:?}");
        let open = networks.report().await.unwrap().drift.open;
        assert_eq!(
            (open.len(), open[0].code.as_str(), open[0].namespace.as_str()),
            (1, "sysctl", "tenant-1")
        );
        assert!(open[0].detail.ends_with("should be `0` and is `1`"), "{open:?}");
        set(&namespace(1), path, "0");
        let is_closed = async || networks.report().await.unwrap().drift.open.is_empty();
        assert!(trials::wait_until(SOON, is_closed).await);
    });
}

#[test]
fn traffic_and_changes_of_its_own_are_no_drift() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut networks = start(&house, None).await;
        networks.apply(&document(1, &[1, 3])).await.unwrap();
        let traffic = async {
            for _ in 0..40 {
                let (open, shut) =
                    tokio::join!(connect(1, 443, ANSWERED), connect(1, 80, Duration::from_millis(50)));
                assert_eq!((open, shut), (Verdict::Connected, Verdict::TimedOut));
            }
        };
        let changes = async {
            for version in 2..12 {
                let document = match version % 3 {
                    0 => document(version, &[1, 3]),
                    1 => with_suspended(version, &[1, 2, 3], &[3]),
                    _ => document(version, &[1, 3, 4, 5]),
                };
                networks.apply(&document).await.unwrap();
            }
            quiet(&house, &mut networks).await;
        };
        tokio::join!(traffic, changes);
        let report = networks.report().await.unwrap();
        assert_eq!((report.applied, report.drift.found), (11, 1), "{report:?}");
    });
}

/// What is found next, within a generous time.
async fn next(networks: &mut Networks) -> Finding {
    tokio::time::timeout(SOON, networks.watch()).await.expect("nothing was found")
}

/// Waits until a change of ours that is meant to be found is found, and sees that nothing was before.
async fn quiet(house: &House, networks: &mut Networks) {
    set(&router(house).await, "net/netfilter/nf_conntrack_tcp_loose", "1");
    let finding = next(networks).await;
    assert_eq!(finding.drifts.len(), 1, "{finding:?}");
}
