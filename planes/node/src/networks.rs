//! The networks of this host: brought to what the control plane wants, kept there, probed, and told of.
//!
//! ```text
//! Networks (asks, hears) --orders--> warden: the one task that changes anything
//!                        <-findings-   |-- site: the kernel and the keeper, read and changed by the engine's plan
//!                        <--status--   `-- eyes: where something changed, looked at ten times a second
//! ```
//! The keeper outlives the node, and with it the rules and links: a node that ends or is killed opens nothing, and the
//! next one goes on from whatever it finds.

mod carry;
mod drifts;
mod eyes;
mod facts;
mod memory;
mod reading;
mod reset;
mod site;
mod survey;
mod wanted;
mod warden;

pub use carry::StepError;
pub use drifts::Finding;
pub use facts::HostFacts;
pub use memory::MemoryError;
pub use reading::seen;
pub use reset::{Removed, Reset, reset};
pub use survey::{DecoyError, attempt};
pub(crate) use wanted::Wanted;

use crate::config::Place;
use api::network::limits::ROUTES_MAX;
use api::network::{Driver, ProbeRow, ReportNetworks, RouteOnHost, TenantTraffic};
use host::clock::Clock;
use host::network::keeper::KeeperError;
use host::network::{ClaimError, Namespace, NamespaceError, StackError};
use ipnet::Ipv4Net;
use network::{DesiredError, NetworkNumber, NumberError, Traffic};
use site::Site;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use terms::{TenantId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use warden::{Order, Status, Warden};
use wire::networks::HostNetworks;

/// Orders that wait: the node gives one at a time, and a probe runs beside it.
const ORDERS_MAX: usize = 4;

/// Findings that wait to be heard; those beyond are counted, and told in the next report.
const FINDINGS_MAX: usize = 64;

/// How often a probe begins anew because the networks changed meanwhile.
const SURVEYS_MAX: u32 = 3;

/// Where tenant networks can be; what else the host has in them is in their way.
const TENANTS_WITHIN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);

/// What the networks of a host are made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's own folder: the keeper's socket and log, and what is remembered.
    pub folder: PathBuf,
    /// The program that keeps (`palisade-node`).
    pub program: PathBuf,
    /// Where the control plane is, and this host as seen from there.
    pub place: Place,
    /// The links to the internet; those of the default routes, if none are given.
    pub interfaces: Option<Vec<String>>,
    /// Whether drift is repaired, or only told.
    pub repair: bool,
}

/// The networks of this host. Dropping this leaves them as they are, with their keeper.
#[derive(Debug)]
pub struct Networks {
    settings: Settings,
    tenants: Vec<(TenantId, NetworkNumber)>,
    orders: mpsc::Sender<Order>,
    findings: mpsc::Receiver<Finding>,
    status: watch::Receiver<Status>,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The version of the networks that were probed.
    pub version: u64,
    /// What was tried, and what came of it.
    pub rows: Vec<ProbeRow>,
}

/// What passed for a tenant, since counting began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// When counting began; a later one is a reset.
    pub since: Timestamp,
    /// What passed.
    pub traffic: Traffic,
}

/// Says why networks are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// Another node has them.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A number is none.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// What is wanted cannot be on this host.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// The keeper cannot be started or spoken to, or refuses.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// A namespace cannot be made, found, entered or removed.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A stack cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A step cannot be carried out.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Nothing can be remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system refuses.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Nothing can stand in for the internet.
    #[error(transparent)]
    Decoy(#[from] DecoyError),
    /// Networks were changed whenever they were probed.
    #[error("the networks changed whenever they were probed: try again")]
    Restless,
    /// A keeper's listing is not one of nftables.
    #[error("the rules cannot be read: nftables lists something else")]
    Listing,
    /// There is no such network.
    #[error("this host has no network `{0}`")]
    NoNetwork(network::Namespace),
    /// The task that looks after the networks has ended.
    #[error("nobody looks after the networks any more")]
    Ended,
}

impl Networks {
    /// Claims the host's networks, finds their keeper or starts one, and brings them to what the last document said
    /// (`kept`); before any, to the way to a control plane on this host. Whatever a crash left half done is done.
    ///
    /// # Errors
    /// When another node has them, or they cannot be brought there.
    pub async fn start(
        settings: Settings,
        clock: Clock,
        kept: Option<&HostNetworks>,
    ) -> Result<Self, NetworksError> {
        let first = match kept {
            Some(document) => Some(Wanted::of(&settings.place, document)?),
            None => Wanted::before_any(&settings.place),
        };
        let site = Site::open(settings.clone()).await?;
        let facts = site.facts().await?;
        let (status, seen) = watch::channel(Status { facts, ..Status::default() });
        let (tell, findings) = mpsc::channel(FINDINGS_MAX);
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let mut warden = Warden::new(site, clock, settings.repair, status, tell);
        let tenants = first.as_ref().map(Wanted::numbers).unwrap_or_default();
        if let Some(first) = first {
            warden.apply(first).await?;
        }
        tokio::spawn(warden.serve(received));
        Ok(Self { settings, tenants, orders, findings, status: seen })
    }

    /// Brings the host to what a document says, which the caller has checked. A tenant that is not live is cut off
    /// first. What of a single tenant's cannot be made is drift, and tried again; its namespace cannot be had so long.
    ///
    /// # Errors
    /// When the host cannot have it; what it had before goes on then, and is looked after.
    pub async fn apply(&mut self, document: &HostNetworks) -> Result<(), NetworksError> {
        let wanted = Wanted::of(&self.settings.place, document)?;
        let tenants = wanted.numbers();
        ask(&self.orders, |reply| Order::Apply(wanted, reply)).await??;
        self.tenants = tenants;
        Ok(())
    }

    /// What the host is like.
    #[must_use]
    pub fn host_facts(&self) -> HostFacts {
        self.status.borrow().facts.clone()
    }

    /// The version that the host has; 0 before the first document.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.status.borrow().applied
    }

    /// The numbers of which no namespace, link, rule or element is left.
    #[must_use]
    pub fn gone(&self) -> Vec<NetworkNumber> {
        self.status.borrow().gone.iter().copied().collect()
    }

    /// The network of a tenant, to start its processes in.
    ///
    /// # Errors
    /// When there is none.
    pub fn namespace(&self, number: NetworkNumber) -> Result<Namespace, NetworksError> {
        let place = network::Namespace::Tenant(number);
        let name = reading::name_of(place).ok_or(NetworksError::NoNetwork(place))?;
        Ok(Namespace::open(&name)?)
    }

    /// Waits for drift. Safe to cancel and to call again; for ever once nobody looks any more.
    pub async fn watch(&mut self) -> Finding {
        match self.findings.recv().await {
            Some(finding) => finding,
            None => std::future::pending().await,
        }
    }

    /// What passed for each tenant, since counting began.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn traffic(&self) -> Result<BTreeMap<NetworkNumber, Counted>, NetworksError> {
        ask(&self.orders, Order::Traffic).await?
    }

    /// All that the node reports of its networks, but for the time, the walls that the host lacks and the time of
    /// processors.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    pub async fn report(&self) -> Result<ReportNetworks, NetworksError> {
        let counted = self.traffic().await?;
        let Status { applied, gone, facts, drifts } = self.status.borrow().clone();
        let within = |destination: &Ipv4Net| {
            TENANTS_WITHIN.contains(destination) || destination.contains(&TENANTS_WITHIN)
        };
        let claims = facts.routes.iter().filter(|route| route.destination.prefix_len() > 0);
        let routes = claims.filter(|route| within(&route.destination)).take(ROUTES_MAX);
        let routes = routes.map(|route| RouteOnHost {
            destination: route.destination.to_string(),
            link: route.link.clone(),
        });
        let traffic = self.tenants.iter().filter_map(|(tenant, number)| {
            let Counted { since, traffic: Traffic { sent, received } } = counted.get(number)?;
            Some(TenantTraffic {
                tenant: *tenant,
                since: *since,
                sent_bytes: sent.bytes,
                sent_packets: sent.packets,
                received_bytes: received.bytes,
                received_packets: received.packets,
                cpu_time_us: None,
            })
        });
        let (place, address) = match self.settings.place {
            Place::Here { .. } => (api::network::Place::Here, None),
            Place::Elsewhere { address } => (api::network::Place::Elsewhere, address),
        };
        Ok(ReportNetworks {
            driver: Driver::Linux,
            place,
            address: address.or(facts.address),
            counted_at: None,
            routes: routes.collect(),
            applied,
            gone: gone.into_iter().map(NetworkNumber::value).collect(),
            traffic: traffic.collect(),
            drift: drifts.report(),
            missing: Vec::new(),
        })
    }

    /// Tries the full matrix of what must and must not get through, from inside the namespaces. The future is free of
    /// this value, so that networks are looked after meanwhile; it takes seconds.
    ///
    /// # Errors
    /// When it cannot be tried, or the networks changed whenever it was.
    pub fn probe(&self) -> impl Future<Output = Result<Probed, NetworksError>> + Send + 'static {
        let (orders, socket) = (self.orders.clone(), site::socket(&self.settings));
        async move {
            let host = Namespace::own()?;
            for _ in 0..SURVEYS_MAX {
                let Some(desired) = ask(&orders, Order::Show).await? else {
                    return Ok(Probed { version: 0, rows: Vec::new() });
                };
                let rows = survey::conduct(Arc::clone(&desired), host.clone(), socket.clone()).await?;
                if ask(&orders, Order::Show).await?.as_ref() == Some(&desired) {
                    return Ok(Probed { version: desired.version(), rows });
                }
            }
            Err(NetworksError::Restless)
        }
    }

    /// Switches the links of tenants off, whose processes have ended, and looks away. The keeper goes on, with the rules
    /// and the way to the control plane: it may well run while its host's node starts again.
    pub async fn end(self) {
        let (reply, done) = oneshot::channel();
        if self.orders.send(Order::End(reply)).await.is_ok() {
            let _ended = done.await;
        }
    }
}

async fn ask<T>(
    orders: &mpsc::Sender<Order>,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<T, NetworksError> {
    let (reply, answer) = oneshot::channel();
    orders.send(order(reply)).await.map_err(|_| NetworksError::Ended)?;
    answer.await.map_err(|_| NetworksError::Ended)
}
