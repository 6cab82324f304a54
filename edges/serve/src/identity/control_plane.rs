//! A workload's calls to the control plane.

use super::IdentityError;
use crate::client::{CallError, Client, ClientOptions};
use crate::tls::{self, Identity, Roots};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::Path;

/// Most bytes of a file of roots.
const ROOTS_MAX: usize = 64 * 1024;

/// Connections that a workload keeps to the control plane: it rarely has more than one call under way.
const POOL_PER_HOST: usize = 2;

/// Where the control plane is, and which roots its certificate comes from.
#[derive(Debug, Clone)]
pub struct ControlPlaneAt {
    url: String,
    roots: Roots,
    addr: Option<SocketAddr>,
}

/// A caller of the control plane; clones share its connections.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    client: Client,
    url: String,
}

impl ControlPlaneAt {
    /// Takes the control plane's URL (https, no trailing slash) and its roots in PEM.
    ///
    /// # Errors
    /// When either cannot be used.
    pub fn new(url: &str, roots_pem: &str) -> Result<Self, IdentityError> {
        let refused = || IdentityError::Url(url.chars().take(200).collect());
        let uri: http::Uri = url.parse().map_err(|_| refused())?;
        let is_base = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
        if !is_base || url.ends_with('/') {
            return Err(refused());
        }
        Ok(Self { url: url.to_owned(), roots: Roots::from_pem(roots_pem)?, addr: None })
    }

    /// As [`ControlPlaneAt::new`], with the roots in a file.
    ///
    /// # Errors
    /// When the file cannot be read, or either cannot be used.
    pub fn with_roots_file(url: &str, roots_file: &Path) -> Result<Self, IdentityError> {
        let roots = host::files::read_bounded(roots_file, ROOTS_MAX)?;
        Self::new(url, &String::from_utf8_lossy(&roots))
    }

    /// The same control plane, reached at `addr`: the URL's host is not resolved, and is still the name that the
    /// peer has to prove.
    #[must_use]
    pub fn at_address(self, addr: SocketAddr) -> Self {
        Self { addr: Some(addr), ..self }
    }
}

/// The port of an https URL: 443 unless it names another.
#[must_use]
pub fn port_of(url: &str) -> u16 {
    url.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or(443)
}

impl ControlPlane {
    /// A caller without an identity: for enrolment.
    ///
    /// # Errors
    /// When the library refuses the roots.
    pub fn anonymous(at: &ControlPlaneAt) -> Result<Self, IdentityError> {
        Self::new(at, None)
    }

    pub(super) fn identified(at: &ControlPlaneAt, identity: &Identity) -> Result<Self, IdentityError> {
        Self::new(at, Some(identity))
    }

    fn new(at: &ControlPlaneAt, identity: Option<&Identity>) -> Result<Self, IdentityError> {
        let options = ClientOptions { pool_per_host: POOL_PER_HOST, ..ClientOptions::default() };
        let tls = tls::client_config(&at.roots, identity)?;
        let client = match at.addr {
            Some(addr) => Client::at_address(tls, options, addr),
            None => Client::new(tls, options),
        };
        Ok(Self { client, url: at.url.clone() })
    }

    /// Asks for `path` and reads at most `max_answer` bytes of JSON.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, max_answer: usize) -> Result<T, CallError> {
        self.client.json(Method::GET, &self.url_of(path), None, None::<&()>, max_answer).await
    }

    /// Sends `body` to `path` and reads at most `max_answer` bytes of JSON.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
        max_answer: usize,
    ) -> Result<T, CallError> {
        self.client.json(Method::POST, &self.url_of(path), None, Some(body), max_answer).await
    }

    /// The client, for calls of another shape.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The URL of `path`.
    #[must_use]
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}
