//! What a host may be asked for, and what not.

use crate::world::{self, HOST, id, number, tenant, uplink};
use network::{
    CONNECTIONS_MAX, ControlPlane, Desired, DesiredError, HostRoute, Namespace, TenantNetwork, Uplink,
};
use std::net::{Ipv4Addr, SocketAddrV4};

#[test]
fn a_sound_state_is_taken_and_says_which_namespaces_it_has() {
    let state = world::here(2);
    assert_eq!((state.version(), state.tenants().len()), (1, 2));
    let tenants = [Namespace::Tenant(number(1)), Namespace::Tenant(number(2))];
    let namespaces: Vec<Namespace> = state.namespaces().collect();
    assert_eq!(
        namespaces,
        [&[Namespace::Host, Namespace::Router, Namespace::ControlPlane][..], &tenants].concat()
    );
    let namespaces: Vec<Namespace> = world::elsewhere(2).namespaces().collect();
    assert_eq!(namespaces, [&[Namespace::Host, Namespace::Router][..], &tenants].concat());
    assert_eq!(Namespace::Tenant(number(7)).name().as_deref(), Some("palisade-t7"));
}

#[test]
fn tenants_that_stand_wrong_are_refused() {
    let other = |n, who| TenantNetwork { tenant: id(who), ..tenant(n) };
    let cap = |connections_max| TenantNetwork { connections_max, ..tenant(1) };
    let rows = [
        (vec![tenant(1), other(1, 2)], "network number `1` is given twice".to_owned()),
        (vec![tenant(1), other(2, 1)], format!("tenant `{}` is given networks `1` and `2`", id(1))),
        (
            vec![tenant(2), tenant(1)],
            "tenant networks are not sorted, or one stands there twice: `1`".to_owned(),
        ),
        (vec![cap(0)], "network `1`: `0` connections are not within 1 to 16384".to_owned()),
        (
            vec![cap(CONNECTIONS_MAX + 1)],
            "network `1`: `16385` connections are not within 1 to 16384".to_owned(),
        ),
    ];
    for (tenants, refusal) in rows {
        assert_eq!(new(elsewhere(&["192.0.2.9"]), uplink(), tenants).unwrap_err().to_string(), refusal);
    }
}

#[test]
fn a_network_across_a_route_of_the_host_is_refused_by_name() {
    let rows = [
        ("10.101.0.0/16", "eth0", Some("10.101.0.0/16")),
        ("10.100.4.0/24", "eth1", Some("10.100.0.0/16")),
        ("10.0.0.0/8", "tun0", Some("10.100.0.0/16")),
        ("10.102.0.0/16", "eth0", None),
        ("0.0.0.0/0", "eth0", None),
        // What an earlier run of ours left or set up.
        ("10.100.255.0/30", "palisade", None),
    ];
    for (destination, link, network) in rows {
        let route = HostRoute { destination: destination.parse().unwrap(), link: link.to_owned() };
        let state = Desired::new(
            1,
            elsewhere(&["192.0.2.9"]),
            uplink(),
            vec![tenant(1)],
            std::slice::from_ref(&route),
        );
        let refusal = network.map(|n| DesiredError::Overlaps { network: n.parse().unwrap(), route });
        assert_eq!(state.err(), refusal, "{destination} through {link}");
    }
}

#[test]
fn a_control_plane_stands_where_the_host_can_reach_it() {
    assert_eq!(new(elsewhere(&[]), uplink(), vec![]), Err(DesiredError::NoControlAddress));
    for bad in [
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "10.100.0.2",
        "10.101.0.10",
    ] {
        let refusal = new(elsewhere(&[bad]), uplink(), vec![tenant(1)]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!("`{bad}` cannot be an address of a control plane on another host")
        );
        let reach = vec![SocketAddrV4::new(bad.parse().unwrap(), 443)];
        let refusal =
            new(ControlPlane::Here { published: None, reach }, uplink(), vec![tenant(1)]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!("`{bad}` cannot be an endpoint that the control plane may reach")
        );
    }
    let published = |at: &str| ControlPlane::Here { published: Some(at.parse().unwrap()), reach: vec![] };
    for bad in ["169.254.169.254:8443", "224.0.0.1:8443", "10.100.0.2:8443"] {
        let refusal = new(published(bad), uplink(), vec![]).unwrap_err().to_string();
        assert!(refusal.ends_with("the address at which the host publishes the control plane"), "{refusal}");
    }
    for good in ["0.0.0.0:8443", "127.0.0.1:8443", "192.0.2.7:443", "192.168.7.7:443"] {
        assert!(new(published(good), uplink(), vec![]).is_ok(), "{good}");
    }
    // Another network of the plan's range, if no tenant here has it: the other host may live there.
    assert!(new(elsewhere(&["10.102.0.10"]), uplink(), vec![tenant(1)]).is_ok());
    let unsorted = new(elsewhere(&["192.0.2.9", "192.0.2.8"]), uplink(), vec![]).unwrap_err();
    assert_eq!(
        unsorted.to_string(),
        "addresses of the control plane are not sorted, or one stands there twice: `192.0.2.8`"
    );
    let many: Vec<Ipv4Addr> = (1..=17).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
    let many = new(ControlPlane::Elsewhere { addresses: many }, uplink(), vec![]).unwrap_err();
    assert_eq!(many.to_string(), "addresses of the control plane: `17` are more than 16");
}

#[test]
fn an_interface_with_a_name_that_linux_would_not_give_is_refused() {
    for bad in ["", ".", "..", "../etc", "a/b", "a b", "a\"b", "a\nb", "sixteen-letters-", "ä", "-a"] {
        let uplink = Uplink { interfaces: vec![bad.to_owned()], host_addresses: vec![HOST] };
        let refusal = new(elsewhere(&["192.0.2.9"]), uplink, vec![]).unwrap_err();
        assert!(matches!(refusal, DesiredError::BadInterface(_)), "{bad:?}: {refusal}");
    }
    for good in ["eth0", "eth0.100", "enp3s0f1np1", "wg-office", "br_lan", "eth0@if7"] {
        let uplink = Uplink { interfaces: vec![good.to_owned()], host_addresses: vec![] };
        assert!(new(elsewhere(&["192.0.2.9"]), uplink, vec![]).is_ok(), "{good}");
    }
}

fn new(
    control_plane: ControlPlane,
    uplink: Uplink,
    tenants: Vec<TenantNetwork>,
) -> Result<Desired, DesiredError> {
    Desired::new(1, control_plane, uplink, tenants, &[])
}

fn elsewhere(addresses: &[&str]) -> ControlPlane {
    ControlPlane::Elsewhere { addresses: addresses.iter().map(|address| address.parse().unwrap()).collect() }
}
