//! What a delivery is told, and what it tells its driver to do.

use super::GiveUp;
use terms::{Digest, PlanId, Timestamp};

/// What came of it, or what else happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A plan was drafted; its bytes can be made again.
    Drafted {
        /// The plan.
        plan_id: PlanId,
        /// Its hash.
        plan_hash: Digest,
        /// The token's `iat`.
        issued_at: Timestamp,
    },
    /// The plan goes out next.
    Sending,
    /// No connection: nothing left this plane.
    Unreachable,
    /// The plan went out, and no answer came.
    SendFailed,
    /// The data plane cannot judge the plan now: it is busy, starting or stopping.
    Deferred,
    /// The data plane refused, with this reason code.
    Refused(String),
    /// The data plane has admitted the plan, now or before.
    Accepted,
    /// The data plane was asked for the execution.
    Asked(Answer),
    /// Somebody wants the execution cancelled.
    CancelRequested,
    /// The data plane has taken the cancellation.
    CancelTaken,
    /// The outcome is here.
    OutcomeArrived,
    /// The execution was recorded as given up.
    GaveUp,
}

/// What the data plane answers when it is asked for an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has admitted it.
    Known,
    /// Its journal does not have it.
    Unknown {
        /// When that journal began.
        journal_since: Timestamp,
    },
    /// No answer.
    NoAnswer,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Draft a plan under a new id, and report [`Event::Drafted`].
    Draft,
    /// Report [`Event::Sending`], then send the plan.
    Send,
    /// Ask the data plane for the execution.
    Ask,
    /// Tell the data plane to cancel the execution. If it does not know it, that is [`Answer::Unknown`].
    Cancel,
    /// Do nothing before this time, unless an event comes.
    Wait {
        /// The time.
        until: Timestamp,
    },
    /// Record the execution as given up, and report [`Event::GaveUp`].
    GiveUp(GiveUp),
    /// Nothing, ever: it has ended.
    Done,
}

/// Says that an event does not fit where the delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event does not fit the delivery's stage")]
pub struct Misplaced;
