//! What stands in for the internet while networks are probed: a namespace behind a link of the host, and routes that
//! lead there. All of it is tagged, and goes before the next survey if one was killed.

use crate::networks::facts::DECOY_LINK;
use crate::networks::{NetworksError, StepError};
use host::network::probe::{Listener, Protocol};
use host::network::{
    LinkName, Mac, Namespace, NamespaceName, NewRoute, RouteKind, Snapshot, Stack, StackError, Tag, VethEnd,
    probe, sysctl,
};
use ipnet::{IpNet, Ipv4Net};
use network::addresses::{HOST_LINK, INNER_LINK, UPLINK_ROUTER};
use network::{MTU, NOT_PUBLIC, PORTS};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Its name, of the namespace as of the host's link.
const NAME: &str = DECOY_LINK;

/// Leads what comes from it: to the router, or nowhere.
pub(in crate::networks) const TABLE_IN: u32 = 24_701;

/// Leads what comes from the router to addresses that are not public: to it.
const TABLE_OUT: u32 = 24_702;

/// Asked before the host's own tables, and after the one of its addresses.
const PRIORITY: u32 = 247;

/// Blocks that are public by every list, and that nobody announces to the internet: the last eight addresses of the
/// United States' Department of Defense's own. The first that the host does not use itself is taken.
const BLOCKS: [Ipv4Net; 6] = [block(11), block(21), block(26), block(28), block(30), block(33)];

/// How long a link that was just switched on may take until it carries.
const ALIVE_MAX: Duration = Duration::from_secs(10);

/// How long one attempt to see that is given.
const ALIVE_LOOK: Duration = Duration::from_millis(200);

/// Says why there is no stand-in for the internet.
#[derive(Debug, thiserror::Error)]
pub enum DecoyError {
    /// The host uses all of the addresses.
    #[error("the host has routes to every address that could stand in for the internet")]
    NoBlock,
    /// The host uses the routing tables.
    #[error("the host uses the routing table `{0}`, which probes need")]
    TableInUse(u32),
    /// Its link does not come to life.
    #[error("what stands in for the internet does not answer")]
    Dead,
    /// Nobody can listen there.
    #[error(transparent)]
    Listen(#[from] probe::ListenError),
}

/// What stands in for the internet.
pub(super) struct Decoy {
    namespace: Namespace,
    block: Ipv4Net,
}

const fn block(first: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(first, 255, 255, 248), 29)
}

impl Decoy {
    /// Makes it. What an earlier one left goes first.
    pub(super) async fn open(host: &Namespace) -> Result<Self, NetworksError> {
        sweep(host).await?;
        let block = host.enter(|inside| free_block(&Stack::open(inside)?.snapshot()?)).await??;
        let (name, tag) = (name()?, tag()?);
        let made = tokio::task::spawn_blocking(move || Namespace::create(&name, &tag)).await;
        let namespace = made.map_err(std::io::Error::other)??;
        let decoy = Self { namespace, block };
        match decoy.build(host).await {
            Ok(()) => Ok(decoy),
            Err(error) => {
                // The first failure says more than one of the clearing up.
                let _swept_later = sweep(host).await;
                Err(error)
            }
        }
    }

    /// Removes all of it.
    pub(super) async fn close(self, host: &Namespace) -> Result<(), NetworksError> {
        drop(self);
        sweep(host).await
    }

    pub(super) fn namespace(&self) -> Namespace {
        self.namespace.clone()
    }

    /// The host's address on the way to it.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Public addresses where somebody listens.
    pub(super) fn public(&self) -> [Ipv4Addr; 2] {
        [self.address(2), self.address(3)]
    }

    /// An address from which a stranger tries to get in.
    pub(super) fn stranger(&self) -> Ipv4Addr {
        self.address(4)
    }

    fn address(&self, host: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.block.network()) + host)
    }

    /// Somebody who listens wherever probes lead.
    pub(super) async fn listen(&self) -> Result<Vec<Listener>, NetworksError> {
        let mut listeners = Vec::new();
        for address in self.public() {
            for port in PORTS {
                listeners.push(self.listener(Protocol::Tcp, address, port).await?);
            }
            for port in [53, 443, 5678] {
                listeners.push(self.listener(Protocol::Udp, address, port).await?);
            }
        }
        for address in NOT_PUBLIC {
            for port in [443, 80] {
                listeners.push(self.listener(Protocol::Tcp, address, port).await?);
            }
        }
        Ok(listeners)
    }

    async fn listener(
        &self,
        protocol: Protocol,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<Listener, NetworksError> {
        let address = SocketAddr::new(IpAddr::V4(address), port);
        Ok(Listener::open(&self.namespace, protocol, address).await.map_err(DecoyError::Listen)?)
    }

    async fn build(&self, host: &Namespace) -> Result<(), NetworksError> {
        let other = self.namespace();
        let near = self.on(self.gateway());
        let wired = host.enter(move |inside| -> Result<(), StepError> {
            let link: LinkName = NAME.parse()?;
            let end = |name: LinkName, side| -> Result<VethEnd, StepError> {
                let mac = Mac([0x02, b'p', b'l', 3, 0, side]);
                Ok(VethEnd { name, tag: tag()?, mac, mtu: MTU })
            };
            let mut stack = Stack::open(inside)?;
            stack.create_veth(&end(link.clone(), 1)?, &end(INNER_LINK.parse()?, 2)?, &other)?;
            for (family, setting) in [("ipv4", "forwarding"), ("ipv6", "disable_ipv6")] {
                sysctl::write(inside, &format!("net/{family}/conf/{NAME}/{setting}").parse()?, "1")?;
            }
            stack.add_address(&link, near)?;
            stack.set_up(&link)?;
            lead(&mut stack, &link)
        });
        wired.await??;
        let addresses: Vec<IpNet> =
            self.public().into_iter().chain([self.stranger()]).map(|at| self.on(at)).collect();
        let gateway = self.gateway();
        let dressed = self.namespace.enter(move |inside| -> Result<(), StepError> {
            let mut stack = Stack::open(inside)?;
            let link: LinkName = INNER_LINK.parse()?;
            let special = NOT_PUBLIC.into_iter().map(|at| IpNet::from(IpAddr::V4(at)));
            for address in addresses.into_iter().chain(special) {
                stack.add_address(&link, address)?;
            }
            stack.set_up(&LinkName::loopback())?;
            stack.set_up(&link)?;
            let (destination, via) = (IpNet::V4(Ipv4Net::default()), Some(IpAddr::V4(gateway)));
            Ok(stack.add_route(&NewRoute { destination, via, link })?)
        });
        dressed.await??;
        self.comes_to_life(host).await
    }

    /// Waits until the link carries.
    async fn comes_to_life(&self, host: &Namespace) -> Result<(), NetworksError> {
        let [to, _] = self.public();
        let attempt =
            probe::Attempt { protocol: Protocol::Tcp, to: SocketAddr::new(IpAddr::V4(to), 1), from: None };
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < ALIVE_MAX {
            let outcomes = probe::run(host, std::slice::from_ref(&attempt), ALIVE_LOOK).await?;
            // Nobody listens there, and whoever says so is alive.
            if outcomes.iter().any(|outcome| outcome.verdict == probe::Verdict::Refused) {
                return Ok(());
            }
        }
        Err(DecoyError::Dead.into())
    }

    fn on(&self, address: Ipv4Addr) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(address, self.block.prefix_len()))
    }
}

/// Removes the namespace, the link and what leads there, if they are there.
pub(in crate::networks) async fn sweep(host: &Namespace) -> Result<(), NetworksError> {
    let name = name()?;
    let removed = tokio::task::spawn_blocking(move || Namespace::remove(&name)).await;
    removed.map_err(std::io::Error::other)??;
    let swept = host.enter(|inside| -> Result<(), StepError> {
        let mut stack = Stack::open(inside)?;
        let (decoy, router): (LinkName, LinkName) = (NAME.parse()?, HOST_LINK.parse()?);
        stack.ask_table_no_more(&decoy, PRIORITY, TABLE_IN)?;
        stack.ask_table_no_more(&router, PRIORITY, TABLE_OUT)?;
        // Its routes go with a link; that of the router stays.
        if stack.link(&router).is_ok() {
            stack.evict_route(&out_of_table(TABLE_IN, HOST_LINK))?;
        }
        match stack.delete_link(&decoy) {
            // Nobody's loss: it is somebody else's, and in the way of the next survey only.
            Err(StackError::Foreign(_)) => Ok(()),
            done => Ok(done?),
        }
    });
    Ok(swept.await??)
}

/// Leads strangers to the router, for its rules to refuse them, and what the router should never let out to the decoy.
fn lead(stack: &mut Stack<'_>, decoy: &LinkName) -> Result<(), StepError> {
    let router: LinkName = HOST_LINK.parse()?;
    let everywhere = IpNet::V4(Ipv4Net::default());
    let via = Some(IpAddr::V4(UPLINK_ROUTER));
    stack.add_route_in(TABLE_IN, &NewRoute { destination: everywhere, via, link: router.clone() })?;
    stack.ask_table(decoy, PRIORITY, TABLE_IN)?;
    for address in NOT_PUBLIC {
        let destination = IpNet::from(IpAddr::V4(address));
        stack.add_route_in(TABLE_OUT, &NewRoute { destination, via: None, link: decoy.clone() })?;
    }
    Ok(stack.ask_table(&router, PRIORITY, TABLE_OUT)?)
}

fn out_of_table(table: u32, link: &str) -> host::network::Route {
    host::network::Route {
        destination: IpNet::V4(Ipv4Net::default()),
        kind: RouteKind::Unicast,
        table,
        via: None,
        link: Some(link.to_owned()),
        priority: 0,
    }
}

/// The first block that the host has no use for.
fn free_block(snapshot: &Snapshot) -> Result<Ipv4Net, NetworksError> {
    let mut tables = snapshot.routes.iter().map(|route| route.table);
    if let Some(table) = tables.find(|table| [TABLE_IN, TABLE_OUT].contains(table)) {
        return Err(DecoyError::TableInUse(table).into());
    }
    let is_used = |block: &Ipv4Net| {
        snapshot.routes.iter().any(|route| match route.destination {
            IpNet::V4(to) => to.prefix_len() >= 8 && (to.contains(block) || block.contains(&to)),
            IpNet::V6(_) => false,
        })
    };
    BLOCKS.into_iter().find(|block| !is_used(block)).ok_or_else(|| DecoyError::NoBlock.into())
}

fn tag() -> Result<Tag, StepError> {
    Ok("palisade restricted=true".parse()?)
}

fn name() -> Result<NamespaceName, StepError> {
    Ok(NAME.parse()?)
}
