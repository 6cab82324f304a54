//! What a data plane asks of the control plane, besides its identity.

use api::event::DeliverEvents;
use api::execution::{DeliverOutcomes, Delivered};
use futures_util::future::BoxFuture;
use serve::CallError;
use serve::identity::ControlPlane;
use wire::event::SecurityEvent;
use wire::jwks::{self, Jwks};
use wire::outcome::Outcome;

/// The largest answer to a delivery: three numbers, or a problem.
const ANSWER_MAX: usize = 64 * 1024;

/// The control plane, as the data plane needs it.
pub trait Uplink: Send + Sync {
    /// Fetches the plan keys.
    fn plan_keys(&self) -> BoxFuture<'_, Result<Jwks, UplinkError>>;

    /// Delivers outcomes; a second delivery changes nothing.
    fn outcomes(&self, outcomes: Vec<Outcome>) -> BoxFuture<'_, Result<Delivered, UplinkError>>;

    /// Delivers security events; a second delivery changes nothing.
    fn events(&self, events: Vec<SecurityEvent>) -> BoxFuture<'_, Result<Delivered, UplinkError>>;
}

/// Says why the control plane did not take or give something.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The key set is not one.
    #[error("the key set cannot be used: {0}")]
    Keys(#[from] wire::json::JsonError),
    /// It answered with a status that is none of the contract's.
    #[error("the control plane answered {0}")]
    Status(u16),
}

impl Uplink for ControlPlane {
    fn plan_keys(&self) -> BoxFuture<'_, Result<Jwks, UplinkError>> {
        Box::pin(async move {
            let request = http::Request::get(self.url_of(jwks::PATH)).body(http_body_util::Full::default());
            let request = request.map_err(|error| CallError::Request(error.to_string()))?;
            let response = self.client().send(request).await.map_err(CallError::from)?;
            let status = response.status();
            let body = self.client().read(response, jwks::BOUNDS.bytes).await?;
            if !status.is_success() {
                return Err(UplinkError::Status(status.as_u16()));
            }
            // Strict: a set with a name twice is no set.
            Ok(Jwks::read(&body)?)
        })
    }

    fn outcomes(&self, outcomes: Vec<Outcome>) -> BoxFuture<'_, Result<Delivered, UplinkError>> {
        Box::pin(
            async move { Ok(self.post("/v1/outcomes", &DeliverOutcomes { outcomes }, ANSWER_MAX).await?) },
        )
    }

    fn events(&self, events: Vec<SecurityEvent>) -> BoxFuture<'_, Result<Delivered, UplinkError>> {
        Box::pin(async move { Ok(self.post("/v1/events", &DeliverEvents { events }, ANSWER_MAX).await?) })
    }
}
