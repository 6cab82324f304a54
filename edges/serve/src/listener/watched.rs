//! A socket that notes when a request begins to arrive, and that does not hang up on a peer in mid-sentence.

use super::activity::Activity;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a closed connection listens on for the rest of what its peer is sending.
const LINGER: Duration = Duration::from_secs(2);

/// How much it takes of that: more than any flood of headers or refused body that deserves its answer.
const MAX_LINGER_BYTES: usize = 8 << 20;

/// A connection's socket.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    heads: Option<Arc<Activity>>,
    lingering: Option<Lingering>,
}

/// What a closed connection still takes.
///
/// Closing a socket with unread input resets the connection, and the reset may overtake the answer that said
/// why (RFC 9112, section 9.6). So input is read and dropped until the peer is done, within bounds.
#[derive(Debug)]
struct Lingering {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Watched<S> {
    /// For HTTP/1.1, where bytes between two requests are the next one's head.
    pub(super) const fn noting_heads(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, heads: Some(activity), lingering: None }
    }

    /// For HTTP/2, whose pings and window updates between two requests say nothing.
    pub(super) const fn silent(stream: S) -> Self {
        Self { stream, heads: None, lingering: None }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.heads.as_ref().is_some_and(|activity| activity.is_still_sending()) {
            return Poll::Ready(());
        }
        let start = || Lingering { until: Box::pin(sleep(LINGER)), bytes_left: MAX_LINGER_BYTES };
        let lingering = self.lingering.get_or_insert_with(start);
        let mut dropped = [0; 4_096];
        while lingering.bytes_left > 0 && lingering.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            lingering.bytes_left = lingering.bytes_left.saturating_sub(buf.filled().len());
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(activity) = &self.heads
        {
            activity.received();
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
