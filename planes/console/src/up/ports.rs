//! Which ports of this machine are free.

use super::state::Ports;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

/// How long a connection within this machine may take: far more than it does.
const ARRIVAL: Duration = Duration::from_secs(1);

/// The machine that this runs on.
pub(crate) struct ThisMachine;

impl Ports for ThisMachine {
    fn is_free(&self, addr: SocketAddr) -> bool {
        TcpListener::bind(addr).is_ok()
    }

    fn leads_here(&self, addr: SocketAddr) -> bool {
        TcpListener::bind(addr).and_then(|listener| arrives(&listener)).unwrap_or(false)
    }

    fn any_free(&self, ip: IpAddr) -> Option<u16> {
        let listener = TcpListener::bind((ip, 0)).ok()?;
        listener.local_addr().ok().map(|addr| addr.port())
    }
}

/// Whether a connection to where `listener` listens gets to it.
fn arrives(listener: &TcpListener) -> std::io::Result<bool> {
    let mut to = listener.local_addr()?;
    match to.ip() {
        IpAddr::V4(any) if any.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(any) if any.is_unspecified() => to.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let client = TcpStream::connect_timeout(&to, ARRIVAL)?;
    // Whoever is connected is waiting by now.
    listener.set_nonblocking(true)?;
    let (_, from) = listener.accept()?;
    Ok(from == client.local_addr()?)
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
        assert!(!ThisMachine.leads_here(addr));
        let other = ThisMachine.any_free(addr.ip()).unwrap();
        assert!(other != addr.port() && other != 0);
        assert!(ThisMachine.leads_here((addr.ip(), other).into()));
        assert!(ThisMachine.leads_here((Ipv4Addr::UNSPECIFIED, 0).into()));
    }
}
