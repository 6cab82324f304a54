//! Connects: name to addresses, address to socket, socket to TLS. Nothing but https.

use super::ClientError;
use crate::tls::{WrongWorkload, is_no_tls13, rustls_error};
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The most addresses of one name that are looked at; more than a name needs, few enough to try in time.
const MAX_ADDRESSES: usize = 16;

/// The longest part of a refused URL that an error repeats.
const MAX_ECHO: usize = 200;

/// Whether a host (first) may be called at an address that it stands for (second).
pub type AddressRule = Arc<dyn Fn(&str, SocketAddr) -> bool + Send + Sync>;

/// Finds out what a host's name (lowercase) stands for; it is never asked for an address.
pub type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Vec<IpAddr>, NoAddress>> + Send + Sync>;

/// Says why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// It is not known, for this reason.
    Unknown(String),
    /// It may not be called, whatever it stands for.
    Refused,
}

/// How a connection finds where it goes.
#[derive(Clone)]
pub(super) enum Way {
    /// To an address that the host stands for.
    Resolved,
    /// The same, if the rule allows every address that it stands for.
    Ruled(AddressRule),
    /// The same, where others say what a name stands for.
    Asked(LookUp, AddressRule),
    /// To this address, whatever the host.
    At(SocketAddr),
}

/// Makes connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    within: Duration,
    way: Way,
}

impl core::fmt::Debug for Connector {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connector").field("within", &self.within).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(tls: Arc<ClientConfig>, timeout_ms: u64, way: Way) -> Self {
        Self { tls: tls.into(), within: Duration::from_millis(timeout_ms), way }
    }

    async fn connect(self, uri: Uri) -> Result<Link, ClientError> {
        let not_https = || ClientError::NotHttps(uri.to_string().chars().take(MAX_ECHO).collect());
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(not_https)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| not_https())?;
        let port = uri.port_u16().unwrap_or(443);
        let authority = format!("{host}:{port}");
        let connecting = async {
            let stream = self.reach(host, port, &authority).await?;
            self.tls.connect(name, stream).await.map_err(|error| refused(authority.clone(), &error))
        };
        let stream = timeout(self.within, connecting).await;
        let stream = stream.map_err(|_elapsed| ClientError::ConnectTimeout(authority.clone()))??;
        Ok(Link(TokioIo::new(stream)))
    }

    async fn reach(&self, host: &str, port: u16, authority: &str) -> Result<TcpStream, ClientError> {
        let unreachable =
            |reason: String| ClientError::Unreachable { authority: authority.to_owned(), reason };
        let found = self.addresses(host, port, unreachable).await?;
        let mut last = unreachable("the name has no address".to_owned());
        for addr in found {
            match TcpStream::connect(addr).await {
                Ok(stream) => {
                    hint(&stream, self.within);
                    return Ok(stream);
                }
                Err(error) => last = unreachable(error.to_string()),
            }
        }
        Err(last)
    }

    async fn addresses(
        &self,
        host: &str,
        port: u16,
        unreachable: impl Fn(String) -> ClientError,
    ) -> Result<Vec<SocketAddr>, ClientError> {
        let (found, rule) = match &self.way {
            Way::At(addr) => return Ok(vec![*addr]),
            Way::Resolved => (resolved(host, port).await, None),
            Way::Ruled(rule) => (resolved(host, port).await, Some(rule)),
            Way::Asked(look_up, rule) => (asked(look_up, host, port).await, Some(rule)),
        };
        let found = found.map_err(|error| match error {
            NoAddress::Unknown(reason) => unreachable(reason),
            NoAddress::Refused => ClientError::NameRefused(host.to_owned()),
        })?;
        // One refused address refuses the name: a mixed answer is an attempt, or a mistake to be seen.
        match found.iter().find(|addr| rule.is_some_and(|rule| !rule(host, **addr))) {
            Some(addr) => Err(ClientError::AddressRefused { host: host.to_owned(), addr: *addr }),
            None => Ok(found),
        }
    }
}

/// Tells the kernel how the connection is used. It works without, so a refusal is none of a request's business.
fn hint(stream: &TcpStream, silence: Duration) {
    // Else requests wait for the peer's acknowledgements.
    let _ = stream.set_nodelay(true);
    // A way that went, such as a router that was replaced, says nothing: without this a kept connection is tried for as
    // long as a request may take. Whoever acknowledges nothing for as long as a connection may take is gone.
    let silence_ms = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, silence_ms);
}

/// What the system says that a host stands for.
async fn resolved(host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
    let found = tokio::net::lookup_host((host, port)).await;
    Ok(found.map_err(|error| NoAddress::Unknown(error.to_string()))?.take(MAX_ADDRESSES).collect())
}

/// What `look_up` says that a host stands for; an address stands for itself.
async fn asked(look_up: &LookUp, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
    let found = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => look_up(host.to_ascii_lowercase()).await?,
    };
    Ok(found.into_iter().take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect())
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

fn refused(authority: String, error: &io::Error) -> ClientError {
    match rustls_error(error) {
        Some(error) if is_no_tls13(error) => ClientError::NoTls13(authority),
        Some(Error::InvalidMessage(_)) => ClientError::NotTls(authority),
        Some(Error::InvalidCertificate(why)) => ClientError::Untrusted { authority, reason: untrusted(why) },
        Some(other) => ClientError::Handshake { authority, reason: other.to_string() },
        None => ClientError::Handshake { authority, reason: error.to_string() },
    }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        // An authority of the same name with another key is as foreign as one of another name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it comes from an authority that is not trusted here".to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<WrongWorkload>() {
            Some(wrong) => wrong.to_string(),
            None => other.to_string(),
        },
        known => known.to_string(),
    }
}

/// One TLS connection in the pool.
pub(super) struct Link(TokioIo<TlsStream<TcpStream>>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_acknowledges_nothing_is_given_up_as_soon_as_a_connection_would_be() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        hint(&stream, Duration::from_secs(5));
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 5_000);
        assert!(stream.nodelay().unwrap());
    }
}
