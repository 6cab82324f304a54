//! What names stand for, where the tenant's network has no port 53: the control plane is asked over HTTPS (RFC 8484).
//!
//! Its answer is believed as far as it is one: to this question, whole, within bounds. Whether its addresses may be
//! called is judged by whoever connects.

use ::names::{ANSWER_MAX, Cache, HostName, Outcome, question, read_answer};
use api::names::{MEDIA_TYPE, PATH};
use bytes::Bytes;
use core::fmt::Display;
use host::clock::Clock;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::Full;
use serve::client::{LookUp, NoAddress};
use serve::identity::ControlPlane;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most names whose addresses are kept: more than the workflows of one tenant call within minutes.
const KEPT_MAX: usize = 1_024;

/// How long an answer may take: longer than the control plane takes itself, shorter than a connection may.
const ANSWERED_WITHIN: Duration = Duration::from_secs(6);

/// Asks for names, and keeps the answers.
#[derive(Debug)]
pub struct Names {
    control_plane: Arc<ControlPlane>,
    clock: Clock,
    kept: Mutex<Cache>,
}

impl Names {
    /// Asks `control_plane`.
    #[must_use]
    pub fn new(control_plane: Arc<ControlPlane>, clock: Clock) -> Self {
        Self { control_plane, clock, kept: Mutex::new(Cache::new(KEPT_MAX)) }
    }

    /// Finds out what `name` stands for; at least one address.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        let host: HostName = name.parse().map_err(|_| NoAddress::Refused)?;
        if let Some(found) = self.kept().find(&host, self.clock.now()) {
            return Ok(found.addresses().iter().copied().map(IpAddr::V4).collect());
        }
        let asking = tokio::time::timeout(ANSWERED_WITHIN, self.ask(&host));
        let outcome =
            asking.await.map_err(|_elapsed| unknown("the control plane did not answer in time"))??;
        match outcome {
            Outcome::Found(found) => {
                let addresses = found.addresses().iter().copied().map(IpAddr::V4).collect();
                self.kept().keep(host, found, self.clock.now());
                Ok(addresses)
            }
            Outcome::Refused => Err(NoAddress::Refused),
            Outcome::NoAddress => Err(unknown("the name has no address")),
            Outcome::NoSuchName => Err(unknown("there is no such name")),
            Outcome::NotImplemented | Outcome::BadVersion | Outcome::Failed => {
                Err(unknown("nobody could say what the name stands for"))
            }
        }
    }

    /// The way in which a client asks.
    #[must_use]
    pub fn into_look_up(self) -> LookUp {
        let this = Arc::new(self);
        Arc::new(move |name| {
            let this = Arc::clone(&this);
            Box::pin(async move { this.look_up(&name).await })
        })
    }

    async fn ask(&self, host: &HostName) -> Result<Outcome, NoAddress> {
        let question = question(host).map_err(unknown)?;
        let request = Request::post(self.control_plane.url_of(PATH))
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(ACCEPT, MEDIA_TYPE)
            .body(Full::new(Bytes::from(question)));
        let client = self.control_plane.client();
        let response = client.send(request.map_err(unknown)?).await.map_err(unknown)?;
        let status = response.status();
        let is_message = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
        let body = client.read(response, ANSWER_MAX).await.map_err(unknown)?;
        if status != http::StatusCode::OK || !is_message {
            return Err(unknown(format_args!("the control plane answered {status}")));
        }
        read_answer(&body, host).map_err(unknown)
    }

    fn kept(&self) -> MutexGuard<'_, Cache> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(reason: impl Display) -> NoAddress {
    NoAddress::Unknown(reason.to_string())
}
