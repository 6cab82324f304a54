//! One request: from its headers, through the router, to the end of its response.

use super::activity::Activity;
use super::body::{Paced, Tracked};
use super::{ListenerLimits, Peer};
use crate::Problem;
use crate::metrics::ListenerMetrics;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use core::convert::Infallible;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower_service::Service as _;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) limits: ListenerLimits,
    pub(super) metrics: ListenerMetrics,
    pub(super) peer: Peer,
    pub(super) activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Tracked<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

impl Requests {
    async fn answer(mut self, request: Request<Incoming>) -> Response<Tracked<Body>> {
        let in_flight = self.activity.begin();
        self.metrics.requests.inc();
        let version = request.version();
        let too_slow = Arc::new(AtomicBool::new(false));
        let (activity, limits) = (Arc::clone(&self.activity), &self.limits);
        let paced = |body| Body::new(Paced::new(body, limits, activity, Arc::clone(&too_slow)));
        let mut request = request.map(paced);
        request.extensions_mut().insert(self.peer.clone());

        // The handler's state is behind locks that survive a panic, or is this request's own.
        let answered = AssertUnwindSafe(async { self.router.call(request).await }).catch_unwind().await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => {
                self.metrics.panics.inc();
                Problem::from(api::Code::Internal).into_response()
            }
        };
        if too_slow.load(Ordering::Relaxed) {
            self.metrics.close("slow_body");
            response = Problem::from(api::Code::RequestTooSlow).into_response();
            // The rest of the body would be read as the next request. HTTP/2 resets the stream instead.
            if version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        response.map(|body| Tracked::new(body, in_flight))
    }
}
