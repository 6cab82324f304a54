//! The signed document on its way from the control plane, with the keys that verify it.

use bytes::Bytes;
use core::pin::Pin;
use http::Request;
use serve::client::{CallError, ClientError};
use serve::identity::ControlPlane;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use wire::json::JsonError;
use wire::jwks::{self, Jwks};
use wire::networks::ENVELOPE_BOUNDS;

/// Where the document is.
const PATH: &str = "/v1/networks/desired";

/// The wait after a document that could not be had, or was of no use.
const RETRY: Duration = Duration::from_secs(2);

type UnderWay = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>;

/// Fetches, beside whatever else the node does.
pub(crate) struct Fetches {
    from: ControlPlane,
    next: Instant,
    under_way: Option<UnderWay>,
}

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The envelope's bytes.
    pub(crate) envelope: Bytes,
    /// The control plane's keys.
    pub(crate) keys: Jwks,
}

/// Says why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The control plane answers something else.
    #[error("the control plane answered {0}")]
    Status(u16),
    /// Its keys are none.
    #[error("the key set cannot be used: {0}")]
    Keys(#[from] JsonError),
}

impl Fetches {
    pub(crate) fn new(from: ControlPlane) -> Self {
        Self { from, next: Instant::now(), under_way: None }
    }

    /// Fetches the document, if `wanted`. A call that is dropped before it resolves goes on the next time.
    pub(crate) async fn fetched(&mut self, wanted: bool) -> Result<Fetched, FetchError> {
        if self.under_way.is_none() {
            if !wanted {
                core::future::pending::<()>().await;
            }
            sleep_until(self.next).await;
        }
        let from = &self.from;
        let fetched = self.under_way.get_or_insert_with(|| Box::pin(fetch(from.clone()))).as_mut().await;
        self.under_way = None;
        // Whether it is of use is not known here; if it is, nobody asks before there is another one.
        self.next = Instant::now() + RETRY;
        fetched
    }

    /// The last one was of use: the next one need not wait.
    pub(crate) fn was_of_use(&mut self) {
        self.next = Instant::now();
    }
}

async fn fetch(from: ControlPlane) -> Result<Fetched, FetchError> {
    let envelope = read(&from, PATH, ENVELOPE_BOUNDS.bytes).await?;
    // Fetched after it: the key that signed it is among them, also if it is a new one.
    let keys = Jwks::read(&read(&from, jwks::PATH, jwks::BOUNDS.bytes).await?)?;
    Ok(Fetched { envelope, keys })
}

/// The exact bytes that are served at `path`.
async fn read(from: &ControlPlane, path: &str, max: usize) -> Result<Bytes, FetchError> {
    let request = Request::get(from.url_of(path)).body(http_body_util::Full::default());
    let request = request.map_err(|error| CallError::Request(error.to_string()))?;
    let response = from.client().send(request).await.map_err(|error: ClientError| CallError::from(error))?;
    let status = response.status();
    let bytes = from.client().read(response, max).await?;
    if status.is_success() { Ok(bytes) } else { Err(FetchError::Status(status.as_u16())) }
}
