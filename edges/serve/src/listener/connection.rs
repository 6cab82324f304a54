//! One connection: handshake, requests, and its end.

use super::activity::{Activity, Overdue};
use super::service::Requests;
use super::watched::Watched;
use super::{ListenerLimits, Peer};
use crate::ca::{leaf_not_after, peer_spiffe};
use crate::metrics::ListenerMetrics;
use crate::tls::failure_reason;
use axum::Router;
use core::pin::pin;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConnection;
use rustls::pki_types::UnixTime;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use terms::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// The most header fields of a request; browsers send about twenty.
const MAX_HEADERS: usize = 100;

/// How often a peer with open HTTP/2 streams must prove that it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long it may take for that.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What every connection of a listener shares.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) acceptor: TlsAcceptor,
    pub(super) router: Router,
    pub(super) limits: ListenerLimits,
    pub(super) metrics: ListenerMetrics,
    /// Its sender is dropped when the listener stops.
    pub(super) stopping: watch::Receiver<()>,
}

impl Connection {
    /// Serves one connection to its end.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        addr: SocketAddr,
    ) {
        self.metrics.accepted.inc();
        let _open = Open::count(&self.metrics);
        let within = Duration::from_millis(self.limits.handshake_ms);
        let stream = match timeout(within, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.metrics.fail_handshake(failure_reason(&error)),
            Err(_elapsed) => return self.metrics.fail_handshake("timeout"),
        };
        let session = stream.get_ref().1;
        let peer = peer(session, addr);
        let activity = Activity::new();
        if session.alpn_protocol() == Some(b"h2") {
            let stream = Watched::silent(stream);
            let builder = builder(&self.limits).http2_only();
            self.requests(builder, stream, peer, activity).await;
        } else {
            let stream = Watched::noting_heads(stream, Arc::clone(&activity));
            let builder = builder(&self.limits).http1_only();
            self.requests(builder, stream, peer, activity).await;
        }
    }

    async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        mut self,
        builder: Builder<TokioExecutor>,
        stream: S,
        peer: Peer,
        activity: Arc<Activity>,
    ) {
        let expiry = peer.leaf_not_after.map(remaining);
        let service = Requests {
            router: self.router.clone(),
            limits: self.limits,
            metrics: self.metrics.clone(),
            peer,
            activity: Arc::clone(&activity),
        };
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let drain_ms = tokio::select! {
            // A protocol error or a peer that left: hyper has answered what could be answered.
            _ended = serving.as_mut() => return,
            why = activity.overdue(&self.limits) => {
                self.metrics.close(why.as_str());
                match why {
                    Overdue::Idle => self.limits.header_ms.min(self.limits.drain_ms),
                    Overdue::NoRequest | Overdue::SlowHeader | Overdue::SlowReader => return,
                }
            }
            _stopped = self.stopping.changed() => self.limits.drain_ms,
            () = sleep_or_never(expiry) => {
                self.metrics.close("certificate_expired");
                self.limits.drain_ms
            }
        };
        serving.as_mut().graceful_shutdown();
        if timeout(Duration::from_millis(drain_ms), serving).await.is_err() {
            self.metrics.close("not_drained");
        }
    }
}

/// One in the gauge of open connections.
struct Open(ListenerMetrics);

impl Open {
    fn count(metrics: &ListenerMetrics) -> Self {
        metrics.active.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.active.dec();
    }
}

fn builder(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    // Smaller buffers are refused by the HTTP library with a panic.
    let header_bytes = limits.max_header_bytes.max(8_192);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Ours tells a slow header from an idle connection; the library's does not.
        .header_read_timeout(None)
        .max_buf_size(header_bytes)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn peer(session: &ServerConnection, addr: SocketAddr) -> Peer {
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    Peer {
        addr,
        spiffe: leaf.and_then(|leaf| peer_spiffe(leaf).ok()),
        leaf_not_after: leaf.and_then(leaf_not_after),
    }
}

fn remaining(not_after: Timestamp) -> Duration {
    let now = Timestamp::from_unix_s(i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX));
    Duration::from_millis(u64::try_from(not_after.ms_since(now)).unwrap_or(0))
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => core::future::pending().await,
    }
}
