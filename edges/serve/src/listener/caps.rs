//! How many connections are open: all together, and per client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections.
#[derive(Debug)]
pub(super) struct Caps {
    total: usize,
    per_client: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Says which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Total,
    Client,
}

/// One open connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    client: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Caps {
    pub(super) fn new(total: usize, per_client: usize) -> Self {
        Self { total, per_client, open: Arc::default() }
    }

    pub(super) fn admit(&self, ip: IpAddr) -> Result<Slot, Refusal> {
        let client = client(ip);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(Refusal::Total);
        }
        let own = open.by_client.entry(client).or_default();
        if *own >= self.per_client {
            return Err(Refusal::Client);
        }
        *own += 1;
        open.total += 1;
        Ok(Slot { client, open: Arc::clone(&self.open) })
    }
}

impl Refusal {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "per_client",
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, all of which one customer commands.
fn client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_held_to_its_share_and_gets_it_back() {
        let caps = Caps::new(10, 2);
        let (one, two) = (caps.admit(ip("192.0.2.1")).unwrap(), caps.admit(ip("192.0.2.1")).unwrap());
        assert_eq!(caps.admit(ip("192.0.2.1")).unwrap_err(), Refusal::Client);
        assert_eq!(caps.admit(ip("::ffff:192.0.2.1")).unwrap_err(), Refusal::Client);
        let other = caps.admit(ip("192.0.2.2")).unwrap();
        drop(one);
        caps.admit(ip("192.0.2.1")).unwrap();
        drop((two, other));
        assert!(caps.open.lock().unwrap().by_client.is_empty());
    }

    #[test]
    fn all_clients_together_are_held_to_the_total() {
        let caps = Caps::new(2, 2);
        let _held = [caps.admit(ip("192.0.2.1")).unwrap(), caps.admit(ip("192.0.2.2")).unwrap()];
        assert_eq!(caps.admit(ip("192.0.2.3")).unwrap_err(), Refusal::Total);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let caps = Caps::new(10, 1);
        let _held = caps.admit(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(caps.admit(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Refusal::Client);
        caps.admit(ip("2001:db8:0:2::1")).unwrap();
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
