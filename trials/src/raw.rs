//! A client that sends what no well-behaved client does, from an address of its own choosing.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serve::tls::{self, Roots};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where raw requests come from and go to.
#[derive(Clone)]
pub struct Raw {
    tls: Arc<tokio_rustls::rustls::ClientConfig>,
    host: String,
    port: u16,
    source: Ipv4Addr,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Raw {
    /// A client of `url` that trusts `ca_file` only and calls from `source`, any address of 127.0.0.0/8: the
    /// control plane tells clients apart by it.
    ///
    /// # Errors
    /// When the roots cannot be read, or the URL has no port.
    pub fn new(url: &str, ca_file: &Path, source: Ipv4Addr) -> Result<Self> {
        let roots = Roots::from_pem(&std::fs::read_to_string(ca_file)?)?;
        let url: http::Uri = url.parse()?;
        let host = url.host().context("a URL without a host")?.to_owned();
        let port = url.port_u16().context("a URL without a port")?;
        Ok(Self { tls: tls::client_config(&roots, None)?, host, port, source })
    }

    /// A new connection on which nothing was said yet.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn dial(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.source.into(), 0))?;
        let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port);
        Ok(socket.connect(to).await?)
    }

    /// A new connection, its handshake done.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let stream = self.dial().await?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(self.host.clone().try_into()?, stream).await?)
    }

    /// A connection for one request after the other.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn open(&self) -> Result<SendRequest<Full<Bytes>>> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends one request over a connection of its own.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Result<Answer> {
        let mut sender = self.open().await?;
        self.send_over(&mut sender, request, body).await
    }

    /// Sends a request over an open connection.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn send_over(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let host = format!("{}:{}", self.host, self.port);
        let request: Request<Full<Bytes>> = request.header("host", host).body(Full::new(body.into()))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends bytes as they are and gives whatever comes back until the other side closes.
    ///
    /// # Errors
    /// When nobody answers. A connection that breaks off while it is written to or read is no error.
    pub async fn send_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        let _refused_before_the_end = stream.write_all(bytes).await;
        let _refused_before_the_end = stream.flush().await;
        let mut answer = Vec::new();
        let _reset_after_the_answer = stream.read_to_end(&mut answer).await;
        Ok(answer)
    }
}

impl Answer {
    /// The problem in the body.
    ///
    /// # Errors
    /// When it is none.
    pub fn problem(&self) -> Result<api::Problem> {
        let kind = self.headers.get("content-type").context("an answer without a content type")?;
        anyhow::ensure!(kind == api::problem::MEDIA_TYPE, "the answer is {kind:?}");
        serde_json::from_slice(&self.body).context("the body is no problem")
    }
}
