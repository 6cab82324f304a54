//! The resolvers of this machine, which the control plane asks for its tenants: they have no port 53 of their own.

use host::files;
use host::resolv_conf::{FILE_MAX, name_servers};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// Where a machine says whom it asks (resolv.conf(5)); and where systemd-resolved says whom it asks itself, if what
/// the first names is only its own stub on the loopback.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Most resolvers that are taken: as many as a control plane may be told of. A machine names three (resolv.conf(5)).
const RESOLVERS_MAX: usize = 8;

/// Where resolvers listen (RFC 7766: by TCP too).
const PORT: u16 = 53;

/// The resolvers that a network namespace can reach, sorted; those of the first file that names one.
#[must_use]
pub(crate) fn of_this_machine() -> Vec<SocketAddrV4> {
    let of = |path| {
        let bytes = files::read_bounded(Path::new(path), FILE_MAX).unwrap_or_default();
        reachable(&String::from_utf8_lossy(&bytes))
    };
    FILES.into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Those whose addresses mean the same elsewhere: not loopback, not link-local; and of IPv4, since networks have no
/// IPv6.
fn reachable(text: &str) -> Vec<SocketAddrV4> {
    let found: BTreeSet<SocketAddrV4> = name_servers(text)
        .filter_map(|address| match address {
            IpAddr::V4(address) if can_be_reached(address) => Some(SocketAddrV4::new(address, PORT)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .collect();
    found.into_iter().take(RESOLVERS_MAX).collect()
}

const fn can_be_reached(address: Ipv4Addr) -> bool {
    let elsewhere = !(address.is_loopback() || address.is_link_local() || address.is_unspecified());
    elsewhere && !address.is_multicast() && !address.is_broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_others_reach_too_are_taken_sorted_and_once() {
        let text = "\
# a comment
domain example.com
nameserver 192.0.2.9
  nameserver	192.0.2.8 trailing
nameserver 192.0.2.9
nameserver 127.0.0.53
nameserver 169.254.1.1
nameserver ::1
nameserver 2001:db8::53
nameserver fe80::1%eth0
nameserver 0.0.0.0
nameserver
nameserver nonsense
;nameserver 192.0.2.7
options edns0";
        let expected: Vec<SocketAddrV4> =
            ["192.0.2.8:53", "192.0.2.9:53"].iter().map(|at| at.parse().unwrap()).collect();
        assert_eq!(reachable(text), expected);
        assert_eq!(reachable("nameserver 127.0.0.53\n"), []);
        assert_eq!(reachable(""), []);
    }
}
