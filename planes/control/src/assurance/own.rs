//! Listeners, found and called from outside like anybody would: the control plane's own, and those of data planes.

use super::{NoMeans, sample};
use crate::app::App;
use crate::identity;
use bytes::Bytes;
use host::files;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use serve::tls::{self, Roots};
use serve::{Client, ClientOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use terms::{SpiffeId, Token, Workload};

/// Most bytes of a file that the control plane wrote about itself, or of an operator's certificates.
const FILE_MAX: usize = 64 * 1024;

/// Most bytes of an answer.
const ANSWER_MAX: usize = 1024 * 1024;

/// Own listeners answer at once, or are not looked at now.
const OPTIONS: ClientOptions =
    ClientOptions { connect_timeout_ms: 2_000, request_timeout_ms: 5_000, pool_per_host: 1 };

/// Where the control plane listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listeners {
    pub(super) api: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// One listener of the platform.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) addr: SocketAddr,
    /// The certificate that it shows, as alarms name it.
    pub(super) certificate: String,
}

/// The API, over TLS.
pub(super) struct OwnApi {
    client: Client,
    base: String,
}

/// One request.
pub(super) struct Sent<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: Bytes,
}

/// The part of the ready-file that says where the listeners are.
#[derive(Deserialize)]
struct Ready {
    address: SocketAddr,
    metrics_url: String,
}

/// Reads where the listeners are from what the control plane tells whoever started it.
pub(super) fn listeners(app: &App) -> Result<Listeners, NoMeans> {
    let text = files::read_bounded(&app.config.file("ready.json"), FILE_MAX).map_err(NoMeans::new)?;
    read_ready(&text).ok_or_else(|| NoMeans::new("`ready.json` does not say where the listeners are"))
}

/// Every listener: the control plane's two, and that of each active tenant's data plane.
pub(super) async fn all_listeners(app: &App) -> Result<Vec<Target>, NoMeans> {
    let own = listeners(app)?;
    let mut targets: Vec<Target> = [("api", own.api), ("metrics", own.metrics)]
        .map(|(name, addr)| {
            let (name, certificate) = (name.to_owned(), identity::SERVER.to_owned());
            Target { name, addr, certificate }
        })
        .into();
    for plane in sample::data_planes(app).await? {
        let addr = address(&plane.url).ok_or_else(|| NoMeans(format!("`{}` is no address", plane.url)))?;
        let spiffe = SpiffeId::new(app.domain.clone(), Workload::DataPlane(plane.tenant));
        let name = format!("data plane of {}", plane.tenant);
        targets.push(Target { name, addr, certificate: format!("certificate/{spiffe}") });
    }
    Ok(targets)
}

/// The address in a data plane's URL, which its node reported by number.
fn address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("https://")?.trim_end_matches('/').parse().ok()
}

fn read_ready(text: &[u8]) -> Option<Listeners> {
    let ready: Ready = serde_json::from_slice(text).ok()?;
    let metrics = ready.metrics_url.strip_prefix("https://")?.split('/').next()?;
    Some(Listeners { api: reachable(ready.address), metrics: reachable(metrics.parse().ok()?) })
}

/// A listener on every address is reached by the loopback one.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The key set at an issuer's URL, with the certificates that its data planes trust.
pub(super) async fn jwks(app: &App, issuer: &str) -> Result<Value, NoMeans> {
    let url = format!("{issuer}{}", wire::jwks::PATH);
    let nothing: Option<&()> = None;
    let set = public_client(app)?.json(Method::GET, &url, None, nothing, ANSWER_MAX).await;
    set.map_err(|error| NoMeans(format!("`{url}` cannot be read from here: {error}")))
}

/// A client of the public URL, which verifies the certificate by the URL's name wherever that leads from here.
fn public_client(app: &App) -> Result<Client, NoMeans> {
    let tls = tls::client_config(&public_roots(app)?, None).map_err(NoMeans::new)?;
    Ok(match app.config.public_addr {
        Some(addr) => Client::at_address(tls, OPTIONS, addr),
        None => Client::new(tls, OPTIONS),
    })
}

/// What the API's certificate ends in: the internal authority, or what the operator's own file or the public web
/// says.
fn public_roots(app: &App) -> Result<Roots, NoMeans> {
    let Some(own) = &app.config.tls else {
        return Roots::from_pem(app.identity.roots_pem()).map_err(NoMeans::new);
    };
    let chain = files::read_bounded(&own.certificate_file, FILE_MAX).map_err(NoMeans::new)?;
    let chain = String::from_utf8_lossy(&chain).into_owned();
    if chain.matches("-----BEGIN CERTIFICATE-----").count() > 1 {
        return Roots::from_pem(&chain).map_err(NoMeans::new);
    }
    Ok(Roots::native())
}

impl OwnApi {
    /// A client of the API. The internal authority's certificate says whose it is, at whatever address; an
    /// operator's own is for the public URL.
    pub(super) fn new(app: &App) -> Result<Self, NoMeans> {
        if app.config.tls.is_some() {
            return Ok(Self { client: public_client(app)?, base: app.config.public_url.clone() });
        }
        let expected = SpiffeId::new(app.domain.clone(), Workload::ControlPlane);
        let tls =
            tls::client_config_for_workload(&public_roots(app)?, None, expected).map_err(NoMeans::new)?;
        let base = format!("https://{}", listeners(app)?.api);
        Ok(Self { client: Client::new(tls, OPTIONS), base })
    }

    /// Sends a request with a bearer token. Gives the problem's code, or `ok`.
    pub(super) async fn code(&self, token: &Token, sent: Sent<'_>) -> Result<String, NoMeans> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(NoMeans::new)?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(sent.method)
            .uri(format!("{}{}", self.base, sent.path))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, sent.content_type)
            .body(Full::new(sent.body))
            .map_err(NoMeans::new)?;
        let response = self.client.send(request).await.map_err(NoMeans::new)?;
        let status = response.status();
        let body = self.client.read(response, ANSWER_MAX).await.map_err(NoMeans::new)?;
        if status.is_success() {
            return Ok("ok".to_owned());
        }
        let problem: Result<api::Problem, _> = serde_json::from_slice(&body);
        Ok(problem.map_or_else(|_| format!("status {status} without a code"), |problem| problem.code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_from_the_ready_file_and_reached_by_loopback() {
        let text = r#"{"control_plane_url":"https://x","address":"0.0.0.0:8443","metrics_url":"https://[::]:9/metrics","pid":1}"#;
        let expected =
            Listeners { api: "127.0.0.1:8443".parse().unwrap(), metrics: "[::1]:9".parse().unwrap() };
        assert_eq!(read_ready(text.as_bytes()), Some(expected));
    }

    #[test]
    fn a_data_plane_is_found_where_its_url_says() {
        assert_eq!(address("https://127.0.0.1:5678"), Some(SocketAddr::from(([127, 0, 0, 1], 5_678))));
        assert_eq!((address("https://host:1"), address("http://127.0.0.1:1")), (None, None));
    }

    #[test]
    fn a_ready_file_without_addresses_says_nothing() {
        for text in [
            "",
            "{}",
            r#"{"address":"x","metrics_url":"https://127.0.0.1:1/"}"#,
            r#"{"address":"127.0.0.1:1","metrics_url":"http://127.0.0.1:1/"}"#,
        ] {
            assert_eq!(read_ready(text.as_bytes()), None, "{text}");
        }
    }
}
