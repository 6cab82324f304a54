//! Probes: what a namespace reaches, tried through the real kernel; and listeners for trials.
//!
//! Sockets are made inside the namespace, on a thread that ends at once, and driven by the runtime outside: a
//! thousand probes need no thousand threads.

use super::namespace::{Namespace, NamespaceError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

/// Most probes under way at once: each holds a file, of which a process has 1,024 by default.
const AT_ONCE_MAX: usize = 256;

/// What a UDP probe says.
const QUESTION: &[u8] = b"palisade probe\n";

/// An echo request and its answer, of ICMP (RFC 792) and of ICMPv6 (RFC 4443).
const ECHO_REQUEST: u8 = 8;
const ECHO_ANSWER: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_ANSWER_V6: u8 = 129;

/// Longest datagram or part of a stream that is echoed at once.
const ECHO_MAX: usize = 2_048;

/// How a place is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A connection is opened.
    Tcp,
    /// A datagram is sent and any answer awaited.
    Udp,
    /// An echo request is sent and its answer awaited; the port is no matter. Needs the capability for raw sockets.
    Icmp,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How.
    pub protocol: Protocol,
    /// Whereto.
    pub to: SocketAddr,
    /// From which address of the namespace; the kernel's choice if none.
    pub from: Option<IpAddr>,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The connection stood, or an answer came.
    Connected,
    /// The other side said no (a reset, or an ICMP error of the port).
    Refused,
    /// Nothing came in time.
    TimedOut,
    /// A router or this kernel knows no way.
    Unreachable,
    /// This namespace's own kernel did not let it out.
    Prevented,
    /// Something else: the errno says what.
    Failed,
}

/// How a probe ended, and with which error of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What it means.
    pub verdict: Verdict,
    /// The system's error, if there was one.
    pub errno: Option<i32>,
}

/// Tries every attempt from inside `namespace`, each for at most `patience`. Outcomes come in the attempts' order.
///
/// # Errors
/// When the namespace cannot be entered. A probe that fails is an outcome.
pub async fn run(
    namespace: &Namespace,
    attempts: &[Attempt],
    patience: Duration,
) -> Result<Vec<Outcome>, NamespaceError> {
    let mut outcomes = Vec::with_capacity(attempts.len());
    for part in attempts.chunks(AT_ONCE_MAX) {
        let wanted = part.to_vec();
        let sockets = namespace.enter(|_| wanted.into_iter().map(prepare).collect::<Vec<_>>()).await?;
        let mut running = JoinSet::new();
        for (place, prepared) in sockets.into_iter().enumerate() {
            running.spawn(async move { (place, finish(prepared, patience).await) });
        }
        let mut ended = running.join_all().await;
        ended.sort_by_key(|(place, _)| *place);
        outcomes.extend(ended.into_iter().map(|(_, outcome)| outcome));
    }
    Ok(outcomes)
}

/// A socket of the namespace, and where it is to go.
enum Prepared {
    Tcp(TcpSocket, SocketAddr),
    Udp(std::net::UdpSocket, SocketAddr),
    Icmp(std::net::UdpSocket, IpAddr),
    Failed(io::Error),
}

fn prepare(attempt: Attempt) -> Prepared {
    let from = SocketAddr::new(attempt.from.unwrap_or_else(|| any(attempt.to.ip())), 0);
    let made = match attempt.protocol {
        Protocol::Tcp => tcp_socket(from).map(|socket| Prepared::Tcp(socket, attempt.to)),
        Protocol::Udp => udp_socket(from).map(|socket| Prepared::Udp(socket, attempt.to)),
        Protocol::Icmp => icmp_socket(from).map(|socket| Prepared::Icmp(socket, attempt.to.ip())),
    };
    made.unwrap_or_else(Prepared::Failed)
}

fn tcp_socket(from: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(from)?;
    Ok(socket)
}

fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A raw socket. The standard library's type for datagrams sends and receives on it as on its own.
fn icmp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let (family, protocol) = match address {
        SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

async fn finish(prepared: Prepared, patience: Duration) -> Outcome {
    let trying = async {
        match prepared {
            Prepared::Tcp(socket, to) => socket.connect(to).await.map(|_| ()),
            Prepared::Udp(socket, to) => exchange(socket, to).await,
            Prepared::Icmp(socket, to) => echo_of(socket, to).await,
            Prepared::Failed(error) => Err(error),
        }
    };
    match tokio::time::timeout(patience, trying).await {
        Ok(Ok(())) => Outcome { verdict: Verdict::Connected, errno: None },
        Ok(Err(error)) => Outcome { verdict: verdict(&error), errno: error.raw_os_error() },
        Err(_elapsed) => Outcome { verdict: Verdict::TimedOut, errno: None },
    }
}

async fn exchange(socket: std::net::UdpSocket, to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(to).await?;
    socket.send(QUESTION).await?;
    socket.recv(&mut [0; ECHO_MAX]).await.map(|_| ())
}

async fn echo_of(socket: std::net::UdpSocket, to: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(SocketAddr::new(to, 0)).await?;
    socket.send(&echo_request(to)).await?;
    let mut packet = [0; ECHO_MAX];
    loop {
        // Whatever ICMP comes from there arrives here, errors included.
        let length = socket.recv(&mut packet).await?;
        if is_echo_answer(to, packet.get(..length).unwrap_or_default()) {
            return Ok(());
        }
    }
}

/// Type, code, checksum, identifier, sequence number. The kernel fills in the checksum of ICMPv6.
const fn echo_request(to: IpAddr) -> [u8; 8] {
    match to {
        // The checksum is the complement of the one word that is not 0.
        IpAddr::V4(_) => [ECHO_REQUEST, 0, !ECHO_REQUEST, 0xff, 0, 0, 0, 0],
        IpAddr::V6(_) => [ECHO_REQUEST_V6, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// IPv4 comes with its header, whose length in words is the low half of its first byte.
fn is_echo_answer(from: IpAddr, packet: &[u8]) -> bool {
    match from {
        IpAddr::V4(_) => {
            let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
            packet.get(header) == Some(&ECHO_ANSWER)
        }
        IpAddr::V6(_) => packet.first() == Some(&ECHO_ANSWER_V6),
    }
}

fn verdict(error: &io::Error) -> Verdict {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => Verdict::Refused,
        Some(libc::ETIMEDOUT) => Verdict::TimedOut,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENOPROTOOPT) => Verdict::Unreachable,
        Some(libc::EPERM | libc::EACCES) => Verdict::Prevented,
        _ => Verdict::Failed,
    }
}

/// Any address of the family.
const fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Something that listens inside a namespace and sends back what it gets. Dropping it ends it, and lets the
/// namespace go.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    arrivals: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Says why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `address` inside `namespace`; port 0 takes a free one. ICMP needs no listener: kernels answer.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the address is not free there, or for ICMP.
    pub async fn open(
        namespace: &Namespace,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Refused { address, source };
        let bind = move || -> io::Result<OwnedFd> {
            match protocol {
                Protocol::Tcp => {
                    let listener = std::net::TcpListener::bind(address)?;
                    listener.set_nonblocking(true)?;
                    Ok(listener.into())
                }
                Protocol::Udp => udp_socket(address).map(OwnedFd::from),
                Protocol::Icmp => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        let socket = namespace.enter(move |_| bind()).await?.map_err(refused)?;
        let arrivals = Arc::new(AtomicU64::new(0));
        let (address, task) = match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(socket.into()).map_err(refused)?;
                let address = listener.local_addr().map_err(refused)?;
                (address, tokio::spawn(accept(listener, Arc::clone(&arrivals))).abort_handle())
            }
            Protocol::Udp | Protocol::Icmp => {
                let socket = UdpSocket::from_std(socket.into()).map_err(refused)?;
                let address = socket.local_addr().map_err(refused)?;
                (address, tokio::spawn(answer(socket, Arc::clone(&arrivals))).abort_handle())
            }
        };
        Ok(Self { address, arrivals, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections or datagrams arrived.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, arrivals: Arc<AtomicU64>) {
    // The set ends with this task, and every connection with it.
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        arrivals.fetch_add(1, Ordering::Relaxed);
        while streams.try_join_next().is_some() {}
        if streams.len() < AT_ONCE_MAX {
            streams.spawn(echo(stream));
        }
    }
}

async fn echo(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    // A connection that breaks is what trials are about.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answer(socket: UdpSocket, arrivals: Arc<AtomicU64>) {
    let mut datagram = [0; ECHO_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            // An earlier answer, that nobody took.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(_) => return,
        };
        arrivals.fetch_add(1, Ordering::Relaxed);
        let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), from).await;
    }
}
