//! An authority, and listeners and clients that it identifies.

use axum::Router;
use serve::ca::{Authority, Subject, Use};
use serve::metrics::ListenerMetrics;
use serve::tls::{self, ClientAuth, Identity, Roots};
use serve::{Client, ClientOptions, Listener, ListenerLimits};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use terms::{SpiffeId, TenantId, Timestamp, TrustDomain, Workload};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) struct Site {
    pub(crate) authority: Authority,
}

impl Site {
    pub(crate) fn new() -> Self {
        let long_ago = now().plus_ms(-24 * HOUR_MS);
        Self { authority: Authority::create(long_ago, &domain(), 48 * HOUR_MS).unwrap() }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.authority.certificate_pem()).unwrap()
    }

    pub(crate) fn identity(&self, workload: Workload, usage: Use) -> Identity {
        self.identity_from(now(), workload, usage)
    }

    /// An identity that was issued at `issued` for an hour.
    pub(crate) fn identity_from(&self, issued: Timestamp, workload: Workload, usage: Use) -> Identity {
        let (chain, key) = self.pem_from(issued, workload, usage);
        Identity::from_pem(&chain, &key).unwrap()
    }

    /// The control plane's identity under a DNS name of its own, and at this host's address.
    pub(crate) fn named(&self, dns_name: &str) -> Identity {
        let spiffe = spiffe(Workload::ControlPlane);
        let subject = Subject {
            spiffe: &spiffe,
            dns_names: &[dns_name.to_owned()],
            ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            usage: Use::Server,
            now: now(),
            lifetime_ms: HOUR_MS,
        };
        let (certificate, key) = self.authority.issue_with_key(&subject).unwrap();
        Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap()
    }

    pub(crate) fn pem_from(&self, issued: Timestamp, workload: Workload, usage: Use) -> (String, String) {
        let spiffe = spiffe(workload);
        let subject = Subject {
            spiffe: &spiffe,
            dns_names: &["localhost".to_owned()],
            ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            usage,
            now: issued,
            lifetime_ms: HOUR_MS,
        };
        let (certificate, key) = self.authority.issue_with_key(&subject).unwrap();
        (certificate.chain_pem, key.expose().to_owned())
    }

    /// A client that trusts this site and shows nothing.
    pub(crate) fn client(&self) -> Client {
        Client::new(tls::client_config(&self.roots(), None).unwrap(), ClientOptions::default())
    }

    pub(crate) fn client_as(&self, identity: &Identity) -> Client {
        Client::new(tls::client_config(&self.roots(), Some(identity)).unwrap(), ClientOptions::default())
    }

    /// A client that talks to `workload` alone.
    pub(crate) fn client_for(&self, workload: Workload) -> Client {
        let config = tls::client_config_for_workload(&self.roots(), None, spiffe(workload)).unwrap();
        Client::new(config, ClientOptions::default())
    }

    /// Serves `router` as the control plane.
    pub(crate) async fn serve(&self, clients: &ClientAuth, router: Router) -> Served {
        let identity = self.identity(Workload::ControlPlane, Use::Server);
        Served::start(&identity, clients, router, ListenerLimits::default()).await
    }
}

/// A listener that runs until it is stopped.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    pub(crate) metrics: ListenerMetrics,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(
        identity: &Identity,
        clients: &ClientAuth,
        router: Router,
        limits: ListenerLimits,
    ) -> Self {
        let metrics = ListenerMetrics::default();
        let listener = Listener::bind(loopback()).await.unwrap().with_metrics(metrics.clone());
        let addr = listener.local_addr();
        let (stop, stopped) = oneshot::channel();
        let config = tls::server_config(identity, clients).unwrap();
        let serving = tokio::spawn(listener.serve(config, router, limits, async {
            let _ = stopped.await;
        }));
        Self { addr, metrics, stop, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }

    /// Stops it and waits until every connection has ended, so that all is counted.
    pub(crate) async fn stop(self) -> ListenerMetrics {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.metrics
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn domain() -> TrustDomain {
    "palisade.internal".parse().unwrap()
}

pub(crate) fn spiffe(workload: Workload) -> SpiffeId {
    SpiffeId::new(domain(), workload)
}

pub(crate) fn data_plane() -> Workload {
    Workload::DataPlane(TenantId::from_bytes([7; 16]))
}

pub(crate) fn now() -> Timestamp {
    host::clock::now()
}
