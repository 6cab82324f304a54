//! What a caller sends: strict, bounded JSON bodies, queries and path parts.

use crate::refusal::Refusal;
use api::{Code, Problem};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;
use terms::Digest;
use wire::json::{self, Bounds, JsonError};

/// Most bytes of a body: a batch of 1 000 heartbeats, or a 1 MiB document written as a JSON string.
pub(crate) const BODY_MAX: usize = 4 * 1024 * 1024;

/// Bounds of a body. 64 levels and 200 000 values hold every input that a plan can carry.
const BOUNDS: Bounds = Bounds { bytes: BODY_MAX, depth: 70, nodes: 200_000 };

/// A JSON body, read strictly, and the digest of its bytes.
pub(crate) struct Strict<T> {
    pub(crate) value: T,
    pub(crate) digest: Digest,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Strict<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
            let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
        });
        if !is_json {
            return Err(Code::UnsupportedMediaType.into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(refuse_bytes)?;
        let value = json::read(&bytes, &BOUNDS).map_err(|error| match error {
            JsonError::TooLarge { .. } => Refusal::from(Code::BodyTooLarge),
            JsonError::Malformed(why) => Problem::new(Code::MalformedRequest).detail(why).into(),
        })?;
        Ok(Self { value, digest: Digest::sha256(&bytes) })
    }
}

fn refuse_bytes(rejection: BytesRejection) -> Refusal {
    if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
        return Code::BodyTooLarge.into();
    }
    Problem::new(Code::MalformedRequest).detail("the body did not arrive whole").into()
}

/// Path parts. One that cannot name anything names nothing.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Code::NotFound.into()),
        }
    }
}

/// A query.
pub(crate) struct Ask<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(why) => Err(Problem::new(Code::MalformedRequest).detail(why.body_text()).into()),
        }
    }
}
