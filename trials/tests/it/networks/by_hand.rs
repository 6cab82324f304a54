//! What another root might do by hand, and nothing of ours does: in the words of netlink(7).

use super::world::{inside, link, on_stack};
use host::network::{Mac, Namespace};
use rustix::net::netlink::NETFILTER;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};
use std::net::Ipv6Addr;

/// Kinds of messages: of rtnetlink(7), and of conntrack's subsystem (`linux/netfilter/nfnetlink_conntrack.h`).
const DELETE_FLOWS: u16 = 1 << 8 | 2;
const NEW_NEIGHBOUR: u16 = 28;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;

/// Flags of messages: a request that is acknowledged, and one that makes something new.
const DO: u16 = 0x5;
const MAKE: u16 = 0x605;

/// Adds a routing rule that has the rank and the table of one that belongs there, but is for marked packets only.
pub(super) fn add_rule_for_some(namespace: &Namespace) {
    tell(namespace, None, NEW_RULE, MAKE, &rule_for_some());
}

/// Removes it.
pub(super) fn remove_rule_for_some(namespace: &Namespace) {
    tell(namespace, None, DELETE_RULE, DO, &rule_for_some());
}

/// `struct fib_rule_hdr`, its priority (6), and the mark that it asks for (10).
fn rule_for_some() -> Vec<u8> {
    let fixed = vec![2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
    [fixed, attribute(6, &32_766_u32.to_ne_bytes()), attribute(10, &7_u32.to_ne_bytes())].concat()
}

/// Writes down which hardware has an address behind a link, so that nobody is asked.
pub(super) fn add_neighbour(namespace: &Namespace, name: &str, address: Ipv6Addr, mac: Mac) {
    let index = on_stack(namespace, |stack| stack.link(&link(name)).unwrap().index);
    // `struct ndmsg`: IPv6, the link, permanent.
    let mut body = vec![10, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend([0x80, 0, 0, 0]);
    body.extend(attribute(1, &address.octets()));
    body.extend(attribute(2, &mac.0));
    tell(namespace, None, NEW_NEIGHBOUR, MAKE, &body);
}

/// Makes the kernel forget every flow that it tracks.
pub(super) fn forget_flows(namespace: &Namespace) {
    // `struct nfgenmsg`, and no flow by name.
    tell(namespace, Some(NETFILTER), DELETE_FLOWS, DO, &[0; 4]);
}

/// An attribute of a message.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length, kind].map(u16::to_ne_bytes).concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn tell(namespace: &Namespace, protocol: Option<Protocol>, kind: u16, flags: u16, body: &[u8]) {
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend([kind, flags].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend(body);
    inside(namespace, |_| {
        let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, protocol).unwrap();
        rustix::net::send(&socket, &message, SendFlags::empty()).unwrap();
        let mut answer = [0; 1_024];
        rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).unwrap();
        assert_eq!(answer[16..20], [0; 4], "the kernel's error");
    });
}
