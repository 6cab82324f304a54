//! Problems as responses (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A problem that a handler answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub api::Problem);

impl Problem {
    /// The problem for `code`, with what was wrong this time.
    #[must_use]
    pub fn new(code: api::Code, detail: impl Into<String>) -> Self {
        Self(api::Problem::new(code).detail(detail))
    }
}

impl From<api::Problem> for Problem {
    fn from(problem: api::Problem) -> Self {
        Self(problem)
    }
}

impl From<api::Code> for Problem {
    fn from(code: api::Code) -> Self {
        Self(code.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let Ok(body) = serde_json::to_vec(&self.0) else { return status.into_response() };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(api::problem::MEDIA_TYPE));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_carries_its_media_type_status_and_waiting_time() {
        let problem = Problem(api::Problem::new(api::Code::RateLimited).retry_after(7));
        let response = problem.clone().into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        assert_eq!(serde_json::from_slice::<api::Problem>(&body).unwrap(), problem.0);
    }
}
