//! What a connection is doing, and until when it may.

use super::ListenerLimits;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The state of one connection, shared by its socket, its requests and its watchdog.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    next_request: u64,
    /// A request's body was left unread: its rest is still coming.
    left_unread: bool,
    /// Requests whose next piece of response is ready, and since when the peer has not taken it.
    untaken: BTreeMap<u64, Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No request has come yet.
    First { since: Instant },
    /// The first bytes of a later request have come.
    Head { since: Instant },
    /// Requests are being answered.
    Busy { requests: usize },
    /// Waiting for the next request.
    Idle { since: Instant },
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    NoRequest,
    SlowHeader,
    Idle,
    SlowReader,
}

/// One request; ends when dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    request: u64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let phase = Phase::First { since: Instant::now() };
        Arc::new(Self {
            state: Mutex::new(State { phase, next_request: 0, left_unread: false, untaken: BTreeMap::new() }),
        })
    }

    /// A request's headers are complete.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.change(|state| {
            let before = match state.phase {
                Phase::Busy { requests } => requests,
                Phase::First { .. } | Phase::Head { .. } | Phase::Idle { .. } => 0,
            };
            state.phase = Phase::Busy { requests: before + 1 };
            state.next_request += 1;
            InFlight { activity: Arc::clone(self), request: state.next_request }
        })
    }

    /// Resolves when the peer has used up the time of its phase.
    pub(super) async fn overdue(&self, limits: &ListenerLimits) -> Overdue {
        let header = Duration::from_millis(limits.header_ms);
        loop {
            let now = Instant::now();
            let due = self.change(|state| state.due(limits));
            if let Some((_, why)) = due.filter(|(at, _)| *at <= now) {
                return why;
            }
            // No phase is shorter than the header's, so a later change cannot be due before this wakes.
            let latest = now + header;
            sleep_until(due.map_or(latest, |(at, _)| at.min(latest))).await;
        }
    }

    /// A request is answered though its body was not read to its end.
    pub(super) fn leave_unread(&self) {
        self.change(|state| state.left_unread = true);
    }

    /// Whether the peer may still be sending what nobody will read.
    pub(super) fn is_still_sending(&self) -> bool {
        self.change(|state| match state.phase {
            Phase::First { .. } | Phase::Head { .. } => true,
            Phase::Busy { .. } | Phase::Idle { .. } => state.left_unread,
        })
    }

    /// Bytes have come between two requests.
    pub(super) fn received(&self) {
        self.change(|state| {
            if let Phase::Idle { .. } = state.phase {
                state.phase = Phase::Head { since: Instant::now() };
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn due(&self, limits: &ListenerLimits) -> Option<(Instant, Overdue)> {
        let after = |since: Instant, ms| since + Duration::from_millis(ms);
        match self.phase {
            Phase::First { since } => Some((after(since, limits.header_ms), Overdue::NoRequest)),
            Phase::Head { since } => Some((after(since, limits.header_ms), Overdue::SlowHeader)),
            Phase::Idle { since } => Some((after(since, limits.idle_ms), Overdue::Idle)),
            Phase::Busy { .. } => {
                let since = self.untaken.values().min()?;
                Some((after(*since, limits.slow_reader_ms), Overdue::SlowReader))
            }
        }
    }
}

impl Overdue {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::SlowHeader => "slow_header",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
        }
    }
}

impl InFlight {
    /// A piece of the response is ready for the peer.
    pub(super) fn offered(&self) {
        self.activity.change(|state| state.untaken.insert(self.request, Instant::now()));
    }

    /// The peer has taken what there was; the next piece is ours to make.
    pub(super) fn taken(&self) {
        self.activity.change(|state| state.untaken.remove(&self.request));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.change(|state| {
            state.untaken.remove(&self.request);
            state.phase = match state.phase {
                Phase::Busy { requests } if requests > 1 => Phase::Busy { requests: requests - 1 },
                Phase::Busy { .. } => Phase::Idle { since: Instant::now() },
                other => other,
            };
        });
    }
}
