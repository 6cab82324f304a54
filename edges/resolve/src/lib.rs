//! Names to addresses: asks DNS servers over TCP or TLS.
//!
//! Never over UDP: the control plane's network lets it reach single TCP endpoints and nothing else. Neither this
//! host's `hosts` file nor its search domains have a say in what tenants are answered. Nothing is kept here: what an
//! answer holds is bounded before it is kept by whoever asked.

mod system;

pub use system::{SystemError, servers_of_this_host};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use names::{HostName, Outcome};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long one server may take, its connection included.
const SERVER: Duration = Duration::from_secs(2);

/// How long a name may take, whatever its servers do: well below what a data plane waits for.
const NAME: Duration = Duration::from_secs(4);

/// The protocol that a DNS server over TLS is asked for (RFC 7858, IANA's ALPN registry).
const DNS_OVER_TLS: &[u8] = b"dot";

/// Questions under way on one connection; whoever asks has a lower bound of its own.
const ON_ONE_CONNECTION: usize = 256;

/// How servers are spoken to.
#[derive(Debug, Clone)]
pub enum Transport {
    /// As they are: over TCP.
    Tcp,
    /// Over TLS (RFC 7858).
    Tls {
        /// The name that each of them has to prove.
        name: ServerName<'static>,
        /// How their certificates are verified.
        config: Arc<ClientConfig>,
    },
}

/// Asks DNS servers.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

/// Says that a resolver cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("no resolver can be made of these servers: {0}")]
pub struct ResolverError(NetError);

/// Says why nobody knows what a name stands for. It does not say which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// No server could be reached, or proved its name.
    #[error("no name server can be reached")]
    Unreachable,
    /// The servers answered with an error.
    #[error("the name servers answered with an error")]
    Error,
    /// What they answered leads nowhere.
    #[error("the name servers' answers make no sense")]
    Senseless,
}

// === impl Unanswered ===

impl Unanswered {
    /// The stable text, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Error => "error",
            Self::Senseless => "senseless",
        }
    }
}

impl From<NetError> for Unanswered {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => Self::Unreachable,
            NetError::Dns(_) => Self::Error,
            _ => Self::Senseless,
        }
    }
}

// === impl Resolver ===

impl Resolver {
    /// A resolver that asks these servers, the quickest first.
    ///
    /// # Errors
    /// [`ResolverError`].
    pub fn new(servers: &[SocketAddr], transport: &Transport) -> Result<Self, ResolverError> {
        let servers = servers.iter().map(|server| name_server(*server, transport)).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder = builder.with_options(options());
        if let Transport::Tls { config, .. } = transport {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = vec![DNS_OVER_TLS.to_vec()];
            builder = builder.with_tls_config(config);
        }
        Ok(Self(builder.build().map_err(ResolverError)?))
    }

    /// Finds out what `host` stands for.
    ///
    /// # Errors
    /// [`Unanswered`]; a name that does not exist is no error.
    pub async fn resolve(&self, host: &HostName) -> Result<Outcome, Unanswered> {
        let asking = self.0.lookup(host.wire().clone(), RecordType::A);
        let answered = tokio::time::timeout(NAME, asking).await.map_err(|_elapsed| Unanswered::Timeout)?;
        match answered {
            Ok(found) => Outcome::follow(host, found.answers()).map_err(|_| Unanswered::Senseless),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => Ok(Outcome::NoSuchName),
                ResponseCode::NoError => Ok(Outcome::NoAddress),
                _ => Err(Unanswered::Error),
            },
            Err(error) => Err(error.into()),
        }
    }
}

impl core::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn name_server(server: SocketAddr, transport: &Transport) -> NameServerConfig {
    let protocol = match transport {
        Transport::Tcp => ProtocolConfig::Tcp,
        Transport::Tls { name, .. } => ProtocolConfig::Tls { server_name: name.to_str().into() },
    };
    let mut connection = ConnectionConfig::new(protocol);
    connection.port = server.port();
    NameServerConfig::new(server.ip(), true, vec![connection])
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = SERVER;
    options.attempts = 1;
    // It counts answers, not bytes, and a hostile zone's are large.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    options.max_active_requests = ON_ONE_CONNECTION;
    options
}
