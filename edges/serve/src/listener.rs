//! The accept loop: every connection has a deadline in each of its phases and counts against a limit.
//!
//! A plain server closes neither an idle connection nor one that drips; here a peer that stops somewhere is
//! let go after the phase's deadline, whatever the protocol (HTTP/1.1 or HTTP/2).

mod activity;
mod body;
mod caps;
mod connection;
mod service;
#[cfg(test)]
mod tests;
mod watched;

use crate::metrics::ListenerMetrics;
use axum::Router;
use caps::Caps;
use connection::Connection;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use terms::{SpiffeId, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long accepting pauses when the process has no more file handles: trying at once would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end; in every request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// Which workload it is, by its verified certificate.
    pub spiffe: Option<SpiffeId>,
    /// Until when that certificate is valid; the connection ends then.
    pub leaf_not_after: Option<Timestamp>,
}

/// What a listener grants each connection and all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// From accepting to the end of the TLS handshake.
    pub handshake_ms: u64,
    /// For the first request after the handshake, and for each later one from its first byte to the end of its
    /// headers.
    pub header_ms: u64,
    /// Between two requests.
    pub idle_ms: u64,
    /// Between two pieces of a request's body.
    pub body_gap_ms: u64,
    /// The slowest mean rate of a request's body, after a grace of `body_gap_ms`.
    pub body_min_bytes_per_s: u64,
    /// For the peer to take the next piece of a response that is ready.
    pub slow_reader_ms: u64,
    /// For requests under way to finish when the listener stops.
    pub drain_ms: u64,
    /// Open connections, all peers together.
    pub max_connections: usize,
    /// Open connections of one client: an IPv4 address, or an IPv6 /64, which is what one customer has.
    pub max_connections_per_client: usize,
    /// A request's line and headers. At least 8 kB. A plan token has 16 kB, so 64 kB leaves room for others.
    pub max_header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            handshake_ms: 10_000,
            header_ms: 10_000,
            idle_ms: 75_000,
            body_gap_ms: 10_000,
            body_min_bytes_per_s: 1_024,
            slow_reader_ms: 60_000,
            drain_ms: 10_000,
            max_connections: 4_096,
            max_connections_per_client: 256,
            max_header_bytes: 64 * 1_024,
            max_streams: 128,
        }
    }
}

/// Says why a listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error("`{0}` is taken by another program; choose another port, or 0 for any")]
    Taken(SocketAddr),
    /// This user may not listen there.
    #[error("this user may not listen on `{0}`; choose a port from 1024 up")]
    NotAllowed(SocketAddr),
    /// The system refused.
    #[error("cannot listen on `{addr}`: {source}")]
    System {
        /// Where.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// A bound socket that serves a router over TLS.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    metrics: ListenerMetrics,
}

impl Listener {
    /// Binds `addr`; port 0 is any free port.
    ///
    /// # Errors
    /// When the address is taken, not allowed, or not this host's.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(addr),
            io::ErrorKind::PermissionDenied => BindError::NotAllowed(addr),
            _ => BindError::System { addr, source },
        };
        let socket = TcpListener::bind(addr).await.map_err(refused)?;
        let local_addr = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, local_addr, metrics: ListenerMetrics::default() })
    }

    /// Counts into `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: ListenerMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The address with its real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves `router` until `shutdown` resolves, then lets requests under way finish within `drain_ms`.
    pub async fn serve(
        self,
        tls: Arc<ServerConfig>,
        router: Router,
        limits: ListenerLimits,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let Self { socket, metrics, .. } = self;
        let caps = Caps::new(limits.max_connections, limits.max_connections_per_client);
        let (stop, stopping) = watch::channel(());
        let connection = Connection { acceptor: TlsAcceptor::from(tls), router, limits, metrics, stopping };
        let mut open = JoinSet::new();
        let mut shutdown = core::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = open.join_next(), if !open.is_empty() => report(ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, addr)) => admit(&connection, &caps, &mut open, stream, addr),
                    Err(error) => accept_failed(&error).await,
                },
            }
        }
        drop(socket);
        drop((stop, connection));
        // Each connection holds itself to `drain_ms`.
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    }
}

fn admit(connection: &Connection, caps: &Caps, open: &mut JoinSet<()>, stream: TcpStream, addr: SocketAddr) {
    let slot = match caps.admit(addr.ip()) {
        Ok(slot) => slot,
        Err(refusal) => return connection.metrics.refuse(refusal.as_str()),
    };
    // Only a hint: without it answers wait for the peer's acknowledgements.
    let _ = stream.set_nodelay(true);
    let connection = connection.clone();
    open.spawn(async move {
        connection.run(stream, addr).await;
        drop(slot);
    });
}

/// A connection that panicked must not stop the others: it was its own task, and ends here.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

async fn accept_failed(error: &io::Error) {
    let peer_gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if !peer_gone {
        tracing::warn!(%error, "cannot accept connections; trying again");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
