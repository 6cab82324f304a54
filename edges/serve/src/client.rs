//! An HTTP/1.1 client over TLS 1.3: pooled connections, deadlines, bounded answers, reasons that can be acted on.

mod connector;

pub use connector::{AddressRule, LookUp, NoAddress};

use crate::tls::certificate_alert;
use bytes::Bytes;
use connector::{Connector, Way};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use terms::Token;
use tokio::time::timeout;

/// How long an unused connection is kept: less than servers keep theirs, so that a request rarely meets a
/// connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// The largest head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What a client allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// For the name, the connection and the handshake together.
    pub connect_timeout_ms: u64,
    /// From sending a request to the head of its answer, and again to the end of an answer that is read here.
    pub request_timeout_ms: u64,
    /// Unused connections that are kept for each host.
    pub pool_per_host: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { connect_timeout_ms: 5_000, request_timeout_ms: 30_000, pool_per_host: 8 }
    }
}

/// Says why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be called.
    #[error("`{0}` is not an https URL with a host")]
    NotHttps(String),
    /// The name has no address, or nobody answers there.
    #[error("`{authority}` cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// The system's reason.
        reason: String,
    },
    /// The name stands for an address that the client's rule refuses.
    #[error("`{host}` stands for `{addr}`, which may not be called")]
    AddressRefused {
        /// The name.
        host: String,
        /// Its address.
        addr: SocketAddr,
    },
    /// The name may not be called, whatever it stands for.
    #[error("`{0}` may not be called")]
    NameRefused(String),
    /// Connecting took too long.
    #[error("`{0}` did not accept a connection in time")]
    ConnectTimeout(String),
    /// The peer speaks TLS, but not version 1.3.
    #[error("`{0}` does not speak TLS 1.3, and nothing older is used")]
    NoTls13(String),
    /// The peer speaks something else than TLS.
    #[error("`{0}` does not speak TLS")]
    NotTls(String),
    /// The peer's certificate is not trusted, or not the expected workload's.
    #[error("the certificate of `{authority}` is refused: {reason}")]
    Untrusted {
        /// Host and port.
        authority: String,
        /// Why.
        reason: String,
    },
    /// The handshake failed for another reason, such as a peer that refuses our certificate.
    #[error("the TLS handshake with `{authority}` failed: {reason}")]
    Handshake {
        /// Host and port.
        authority: String,
        /// Why.
        reason: String,
    },
    /// The answer did not come in time. The request may have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke before the answer was whole. The request may have had its effect.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl ClientError {
    /// Whether the peer cannot have seen the request, so that sending it again is no second one.
    #[must_use]
    pub const fn never_sent(&self) -> bool {
        match self {
            Self::NotHttps(_)
            | Self::Unreachable { .. }
            | Self::AddressRefused { .. }
            | Self::NameRefused(_)
            | Self::ConnectTimeout(_)
            | Self::NoTls13(_)
            | Self::NotTls(_)
            | Self::Untrusted { .. }
            | Self::Handshake { .. } => true,
            Self::Timeout | Self::Broken(_) => false,
        }
    }
}

/// Says why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no answer.
    #[error(transparent)]
    Unreachable(ClientError),
    /// There is no answer in time. The request may have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// The peer answered with a problem.
    #[error("{0}")]
    Problem(Box<api::Problem>, StatusCode),
    /// The answer is not what the contract says.
    #[error("the answer (status {status}) cannot be read: {reason}")]
    Malformed {
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// What was to be sent cannot be written as JSON.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

/// A client; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    pool: legacy::Client<Connector, Full<Bytes>>,
    request_timeout: Duration,
}

impl Client {
    /// A client that verifies its peers as `tls` says.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>, options: ClientOptions) -> Self {
        Self::with_connector(Connector::new(tls, options.connect_timeout_ms, Way::Resolved), options)
    }

    /// A client that connects only to addresses that `rule` allows. Each name is resolved once, every address
    /// that it stands for must be allowed, and the connection goes to one of those: a second answer of the
    /// name's server cannot lead elsewhere. Addresses in URLs meet the same rule.
    #[must_use]
    pub fn with_address_rule(tls: Arc<ClientConfig>, options: ClientOptions, rule: AddressRule) -> Self {
        Self::with_connector(Connector::new(tls, options.connect_timeout_ms, Way::Ruled(rule)), options)
    }

    /// As [`Client::with_address_rule`], where `look_up` says what names stand for, and the system is not asked.
    #[must_use]
    pub fn with_names(
        tls: Arc<ClientConfig>,
        options: ClientOptions,
        look_up: LookUp,
        rule: AddressRule,
    ) -> Self {
        Self::with_connector(
            Connector::new(tls, options.connect_timeout_ms, Way::Asked(look_up, rule)),
            options,
        )
    }

    /// A client whose every connection goes to `addr`, whatever its URLs' hosts stand for: they are not
    /// resolved. TLS and HTTP know nothing of it; the peer is asked for, and has to prove, the name in the URL.
    #[must_use]
    pub fn at_address(tls: Arc<ClientConfig>, options: ClientOptions, addr: SocketAddr) -> Self {
        Self::with_connector(Connector::new(tls, options.connect_timeout_ms, Way::At(addr)), options)
    }

    fn with_connector(connector: Connector, options: ClientOptions) -> Self {
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(options.pool_per_host)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Self { pool, request_timeout: Duration::from_millis(options.request_timeout_ms) }
    }

    /// Sends `request` and waits for the head of the answer. Redirects are not followed.
    ///
    /// # Errors
    /// [`ClientError`]; its `never_sent` says whether a retry is safe for any request.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        match timeout(self.request_timeout, self.pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(reason(&error, authority)),
            Err(_elapsed) => Err(ClientError::Timeout),
        }
    }

    /// Calls `url` with an optional bearer token and JSON body, and reads at most `max_response` bytes of JSON.
    ///
    /// # Errors
    /// [`CallError`]; a problem that the peer answered comes out whole.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        bearer: Option<&Token>,
        body: Option<&(impl Serialize + ?Sized)>,
        max_response: usize,
    ) -> Result<T, CallError> {
        let request = json_request(method, url, bearer, body)?;
        let response = self.send(request).await.map_err(CallError::from)?;
        let status = response.status();
        let is_problem = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(api::problem::MEDIA_TYPE.as_bytes()));
        let bytes = self.read(response, max_response).await?;
        let malformed = |reason: String| CallError::Malformed { status, reason };
        if is_problem {
            let problem = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
            return Err(CallError::Problem(Box::new(problem), status));
        }
        if !status.is_success() {
            return Err(malformed("it is no success and no problem".to_owned()));
        }
        // An answer without content is the unit value.
        let content = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(content).map_err(|error| malformed(error.to_string()))
    }

    /// Reads an answer's body whole.
    ///
    /// # Errors
    /// When it is larger than `max`, takes too long, or breaks off.
    pub async fn read(&self, response: Response<Incoming>, max: usize) -> Result<Bytes, CallError> {
        let reading = Limited::new(response.into_body(), max).collect();
        match timeout(self.request_timeout, reading).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(CallError::TooLarge(max)),
            Ok(Err(error)) => Err(CallError::Unreachable(ClientError::Broken(error.to_string()))),
            Err(_elapsed) => Err(CallError::Timeout),
        }
    }
}

impl From<ClientError> for CallError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Timeout | ClientError::ConnectTimeout(_) => Self::Timeout,
            other => Self::Unreachable(other),
        }
    }
}

fn json_request(
    method: Method,
    url: &str,
    bearer: Option<&Token>,
    body: Option<&(impl Serialize + ?Sized)>,
) -> Result<Request<Full<Bytes>>, CallError> {
    let refused = |error: &dyn Error| CallError::Request(error.to_string());
    let mut request = Request::builder().method(method).uri(url).header(header::ACCEPT, "application/json");
    if let Some(token) = bearer {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|e| refused(&e))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let content = match body {
        None => Bytes::new(),
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            serde_json::to_vec(body).map_err(|error| refused(&error))?.into()
        }
    };
    request.body(Full::new(content)).map_err(|error| refused(&error))
}

/// Finds our own error, or the peer's refusal of our certificate, under the pool's.
fn reason(error: &legacy::Error, authority: String) -> ClientError {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    let mut deepest = error.to_string();
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<ClientError>() {
            return own.clone();
        }
        if let Some(alert) = error.downcast_ref::<io::Error>().and_then(certificate_alert) {
            return ClientError::Handshake { authority, reason: alert };
        }
        deepest = error.to_string();
        next = error.source();
    }
    ClientError::Broken(deepest)
}
