//! The way out: `call: http`, to allowed hosts at public addresses over TLS 1.3, and nothing else.
//!
//! The checks, in their order: the URL is https; the plan lists the host; the port is 443; the name is resolved
//! once; *every* address that it stands for is public; the connection goes to one of those; the certificate
//! names the host. Redirects are answers like any other. The operator may make exceptions for single hosts,
//! with the loopback driver only. In a network of its own, a data plane has the control plane resolve names; the
//! checks are the same, whoever says what a name stands for.

mod names;

pub use self::names::Names;

use crate::journal::record::CallUsage;
use ::names::is_public;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serve::client::AddressRule;
use serve::tls::{self, Roots, TlsError};
use serve::{CallError, Client, ClientError, ClientOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use terms::{Digest, ExecutionId, HostPattern};
use url::Url;
use workflow::{HttpCall, HttpFailure, HttpReply};

/// What every client of the way out allows.
const OPTIONS: ClientOptions = ClientOptions {
    // For name, connection and handshake: a host that takes longer is down.
    connect_timeout_ms: 10_000,
    // Longer than any call may take: the call's own time ends it first.
    request_timeout_ms: 120_000,
    pool_per_host: 4,
};

/// The most bytes of an answer: above it a workflow is the wrong tool.
pub const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Headers that say how the message travels: the connection's own business.
const OWN_HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The header that lets a server know a call again that was sent twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(api::execution::IDEMPOTENCY_KEY);

/// Why a call has no answer: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The plan does not list the host, or the port is not 443.
    HostDenied,
    /// The name stands for an address that is not public.
    AddressDenied,
    /// The call cannot be made: no https URL, or no valid header.
    Invalid,
    /// The name has no address, or nobody answers there.
    Connect,
    /// The peer speaks no TLS 1.3.
    NoTls13,
    /// The handshake failed, or the certificate is not trusted.
    Tls,
    /// It took too long.
    Timeout,
    /// The answer is too large.
    TooLarge,
    /// The connection broke.
    Broken,
}

/// One host that the operator allows beside the public internet.
#[derive(Debug, Clone)]
pub struct Exception {
    /// The host.
    pub host: HostPattern,
    /// The port.
    pub port: u16,
    /// The addresses that it may stand for.
    pub cidr: IpNet,
    /// The roots of its certificate; the public web's if there are none.
    pub roots: Option<Roots>,
}

/// A call with what binds it to its execution.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The call.
    pub call: &'a HttpCall,
    /// Hosts that the plan allows.
    pub allowed: &'a [HostPattern],
    /// The execution.
    pub execution_id: ExecutionId,
    /// Which of its effects.
    pub number: u64,
    /// The most bytes of the answer.
    pub answer_max: usize,
}

/// Makes calls. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Egress {
    public: Client,
    exceptions: Vec<(Exception, Client)>,
}

// === impl Failure ===

impl Failure {
    /// The stable code, as workflows see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostDenied => "host_denied",
            Self::AddressDenied => "address_denied",
            Self::Invalid => "invalid",
            Self::Connect => "connect",
            Self::NoTls13 => "no_tls13",
            Self::Tls => "tls",
            Self::Timeout => HttpFailure::TIMEOUT,
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
        }
    }

    /// Whether the call went where it may not go.
    #[must_use]
    pub const fn is_denied(self) -> bool {
        match self {
            Self::HostDenied | Self::AddressDenied => true,
            Self::Invalid
            | Self::Connect
            | Self::NoTls13
            | Self::Tls
            | Self::Timeout
            | Self::TooLarge
            | Self::Broken => false,
        }
    }
}

impl From<&ClientError> for Failure {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::NotHttps(_) => Self::Invalid,
            ClientError::Unreachable { .. } => Self::Connect,
            ClientError::AddressRefused { .. } | ClientError::NameRefused(_) => Self::AddressDenied,
            ClientError::ConnectTimeout(_) | ClientError::Timeout => Self::Timeout,
            ClientError::NoTls13(_) => Self::NoTls13,
            ClientError::NotTls(_) | ClientError::Untrusted { .. } | ClientError::Handshake { .. } => {
                Self::Tls
            }
            ClientError::Broken(_) => Self::Broken,
        }
    }
}

// === impl Exception ===

impl Exception {
    fn covers(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.allows(host)
    }
}

// === impl Egress ===

impl Egress {
    /// The way out, with the operator's exceptions.
    ///
    /// # Errors
    /// When the library refuses roots.
    pub fn new(exceptions: Vec<Exception>) -> Result<Self, TlsError> {
        let tls = tls::client_config(&Roots::native(), None)?;
        let public = Client::with_address_rule(tls, OPTIONS, public_https());
        let all: Arc<[Exception]> = exceptions.into();
        let with_client = |exception: &Exception| {
            let roots = exception.roots.clone().unwrap_or_else(Roots::native);
            let all = Arc::clone(&all);
            // A host may stand for addresses of several entries, such as one of each family.
            let rule = Arc::new(move |host: &str, addr: SocketAddr| {
                all.iter().any(|one| one.covers(host, addr.port()) && one.cidr.contains(&addr.ip()))
            });
            let tls = tls::client_config(&roots, None)?;
            Ok((exception.clone(), Client::with_address_rule(tls, OPTIONS, rule)))
        };
        let exceptions = all.iter().map(with_client).collect::<Result<_, TlsError>>()?;
        Ok(Self { public, exceptions })
    }

    /// The way out of a network of its own, where `names` says what hosts stand for.
    ///
    /// # Errors
    /// When the library refuses roots.
    pub fn with_names(names: Names) -> Result<Self, TlsError> {
        let tls = tls::client_config(&Roots::native(), None)?;
        let public = Client::with_names(tls, OPTIONS, names.into_look_up(), public_https());
        Ok(Self { public, exceptions: Vec::new() })
    }

    /// Makes a call within its time. Whatever comes of it, the usage says what left and what came.
    pub async fn call(&self, outgoing: &Outgoing<'_>) -> (Result<HttpReply, Failure>, CallUsage) {
        let mut usage = CallUsage::default();
        let within = Duration::from_millis(outgoing.call.timeout_ms);
        let answered = tokio::time::timeout(within, self.exchange(outgoing, &mut usage)).await;
        (answered.unwrap_or(Err(Failure::Timeout)), usage)
    }

    async fn exchange(&self, outgoing: &Outgoing<'_>, usage: &mut CallUsage) -> Result<HttpReply, Failure> {
        let client = self.client_for(outgoing)?;
        let request = request(outgoing)?;
        // A call that is cut off half way may have been sent, so it counts from here.
        (usage.sent, usage.out) = (1, size(&request, outgoing));
        let response = client.send(request).await.map_err(|error| {
            if error.never_sent() {
                *usage = CallUsage::default();
            }
            Failure::from(&error)
        })?;
        usage.in_ = head_size(response.headers());
        let status = response.status().as_u16();
        let headers = readable(response.headers());
        let body = read(client, response, outgoing.answer_max.min(ANSWER_MAX)).await?;
        usage.in_ = usage.in_.saturating_add(body.len() as u64);
        Ok(HttpReply { status, headers, body: body.into() })
    }

    fn client_for(&self, outgoing: &Outgoing<'_>) -> Result<&Client, Failure> {
        let url = Url::parse(&outgoing.call.url).map_err(|_| Failure::Invalid)?;
        let host = url.host_str().filter(|_| url.scheme() == "https").ok_or(Failure::Invalid)?;
        if !outgoing.allowed.iter().any(|pattern| pattern.allows(host)) {
            return Err(Failure::HostDenied);
        }
        let port = url.port_or_known_default().ok_or(Failure::Invalid)?;
        let excepted =
            |(exception, _): &&(Exception, Client)| exception.port == port && exception.host.allows(host);
        match self.exceptions.iter().find(excepted) {
            Some((_, client)) => Ok(client),
            None if port == 443 => Ok(&self.public),
            None => Err(Failure::HostDenied),
        }
    }
}

/// Public addresses, at the one port that leads out.
fn public_https() -> AddressRule {
    Arc::new(|_host, addr| addr.port() == 443 && is_public(addr.ip()))
}

/// The key by which a server knows a call again. It tells nothing of the execution.
fn idempotency_key(outgoing: &Outgoing<'_>) -> String {
    let id = outgoing.execution_id.as_bytes();
    Digest::sha256_parts(&[b"palisade/idempotency-key/v1", id, &outgoing.number.to_be_bytes()]).to_string()
}

fn request(outgoing: &Outgoing<'_>) -> Result<Request<Full<Bytes>>, Failure> {
    let call = outgoing.call;
    let method = Method::from_bytes(call.method.as_bytes()).map_err(|_| Failure::Invalid)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("palisade"));
    let key = HeaderValue::try_from(idempotency_key(outgoing)).map_err(|_| Failure::Invalid)?;
    headers.insert(IDEMPOTENCY_KEY, key);
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Failure::Invalid)?;
        if !OWN_HEADERS.contains(&name) {
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| Failure::Invalid)?);
        }
    }
    let mut request = Request::builder().method(method).uri(&call.url);
    if let Some(own) = request.headers_mut() {
        *own = headers;
    }
    request.body(Full::new(body(call)?)).map_err(|_| Failure::Invalid)
}

/// JSON, or a text as it is where the call says that it is no JSON.
fn body(call: &HttpCall) -> Result<Bytes, Failure> {
    let Some(value) = &call.body else { return Ok(Bytes::new()) };
    let kind = call.headers.iter().find(|(name, _)| name == "content-type").map(|(_, kind)| kind.as_str());
    let is_json = kind.is_none_or(|kind| kind.contains("json"));
    match value {
        serde_json::Value::String(text) if !is_json => Ok(Bytes::from(text.clone())),
        other => serde_json::to_vec(other).map(Bytes::from).map_err(|_| Failure::Invalid),
    }
}

async fn read(client: &Client, response: Response<Incoming>, max: usize) -> Result<Bytes, Failure> {
    client.read(response, max).await.map_err(|error| match error {
        CallError::TooLarge(_) => Failure::TooLarge,
        CallError::Timeout => Failure::Timeout,
        CallError::Unreachable(_)
        | CallError::Problem(..)
        | CallError::Malformed { .. }
        | CallError::Request(_) => Failure::Broken,
    })
}

/// The headers as texts; a value that is none is left out.
fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// Bytes of a request: its line, headers and body, before encryption.
fn size(request: &Request<Full<Bytes>>, outgoing: &Outgoing<'_>) -> u64 {
    use http_body::Body as _;
    let line = outgoing.call.method.len() + outgoing.call.url.len() + 12;
    let body = request.body().size_hint().exact().unwrap_or(0);
    (line as u64).saturating_add(head_size(request.headers())).saturating_add(body)
}

/// Bytes of headers as HTTP/1.1 writes them.
fn head_size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow::HttpOutput;

    #[test]
    fn a_call_goes_only_to_hosts_that_the_plan_lists_on_port_443() {
        let egress = Egress::new(vec![]).unwrap();
        let allowed = vec!["api.example.com".parse().unwrap(), "*.wild.example".parse().unwrap()];
        let rows = [
            ("https://api.example.com/x", None),
            ("https://a.wild.example/", None),
            ("https://other.example.com/", Some(Failure::HostDenied)),
            ("https://a.b.wild.example/", Some(Failure::HostDenied)),
            ("https://api.example.com:8443/", Some(Failure::HostDenied)),
            ("http://api.example.com/", Some(Failure::Invalid)),
            ("https://127.0.0.1/", Some(Failure::HostDenied)),
            ("https://[::1]/", Some(Failure::HostDenied)),
            ("file:///etc/passwd", Some(Failure::Invalid)),
        ];
        for (url, expected) in rows {
            let call = call(url);
            assert_eq!(egress.client_for(&outgoing(&call, &allowed)).err(), expected, "{url}");
        }
    }

    #[test]
    fn a_plan_without_hosts_reaches_nothing() {
        let egress = Egress::new(vec![]).unwrap();
        let call = call("https://api.example.com/");
        assert_eq!(egress.client_for(&outgoing(&call, &[])).err(), Some(Failure::HostDenied));
    }

    #[test]
    fn an_exception_still_needs_the_plan_to_list_the_host() {
        let exception = Exception {
            host: "local.test".parse().unwrap(),
            port: 8443,
            cidr: "127.0.0.0/8".parse().unwrap(),
            roots: None,
        };
        let egress = Egress::new(vec![exception]).unwrap();
        let call = call("https://local.test:8443/");
        let allowed = vec!["local.test".parse().unwrap()];
        assert!(egress.client_for(&outgoing(&call, &allowed)).is_ok());
        assert_eq!(egress.client_for(&outgoing(&call, &[])).err(), Some(Failure::HostDenied));
    }

    #[test]
    fn the_idempotency_key_stays_the_same_for_one_step_and_differs_between_steps() {
        let call = call("https://api.example.com/");
        let first = outgoing(&call, &[]);
        let second = Outgoing { number: 2, ..first };
        assert_eq!(idempotency_key(&first), idempotency_key(&outgoing(&call, &[])));
        assert_ne!(idempotency_key(&first), idempotency_key(&second));
    }

    #[test]
    fn headers_that_belong_to_the_connection_are_not_the_workflows_to_set() {
        let mut call = call("https://api.example.com/");
        call.headers = vec![
            ("host".into(), "evil.example".into()),
            ("transfer-encoding".into(), "chunked".into()),
            ("x-own".into(), "1".into()),
        ];
        let request = request(&outgoing(&call, &[])).unwrap();
        assert!(
            !request.headers().contains_key("host") && !request.headers().contains_key("transfer-encoding")
        );
        assert!(request.headers().contains_key("x-own"));
    }

    #[tokio::test]
    async fn a_listed_name_that_stands_for_a_private_address_is_denied_and_nothing_is_sent() {
        let egress = Egress::new(vec![]).unwrap();
        let call = call("https://localhost/");
        let allowed = vec!["localhost".parse().unwrap()];
        let (answer, usage) = egress.call(&outgoing(&call, &allowed)).await;
        assert_eq!((answer, usage), (Err(Failure::AddressDenied), CallUsage::default()));
    }

    fn call(url: &str) -> HttpCall {
        HttpCall {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![],
            body: None,
            output: HttpOutput::Content,
            timeout_ms: 1_000,
            step: 1,
            task: "/do/0".to_owned(),
        }
    }

    fn outgoing<'a>(call: &'a HttpCall, allowed: &'a [HostPattern]) -> Outgoing<'a> {
        Outgoing {
            call,
            allowed,
            execution_id: ExecutionId::from_bytes([1; 16]),
            number: 1,
            answer_max: 1_000,
        }
    }
}
