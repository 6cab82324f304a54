//! IPv4 blocks that are not the public internet: the IANA special-purpose registry (RFC 6890 and its updates),
//! multicast, and one cloud's host agent. No data plane connects to any of them.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// A block, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its addresses.
    pub net: Ipv4Net,
    /// What stands there.
    pub purpose: &'static str,
}

const fn block(octets: [u8; 4], length: u8, purpose: &'static str) -> Block {
    let [a, b, c, d] = octets;
    Block { net: Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length), purpose }
}

/// The blocks, lowest first, none within another.
pub const SPECIAL: [Block; 18] = [
    block([0, 0, 0, 0], 8, "this network"),
    block([10, 0, 0, 0], 8, "private use; every tenant network is here too"),
    block([100, 64, 0, 0], 10, "carrier-grade NAT; metadata of some clouds"),
    block([127, 0, 0, 0], 8, "loopback"),
    block([168, 63, 129, 16], 32, "a cloud's host agent, on a public address"),
    block([169, 254, 0, 0], 16, "link-local; cloud metadata"),
    block([172, 16, 0, 0], 12, "private use"),
    block([192, 0, 0, 0], 24, "protocol assignments; metadata of another cloud"),
    block([192, 0, 2, 0], 24, "documentation"),
    block([192, 31, 196, 0], 24, "AS112"),
    block([192, 52, 193, 0], 24, "AMT"),
    block([192, 88, 99, 0], 24, "6to4 relays"),
    block([192, 168, 0, 0], 16, "private use"),
    block([192, 175, 48, 0], 24, "AS112, direct delegation"),
    block([198, 18, 0, 0], 15, "benchmarking"),
    block([198, 51, 100, 0], 24, "documentation"),
    block([203, 0, 113, 0], 24, "documentation"),
    block([224, 0, 0, 0], 3, "multicast, reserved, broadcast"),
];
