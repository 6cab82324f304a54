//! Everything that must not get through, tried without pause while something else happens; whoever it would reach
//! counts what arrives.

use super::house::{House, name};
use super::tenants::namespace;
use host::network::Namespace;
use host::network::probe::{self, Attempt, Listener, Protocol};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long each try is given: the next one begins at once.
const PATIENCE: Duration = Duration::from_millis(120);

/// The attack, from its beginning to [`Attack::arrived`].
pub(super) struct Attack {
    listeners: Vec<Listener>,
    rounds: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Begins it: tenant 1 and strangers against tenant 3, the control plane and the host's other networks.
    pub(super) async fn begin(house: &House) -> Self {
        let control = Namespace::open(&name("palisade-cp")).unwrap();
        let mut listeners = Vec::new();
        for (place, protocol, address) in [
            (namespace(3), Protocol::Tcp, "10.103.0.10:5678"),
            (namespace(3), Protocol::Tcp, "10.103.0.11:443"),
            (namespace(3), Protocol::Udp, "10.103.0.10:443"),
            (control, Protocol::Tcp, "10.100.0.2:22"),
            (house.internet().clone(), Protocol::Tcp, "93.184.216.34:80"),
            (house.internet().clone(), Protocol::Udp, "93.184.216.34:53"),
            // One way is enough for harm.
            (house.lan().clone(), Protocol::Udp, "172.17.0.2:514"),
        ] {
            listeners.push(Listener::open(&place, protocol, address.parse().unwrap()).await.unwrap());
        }
        let tries = |protocol, to: &str| Attempt { protocol, to: to.parse().unwrap(), from: None };
        let by_tenant = vec![
            tries(Protocol::Tcp, "10.103.0.10:5678"),
            tries(Protocol::Tcp, "10.103.0.11:443"),
            tries(Protocol::Udp, "10.103.0.10:443"),
            tries(Protocol::Tcp, "10.100.0.2:22"),
            tries(Protocol::Tcp, "93.184.216.34:80"),
            tries(Protocol::Udp, "93.184.216.34:53"),
            tries(Protocol::Udp, "172.17.0.2:514"),
        ];
        let by_strangers = vec![
            tries(Protocol::Tcp, "10.103.0.10:5678"),
            tries(Protocol::Tcp, "10.100.0.2:22"),
            tries(Protocol::Udp, "172.17.0.2:514"),
        ];
        let rounds = vec![round(namespace(1), by_tenant), round(house.internet().clone(), by_strangers)];
        Self { listeners, rounds }
    }

    /// What arrived so far.
    pub(super) fn arrived(&self) -> Vec<(SocketAddr, u64)> {
        let counts = self.listeners.iter().map(|listener| (listener.address(), listener.arrivals()));
        counts.filter(|(_, arrivals)| *arrivals > 0).collect()
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.rounds.iter().for_each(JoinHandle::abort);
    }
}

fn round(from: Namespace, attempts: Vec<Attempt>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            // What cannot be tried now, because its link is gone, can be the next time.
            let _tried = probe::run(&from, &attempts, PATIENCE).await;
        }
    })
}
