//! A refusal: a problem on its way out, with its code kept beside it for audit and metrics.

use api::{Code, Problem};
use axum::response::{IntoResponse, Response};

/// A problem that a handler answers with.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>);

/// The code of a refusal, kept in the response's extensions for the gate.
#[derive(Debug, Clone)]
pub(crate) struct RefusalCode(pub(crate) String);

/// What every handler returns.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// Hides the cause from the caller and writes it to the log, once.
    pub(crate) fn internal(cause: impl core::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside");
        Code::Internal.into()
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Problem::new(code).into()
    }
}

impl From<guard::Denied> for Refusal {
    fn from(denied: guard::Denied) -> Self {
        match denied.denial {
            guard::Denial::Hidden => Code::NotFound.into(),
            guard::Denial::Forbidden => Code::Forbidden.into(),
        }
    }
}

impl From<store::StoreError> for Refusal {
    fn from(error: store::StoreError) -> Self {
        use store::StoreError as E;
        match error {
            E::Denied | E::NotFound(_) | E::KeyDestroyed => Code::NotFound.into(),
            E::Cursor(_) => Code::InvalidCursor.into(),
            E::DiskFull | E::ReadOnly | E::Locked | E::Unreachable(_) | E::Closed => {
                tracing::error!(%error, "the store does not answer");
                Problem::new(Code::Unavailable).detail("the database").retry_after(5).into()
            }
            E::Conflict(_)
            | E::Range(_)
            | E::Corrupt(_)
            | E::Sealed { .. }
            | E::Entropy
            | E::Panicked
            | E::Database(_) => Self::internal(error),
        }
    }
}

impl From<store::WriteError<Self>> for Refusal {
    fn from(error: store::WriteError<Self>) -> Self {
        match error {
            store::WriteError::Work(refusal) => refusal,
            store::WriteError::Store(error) => error.into(),
        }
    }
}

impl From<store::WriteError<store::StoreError>> for Refusal {
    fn from(error: store::WriteError<store::StoreError>) -> Self {
        store::StoreError::from(error).into()
    }
}

impl From<host::entropy::EntropyError> for Refusal {
    fn from(error: host::entropy::EntropyError) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = RefusalCode(self.0.code.clone());
        let mut response = serve::Problem(*self.0).into_response();
        response.extensions_mut().insert(code);
        response
    }
}
