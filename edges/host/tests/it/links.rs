//! Links, addresses, routes, switches: made as asked, seen as they are, and only ours.

use crate::site::{Site, bring_up, default_route, end, inside, link, on_stack, tag, wired};
use host::network::sysctl::{self, Sysctl, SysctlError};
use host::network::{
    Family, Inside, Link, LinkName, Mac, Namespace, NewRoute, RouteKind, Snapshot, Stack, StackError,
    VethEnd, Watch,
};
use host::process::{Network, Spawn};

#[test]
fn a_pair_of_links_appears_tagged_and_down_with_each_end_in_its_namespace() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = (site.namespace(), site.namespace());
    on_stack(&left, |stack| stack.create_veth(&end("pt7", 1), &end("eth0", 2), &right).unwrap());
    let [here, there] = [(&left, "pt7"), (&right, "eth0")].map(|(namespace, name)| link_of(namespace, name));
    for (seen, last) in [(&here, 1), (&there, 2)] {
        assert_eq!((seen.kind.as_deref(), seen.up, seen.mtu), (Some("veth"), false, 1_400));
        assert_eq!(seen.mac, Some(Mac([2, 0, 0, 0, 0, last])));
        assert_eq!(seen.tag(), Some(tag()));
    }
    assert_eq!((here.peer_index, there.peer_index), (Some(there.index), Some(here.index)));
    assert_eq!(names(&left), ["lo", "pt7"]);
}

#[test]
fn the_other_end_goes_with_the_one_that_is_removed() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    on_stack(&left, |stack| stack.delete_link(&link("left0")).unwrap());
    for (namespace, name) in [(&left, "left0"), (&right, "right0")] {
        let gone = on_stack(namespace, |stack| stack.link(&link(name)));
        assert!(matches!(gone, Err(StackError::NoLink(_))), "{gone:?}");
    }
    on_stack(&left, |stack| stack.delete_link(&link("left0")).unwrap());
}

#[test]
fn a_pair_that_cannot_be_completed_leaves_nothing_behind() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    let taken = on_stack(&left, |stack| stack.create_veth(&end("left1", 3), &end("right0", 4), &right));
    assert!(matches!(taken, Err(StackError::Refused { .. })), "{taken:?}");
    assert_eq!(names(&left), ["left0", "lo"]);
    assert_eq!(names(&right), ["lo", "right0"]);
}

#[test]
fn a_link_is_changed_as_asked() {
    let Some(mut site) = Site::new() else { return };
    let (left, _right) = wired(&mut site);
    let name = link("left0");
    on_stack(&left, |stack| {
        stack.set_down(&name).unwrap();
        stack.set_mtu(&name, 1_300).unwrap();
        stack.set_mac(&name, Mac([2, 0, 0, 0, 9, 9])).unwrap();
    });
    let seen = link_of(&left, "left0");
    assert_eq!((seen.up, seen.mtu, seen.mac), (false, 1_300, Some(Mac([2, 0, 0, 0, 9, 9]))));
}

#[test]
fn every_change_of_links_addresses_and_routes_shows() {
    let Some(mut site) = Site::new() else { return };
    let (left, _right) = wired(&mut site);
    default_route(&left, "left0", "192.0.2.2");
    let sound = settled(&left);
    assert_eq!(settled(&left), sound, "nothing changes by itself");
    let route = NewRoute {
        destination: "203.0.113.0/24".parse().unwrap(),
        via: Some("192.0.2.2".parse().unwrap()),
        link: link("left0"),
    };
    let extra = "192.0.2.9/24".parse().unwrap();
    type Change<'a> = &'a (dyn Fn(&mut Stack<'_>) -> Result<(), StackError> + Sync);
    let changes: [(&str, Change<'_>, Change<'_>); 3] = [
        ("a route", &|stack| stack.add_route(&route), &|stack| stack.remove_route(&route)),
        ("an address", &|s| s.add_address(&link("left0"), extra), &|s| {
            s.remove_address(&link("left0"), extra)
        }),
        ("an MTU", &|stack| stack.set_mtu(&link("left0"), 1_280), &|s| s.set_mtu(&link("left0"), 1_400)),
    ];
    for (what, change, undo) in changes {
        // Twice: what stands so already is no error.
        on_stack(&left, |stack| change(stack).and_then(|()| change(stack)).unwrap());
        assert_ne!(settled(&left), sound, "{what}");
        on_stack(&left, |stack| undo(stack).and_then(|()| undo(stack)).unwrap());
        assert_eq!(settled(&left), sound, "{what}");
    }
}

#[test]
fn a_watch_counts_changes_of_every_kind() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = (site.namespace(), site.namespace());
    let mut watch = inside(&left, |inside| Watch::open(inside).unwrap());
    assert_eq!(watch.changes().unwrap(), 0);
    let name = link("left0");
    let route = NewRoute { destination: "203.0.113.0/24".parse().unwrap(), via: None, link: name.clone() };
    let forward: Sysctl = "net/ipv4/ip_forward".parse().unwrap();
    type Change<'a> = &'a (dyn Fn(&Inside, &mut Stack<'_>) + Sync);
    let changes: [(&str, Change<'_>); 6] = [
        ("a link", &|_, stack| stack.create_veth(&end("left0", 1), &end("eth0", 2), &right).unwrap()),
        ("an address", &|_, stack| stack.add_address(&name, "192.0.2.1/24".parse().unwrap()).unwrap()),
        ("a link's state", &|_, stack| stack.set_up(&name).unwrap()),
        ("a route", &|_, stack| stack.add_route(&route).unwrap()),
        ("a switch", &|inside, _| sysctl::write(inside, &forward, "1").unwrap()),
        ("a link's end", &|_, stack| stack.delete_link(&name).unwrap()),
    ];
    for (what, change) in changes {
        let before = watch.changes().unwrap();
        inside(&left, |inside| change(inside, &mut Stack::open(inside).unwrap()));
        assert!(watch.changes().unwrap() > before, "{what}");
    }
}

#[test]
fn a_snapshot_names_what_is_there() {
    let Some(mut site) = Site::new() else { return };
    let (left, _right) = wired(&mut site);
    default_route(&left, "left0", "192.0.2.2");
    let seen = settled(&left);
    let address = seen.addresses.iter().find(|address| address.link == "left0").unwrap();
    assert_eq!(address.address, "192.0.2.1/24".parse().unwrap());
    let default = seen.routes.iter().find(|route| route.destination.prefix_len() == 0).unwrap();
    assert_eq!((default.kind, default.table), (RouteKind::Unicast, 254));
    assert_eq!((default.via, default.link.as_deref()), ("192.0.2.2".parse().ok(), Some("left0")));
    assert!(seen.routes.iter().any(|route| route.kind == RouteKind::Local && route.table == 255));
    let of_ipv4 = seen.routing_rules.iter().filter(|rule| rule.family == Family::Ipv4);
    let asked: Vec<_> = of_ipv4.map(|rule| (rule.priority, rule.table)).collect();
    assert_eq!(asked, [(0, 255), (32_766, 254), (32_767, 253)]);
}

/// A routing rule: its rank, `struct fib_rule_hdr`, and attributes.
type NewRule = (u32, [u8; 12], &'static [(u16, &'static [u8])]);

#[test]
fn a_routing_rule_for_some_packets_is_told_apart() {
    let Some(mut site) = Site::new() else { return };
    let namespace = site.namespace();
    // All to table 99; what comes from 10.0.0.0/8; what has a mark; what does not come from there; all, refused.
    let rules: [NewRule; 5] = [
        (1, [2, 0, 0, 0, 99, 0, 0, 1, 0, 0, 0, 0], &[]),
        (2, [2, 0, 8, 0, 99, 0, 0, 1, 0, 0, 0, 0], &[(2, &[10, 0, 0, 0])]),
        (3, [2, 0, 0, 0, 99, 0, 0, 1, 0, 0, 0, 0], &[(10, &[7, 0, 0, 0])]),
        (4, [2, 0, 8, 0, 99, 0, 0, 1, 2, 0, 0, 0], &[(2, &[10, 0, 0, 0])]),
        (5, [2, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0], &[]),
    ];
    inside(&namespace, |_| rules.iter().for_each(|(priority, fixed, more)| add_rule(*priority, fixed, more)));
    let seen = settled(&namespace).routing_rules.into_iter();
    let seen: Vec<_> = seen.filter(|rule| rule.family == Family::Ipv4).collect();
    let always: Vec<u32> = seen.iter().filter(|rule| rule.always).map(|rule| rule.priority).collect();
    assert_eq!(always, [0, 1, 32_766, 32_767]);
    assert_eq!(seen.len(), 8);
}

/// Adds a routing rule in the namespace of this thread (rtnetlink(7)).
fn add_rule(priority: u32, fixed: &[u8; 12], more: &[(u16, &[u8])]) {
    let mut body = fixed.to_vec();
    for (kind, value) in more.iter().chain(&[(6, &priority.to_ne_bytes()[..])]) {
        body.extend([u16::try_from(value.len() + 4).unwrap(), *kind].map(u16::to_ne_bytes).concat());
        body.extend_from_slice(value);
    }
    // New, to be acknowledged: RTM_NEWRULE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL.
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend([32, 0x605_u16].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend(body);
    let (family, kind) = (rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW);
    let socket = rustix::net::socket(family, kind, None).unwrap();
    rustix::net::send(&socket, &message, rustix::net::SendFlags::empty()).unwrap();
    let mut answer = [0; 1_024];
    rustix::net::recv(&socket, &mut answer, rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(answer[16..20], [0; 4], "the kernel's error");
}

#[tokio::test]
async fn a_link_that_is_not_ours_is_left_alone() {
    let Some(_site) = Site::new() else { return };
    // The loopback of a namespace that nobody tagged.
    let mut spawn = Spawn::new("/bin/sleep".into(), "/".into());
    (spawn.args, spawn.network) = (vec!["60".into()], Network::Fresh);
    let child = spawn.spawn().await.unwrap();
    let namespace = Namespace::of_process(child.pid()).unwrap();
    let loopback = LinkName::loopback();
    let route = NewRoute { destination: "0.0.0.0/0".parse().unwrap(), via: None, link: loopback.clone() };
    on_stack(&namespace, |stack| {
        for refused in [
            stack.set_up(&loopback),
            stack.set_down(&loopback),
            stack.set_mtu(&loopback, 1_000),
            stack.set_mac(&loopback, Mac([2; 6])),
            stack.delete_link(&loopback),
            stack.add_address(&loopback, "127.0.0.9/8".parse().unwrap()),
            stack.add_route(&route),
        ] {
            assert!(matches!(refused, Err(StackError::Foreign(_))), "{refused:?}");
        }
    });
}

#[test]
fn a_switch_belongs_to_its_namespace() {
    let Some(mut site) = Site::new() else { return };
    let (one, two) = (site.namespace(), site.namespace());
    let forward: Sysctl = "net/ipv4/ip_forward".parse().unwrap();
    let loose: Sysctl = "net/netfilter/nf_conntrack_tcp_loose".parse().unwrap();
    let before = inside(&two, |inside| sysctl::read(inside, &forward).unwrap());
    inside(&one, |inside| {
        for (switch, value) in [(&forward, "1"), (&loose, "0"), (&forward, "0"), (&forward, "1")] {
            sysctl::write(inside, switch, value).unwrap();
            assert_eq!(sysctl::read(inside, switch).unwrap(), value);
        }
        let absent = "net/ipv4/conf/absent0/rp_filter".parse().unwrap();
        assert!(matches!(sysctl::write(inside, &absent, "1"), Err(SysctlError::Absent(_))));
        assert!(matches!(sysctl::write(inside, &forward, "x"), Err(SysctlError::Refused { .. })));
    });
    assert_eq!(inside(&two, |inside| sysctl::read(inside, &forward).unwrap()), before);
}

#[test]
fn an_end_whose_name_is_long_or_already_used_elsewhere_is_no_trouble() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    // `right0` is free here, and `left0` is free there.
    let same = VethEnd { name: link("right0"), ..end("x", 5) };
    on_stack(&left, |stack| stack.create_veth(&same, &end("left0", 6), &right).unwrap());
    on_stack(&left, |stack| {
        stack.create_veth(&end("abcdefghijklmno", 7), &end("eth0", 8), &right).unwrap();
    });
    bring_up(&right, "eth0", "198.51.100.1/24");
    assert_eq!(names(&right), ["eth0", "left0", "lo", "right0"]);
}

fn link_of(namespace: &Namespace, name: &str) -> Link {
    on_stack(namespace, |stack| stack.link(&link(name)).unwrap())
}

/// The links of ours: some kernels put tunnels into each namespace.
fn names(namespace: &Namespace) -> Vec<String> {
    let links = on_stack(namespace, |stack| stack.links().unwrap());
    links.into_iter().filter(|link| link.tag().is_some()).map(|link| link.name).collect()
}

/// What a namespace has, without what changes by itself.
fn settled(namespace: &Namespace) -> Snapshot {
    let mut seen = on_stack(namespace, |stack| stack.snapshot().unwrap());
    seen.neighbours.clear();
    // IPv6 addresses of the link itself come when the kernel is sure that nobody else has them.
    seen.addresses.retain(|address| address.address.addr().is_ipv4());
    seen.routes.retain(|route| route.destination.addr().is_ipv4());
    seen
}
