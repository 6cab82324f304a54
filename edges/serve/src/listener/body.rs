//! Bodies under watch: a request's must keep coming, a response's must be taken.

use super::ListenerLimits;
use super::activity::{Activity, InFlight};
use bytes::Bytes;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use http_body::{Body, Frame, SizeHint};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Says that a request's body came too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body came too slowly")]
pub(super) struct TooSlow;

/// A request's body that fails when the peer drips it.
///
/// Only time spent waiting for the peer counts: a handler may take its own.
pub(super) struct Paced<B: Body> {
    body: B,
    ended: bool,
    activity: Arc<Activity>,
    gap: Duration,
    min_bytes_per_s: u64,
    received: u64,
    waited: Duration,
    waiting: Option<Waiting>,
    too_slow: Arc<AtomicBool>,
}

struct Waiting {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl<B: Body> Paced<B> {
    /// `too_slow` is set when the body fails, so that the answer can say so.
    pub(super) fn new(
        body: B,
        limits: &ListenerLimits,
        activity: Arc<Activity>,
        too_slow: Arc<AtomicBool>,
    ) -> Self {
        Self {
            body,
            ended: false,
            activity,
            gap: Duration::from_millis(limits.body_gap_ms),
            min_bytes_per_s: limits.body_min_bytes_per_s.max(1),
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
            too_slow,
        }
    }

    /// How long the peer may take for the next piece: the gap, or less if it is behind the rate.
    fn patience(&self) -> Duration {
        let earned = Duration::from_millis(self.received.saturating_mul(1_000) / self.min_bytes_per_s);
        self.gap.saturating_add(earned).saturating_sub(self.waited).min(self.gap)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B>
where
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(waiting) = this.waiting.take() {
                this.waited += waiting.since.elapsed();
            }
            this.ended = frame.is_none();
            if let Some(Ok(frame)) = &frame {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.received = this.received.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience();
        let waiting = this.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, deadline: Box::pin(sleep_until(since + patience)) }
        });
        ready!(waiting.deadline.as_mut().poll(cx));
        this.too_slow.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> Drop for Paced<B> {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.activity.leave_unread();
        }
    }
}

/// A response's body that says when it waits for its peer, and that its request has ended.
pub(super) struct Tracked<B> {
    body: B,
    request: InFlight,
}

impl<B> Tracked<B> {
    pub(super) const fn new(body: B, request: InFlight) -> Self {
        Self { body, request }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(_)) => self.request.offered(),
            Poll::Ready(None) | Poll::Pending => self.request.taken(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
