//! The full matrix of what must and must not get through, tried through the kernel of a host at work.
//!
//! No packet leaves: what stands in for the internet is a namespace of the probe's own. It has addresses that are public
//! by the policy and that nobody announces; and what a broken rule would let out to addresses that are not public ends
//! there too. What the host really reaches outside (a database, a control plane elsewhere) is left alone.

mod decoy;
mod rows;

pub use decoy::DecoyError;
pub(super) use decoy::{TABLE_IN, sweep};

use super::NetworksError;
use super::reading::open;
use api::network::ProbeRow;
use decoy::Decoy;
use host::network::Namespace;
use host::network::keeper::{self, Keeper};
use host::network::probe::{self, Attempt, Outcome, Verdict};
use network::addresses::{CONTROL_PLANE, UPLINK_HOST};
use network::{
    Addresses, Beyond, ControlPlane, Desired, Expected, Namespace as Place, Origin, Probe, Protocol, Table,
    matrix,
};
use rows::{Rows, Tried};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long an answer may take that is to come: all of it is on this machine.
const ANSWERED: Duration = Duration::from_secs(3);

/// How long silence is listened to.
const SILENT: Duration = Duration::from_millis(500);

/// How many namespaces are probed at a time, each by 256 probes at once.
const AT_ONCE: usize = 24;

/// The files that this may take at a time.
const FILES: u64 = 8_192;

/// Somebody with IPv6, of which no network of ours has any.
const IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Tries everything that `desired` says, on a thread of its own: what it takes of the processor is nobody else's.
pub(super) async fn conduct(
    desired: Arc<Desired>,
    host: Namespace,
    socket: PathBuf,
) -> Result<Vec<ProbeRow>, NetworksError> {
    let (reply, rows) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let rows = runtime.map_err(NetworksError::System).and_then(|runtime| {
            runtime.block_on(async { Survey::begin(desired, host, socket).await?.conduct().await })
        });
        let _nobody_waits = reply.send(rows);
    })?;
    rows.await.map_err(|_| NetworksError::Ended)?
}

/// A survey under way.
struct Survey {
    desired: Arc<Desired>,
    host: Namespace,
    keeper: Keeper,
    decoy: Decoy,
}

impl Survey {
    async fn begin(desired: Arc<Desired>, host: Namespace, socket: PathBuf) -> Result<Self, NetworksError> {
        let _as_many_as_there_are = host::process::allow_files(FILES);
        let keeper = Keeper::attach(socket).await?.ok_or(NetworksError::Ended)?;
        let decoy = Decoy::open(&host).await?;
        Ok(Self { desired, host, keeper, decoy })
    }

    /// Tries all of it. The decoy goes whatever comes of it.
    async fn conduct(self) -> Result<Vec<ProbeRow>, NetworksError> {
        let rows = self.rows().await;
        let closed = self.decoy.close(&self.host).await;
        let rows = rows?;
        closed?;
        Ok(rows)
    }

    async fn rows(&self) -> Result<Vec<ProbeRow>, NetworksError> {
        let listeners = self.decoy.listen().await?;
        let beyond = Beyond {
            public: self.decoy.public().to_vec(),
            ipv6: vec![IPV6],
            strangers: vec![self.decoy.stranger()],
        };
        let probes = matrix(&self.desired, &beyond);
        let (allowed, denied): (Vec<Probe>, Vec<Probe>) = probes
            .into_iter()
            .filter(|probe| self.stays_here(probe))
            .partition(|probe| probe.expected == Expected::Allowed);
        let mut rows = Rows::new(&self.desired, &self.decoy);
        let tried = self.attempt(allowed, ANSWERED).await?;
        tried.into_iter().for_each(|tried| rows.add(tried));
        let before = (self.drops().await?, arrivals(&listeners));
        let tried = self.attempt(denied, SILENT).await?;
        let silent = tried.iter().filter(|tried| tried.outcome.verdict == Verdict::TimedOut).count();
        let after = (self.drops().await?, arrivals(&listeners));
        tried.into_iter().for_each(|tried| rows.add(tried));
        rows.nothing_arrived(after.1.saturating_sub(before.1));
        rows.silence_was_counted(silent, after.0.saturating_sub(before.0));
        Ok(rows.finish())
    }

    /// Whether a probe is about what is on this machine. Real peers outside are not to be bothered, and their packets
    /// would have to leave.
    fn stays_here(&self, probe: &Probe) -> bool {
        let outside = |address: IpAddr| match self.desired.control_plane() {
            ControlPlane::Here { reach, .. } => reach.iter().any(|at| IpAddr::V4(*at.ip()) == address),
            ControlPlane::Elsewhere { addresses } => addresses.iter().any(|at| IpAddr::V4(*at) == address),
        };
        let from_outside = match probe.from {
            Origin::Outside(address) => address != self.decoy.stranger(),
            Origin::ControlPlane | Origin::DataPlane(_) | Origin::Sidecar(_) | Origin::Host => false,
        };
        !outside(probe.to) && !from_outside
    }

    /// Tries these, those of several namespaces at a time.
    async fn attempt(&self, probes: Vec<Probe>, patience: Duration) -> Result<Vec<Tried>, NetworksError> {
        let mut places: BTreeMap<Option<Place>, Vec<Probe>> = BTreeMap::new();
        for probe in probes {
            places.entry(place_of(probe.from)).or_default().push(probe);
        }
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        for (place, probes) in places {
            let namespace = match place {
                Some(place) => open(place, &self.host, &self.keeper).await?,
                None => self.decoy.namespace(),
            };
            let attempts: Vec<Attempt> =
                probes.iter().map(|probe| attempt(probe, self.target(probe))).collect();
            let turns = Arc::clone(&turns);
            running.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let outcomes: Vec<Outcome> = probe::run(&namespace, &attempts, patience).await?;
                let tried = probes.into_iter().zip(attempts).zip(outcomes);
                Ok(tried
                    .map(|((probe, attempt), outcome)| Tried { probe, to: attempt.to, outcome })
                    .collect::<Vec<_>>())
            });
        }
        let mut tried = Vec::new();
        for part in running.join_all().await {
            tried.extend(part.map_err(NetworksError::Namespace)?);
        }
        Ok(tried)
    }

    /// What the router publishes, strangers reach by an address of the host's; those who name the router are refused.
    fn target(&self, probe: &Probe) -> SocketAddr {
        match (probe.from, probe.expected, self.desired.control_plane()) {
            (
                Origin::Outside(_),
                Expected::Allowed,
                ControlPlane::Here { published: Some(published), .. },
            ) => {
                let any = published.ip().is_unspecified();
                let address = if any { self.decoy.gateway() } else { *published.ip() };
                SocketAddr::new(IpAddr::V4(address), published.port())
            }
            _ => SocketAddr::new(probe.to, probe.port),
        }
    }

    /// How many packets were dropped so far, by the router and by the host.
    async fn drops(&self) -> Result<u64, NetworksError> {
        let mut packets = 0_u64;
        for place in [keeper::Place::Router, keeper::Place::Host] {
            let listing = self.keeper.list(place).await?.json;
            let table = Table::read(&[listing]).map_err(|_| NetworksError::Listing)?;
            packets += table.drops().values().map(|count| count.packets).sum::<u64>();
        }
        Ok(packets)
    }
}

/// How a probe is tried, by the address of where it starts. `to` is where it finds what it looks for.
#[must_use]
pub fn attempt(probe: &Probe, to: SocketAddr) -> Attempt {
    let from = match probe.from {
        Origin::ControlPlane => CONTROL_PLANE,
        Origin::DataPlane(number) => Addresses::of(number).data_plane,
        Origin::Sidecar(number) => Addresses::of(number).sidecar,
        Origin::Host => UPLINK_HOST,
        Origin::Outside(address) => address,
    };
    let protocol = match probe.protocol {
        Protocol::Tcp => probe::Protocol::Tcp,
        Protocol::Udp => probe::Protocol::Udp,
        Protocol::Icmp => probe::Protocol::Icmp,
    };
    let from = probe.to.is_ipv4().then_some(IpAddr::V4(from));
    Attempt { protocol, to, from }
}

/// The place that a probe starts in; none for what stands in for the internet.
const fn place_of(origin: Origin) -> Option<Place> {
    match origin {
        Origin::ControlPlane => Some(Place::ControlPlane),
        Origin::DataPlane(number) | Origin::Sidecar(number) => Some(Place::Tenant(number)),
        Origin::Host => Some(Place::Host),
        Origin::Outside(_) => None,
    }
}

fn arrivals(listeners: &[probe::Listener]) -> u64 {
    listeners.iter().map(probe::Listener::arrivals).sum()
}
