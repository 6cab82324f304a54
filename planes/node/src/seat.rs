//! Where a tenant's processes are on the network: where the data plane listens, and how both reach the control plane.

use host::network::Namespace;
use host::process::Network;
use network::addresses::{DATA_PLANE_PORT, HTTPS_PORT};
use network::{Addresses, ControlPlane, NetworkNumber};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One tenant's place.
#[derive(Debug, Clone)]
pub(crate) enum Seat {
    /// On the host's loopback. The data plane takes this port; any, if it is 0.
    Loopback {
        /// Which port.
        port: u16,
    },
    /// In a network of its own.
    Own {
        /// The network.
        namespace: Namespace,
        /// Its number.
        number: NetworkNumber,
        /// The control plane, as seen from there.
        control_plane: SocketAddr,
        /// Where the control plane reaches the data plane.
        url: String,
    },
}

impl Seat {
    /// A seat in network `number`. None while a control plane elsewhere does not know at which address of this host
    /// its ports are forwarded, or has no address itself.
    pub(crate) fn own(
        namespace: Namespace,
        number: NetworkNumber,
        control_plane: &ControlPlane,
        address: Option<Ipv4Addr>,
    ) -> Option<Self> {
        let (at, url) = match control_plane {
            ControlPlane::Here { .. } => {
                let data_plane = Addresses::of(number).data_plane;
                (network::addresses::CONTROL_PLANE, format!("https://{data_plane}:{DATA_PLANE_PORT}"))
            }
            ControlPlane::Elsewhere { addresses } => {
                (*addresses.first()?, format!("https://{}:{}", address?, number.forwarded_port()))
            }
        };
        let control_plane = SocketAddr::new(IpAddr::V4(at), HTTPS_PORT);
        Some(Self::Own { namespace, number, control_plane, url })
    }

    /// The network that both processes run in.
    pub(crate) fn network(&self) -> Network {
        match self {
            Self::Loopback { .. } => Network::Inherited,
            Self::Own { namespace, .. } => Network::Of(namespace.clone()),
        }
    }

    /// How the data plane calls such a place.
    pub(crate) const fn driver(&self) -> &'static str {
        match self {
            Self::Loopback { .. } => "loopback",
            Self::Own { .. } => "linux",
        }
    }

    /// Where the data plane listens.
    pub(crate) fn listen(&self) -> SocketAddr {
        match self {
            Self::Loopback { port } => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
            Self::Own { number, .. } => {
                SocketAddr::new(IpAddr::V4(Addresses::of(*number).data_plane), DATA_PLANE_PORT)
            }
        }
    }

    /// Where both reach the control plane, if not by its name.
    pub(crate) const fn control_plane(&self) -> Option<SocketAddr> {
        match self {
            Self::Loopback { .. } => None,
            Self::Own { control_plane, .. } => Some(*control_plane),
        }
    }

    /// Where the control plane reaches the data plane. In a network of its own that is no matter of what the data
    /// plane says.
    pub(crate) fn url(&self, said: String) -> String {
        match self {
            Self::Loopback { .. } => said,
            Self::Own { url, .. } => url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_its_own_is_reached_directly_from_here_and_by_a_forwarded_port_from_elsewhere() {
        let here = ControlPlane::Here { published: None, reach: Vec::new() };
        let seat = own(&here, None).unwrap();
        assert_eq!(seat.url("https://127.0.0.1:1".to_owned()), "https://10.107.0.10:5678");
        assert_eq!(seat.control_plane().unwrap().to_string(), "10.100.0.2:443");
        let (first, second) = (Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 2, 8));
        let elsewhere = ControlPlane::Elsewhere { addresses: vec![first, second] };
        let seat = own(&elsewhere, Some(Ipv4Addr::new(198, 51, 100, 9))).unwrap();
        assert_eq!(seat.url("https://127.0.0.1:1".to_owned()), "https://198.51.100.9:20007");
        assert_eq!(seat.control_plane().unwrap().to_string(), "192.0.2.7:443");
        assert_eq!((seat.listen().to_string().as_str(), seat.driver()), ("10.107.0.10:5678", "linux"));
        assert!(own(&elsewhere, None).is_none(), "nobody could reach it");
    }

    #[test]
    fn on_the_hosts_loopback_a_data_plane_says_itself_where_it_is() {
        let seat = Seat::Loopback { port: 7 };
        assert_eq!((seat.listen().to_string().as_str(), seat.driver()), ("127.0.0.1:7", "loopback"));
        assert_eq!((seat.control_plane(), seat.url("https://x".to_owned()).as_str()), (None, "https://x"));
        assert!(matches!(seat.network(), Network::Inherited));
    }

    fn own(control_plane: &ControlPlane, address: Option<Ipv4Addr>) -> Option<Seat> {
        let number = NetworkNumber::try_from(7).unwrap();
        Seat::own(Namespace::own().unwrap(), number, control_plane, address)
    }
}
