//! Which ports of this machine are free.

use super::state::Ports;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// The machine that this runs on.
pub(crate) struct ThisMachine;

impl Ports for ThisMachine {
    fn is_free(&self, addr: SocketAddr) -> bool {
        TcpListener::bind(addr).is_ok()
    }

    fn any_free(&self, ip: IpAddr) -> Option<u16> {
        let listener = TcpListener::bind((ip, 0)).ok()?;
        listener.local_addr().ok().map(|addr| addr.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_port_is_taken_while_somebody_listens_there() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(!ThisMachine.is_free(addr));
        let other = ThisMachine.any_free(addr.ip()).unwrap();
        assert!(other != addr.port() && other != 0);
    }
}
