//! Routes of the host, and whether a network of ours would lie across one.

use crate::addresses::HOST_LINK;
use ipnet::Ipv4Net;

/// A shorter prefix than this is a way to the internet (a default route, or the halves that a VPN cuts it into)
/// and claims no private network for itself.
const CLAIM_LENGTH_MIN: u8 = 8;

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// Where it leads.
    pub destination: Ipv4Net,
    /// Through which link.
    pub link: String,
}

impl HostRoute {
    /// Whether the route claims addresses of `network` for somebody else.
    #[must_use]
    pub(crate) fn claims(&self, network: Ipv4Net) -> bool {
        let overlaps = self.destination.contains(&network) || network.contains(&self.destination);
        overlaps && self.destination.prefix_len() >= CLAIM_LENGTH_MIN && self.link != HOST_LINK
    }
}

/// The first route that claims addresses of `network`.
#[must_use]
pub(crate) fn claim(routes: &[HostRoute], network: Ipv4Net) -> Option<&HostRoute> {
    routes.iter().find(|route| route.claims(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_across_a_network_claims_it_and_a_way_to_the_internet_does_not() {
        let network: Ipv4Net = "10.107.0.0/16".parse().unwrap();
        let rows = [
            ("10.107.0.0/16", "eth0", true),
            ("10.107.3.0/24", "docker0", true),
            ("10.0.0.0/8", "tun0", true),
            ("10.107.0.10/32", "wg0", true),
            ("10.108.0.0/16", "eth0", false),
            ("0.0.0.0/0", "eth0", false),
            ("0.0.0.0/1", "tun0", false),
            ("10.107.0.0/16", HOST_LINK, false),
        ];
        for (destination, link, claims) in rows {
            let route = HostRoute { destination: destination.parse().unwrap(), link: link.to_owned() };
            assert_eq!(route.claims(network), claims, "{destination} through {link}");
        }
    }
}
