//! Where a delivery can be, and what is known there.

use crate::SKEW_MS;
use terms::{Digest, PlanId, Timestamp};
use wire::plan_token::LIFETIME_S;

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// There is no plan, or none that can still run.
    Queued,
    /// There is a plan, and no answer yet.
    Sent(Sent),
    /// The data plane has admitted a plan.
    Accepted(Accepted),
    /// It is over.
    Ended(End),
}

/// A plan that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The plan.
    pub plan_id: PlanId,
    /// Its hash.
    pub plan_hash: Digest,
    /// The token's `iat`.
    pub issued_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When the attempt began whose end is not known.
    pub under_way: Option<Timestamp>,
    /// What the data plane said of it.
    pub verdict: Verdict,
}

/// What the data plane said of a plan that it did not admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that speaks against sending it again.
    Open,
    /// It has another plan of this execution.
    Taken,
    /// It will never admit this one, but may admit another.
    Void,
    /// It refuses what we send, for this reason; another plan would fare no better.
    Condemned(String),
}

/// A plan that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The plan, as last issued.
    pub plan_id: PlanId,
    /// Its hash.
    pub plan_hash: Digest,
    /// When we learned of it.
    pub at: Timestamp,
}

/// Whether somebody wants an execution cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Nobody does.
    No,
    /// Somebody does, and the data plane was not told yet.
    Wanted,
    /// The data plane was told.
    Taken,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an outcome.
    Outcome,
    /// Cancelled before it could run.
    Cancelled,
    /// Given up.
    GivenUp(GiveUp),
}

/// Why a delivery is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// No plan reached the data plane in time: it never ran.
    Undelivered,
    /// The data plane refuses its plans, for this reason: it never ran.
    Refused(String),
    /// A plan may have arrived, and the data plane did not say in time: whether it ran is not known.
    Unanswered,
    /// A plan arrived or may have, and the journal that knew is lost: whether it ran is not known, and
    /// sending it again might run it twice.
    JournalLost,
}

// === impl GiveUp ===

impl GiveUp {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Undelivered => "delivery.undelivered",
            Self::Refused(_) => "delivery.refused",
            Self::Unanswered => "delivery.unanswered",
            Self::JournalLost => "delivery.journal_lost",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Reads a data plane's reason code. What is not listed is final: another plan would say the same.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        match code {
            // The data plane's keys or clock lag behind.
            "plan.unknown_key" | "plan.keys_unavailable" | "plan.not_yet_valid" => Self::Open,
            // It ends by our clock too, and then it is asked for.
            "plan.expired" => Self::Open,
            "plan.execution_conflict" | "plan.replayed" => Self::Taken,
            "plan.issued_before_recovery" => Self::Void,
            _ => Self::Condemned(code.to_owned()),
        }
    }
}

// === impl Sent ===

impl Sent {
    /// When the token expires.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.issued_at.plus_ms(LIFETIME_S * 1_000)
    }

    /// From when on no data plane admits the plan, whatever its clock says within the skew.
    pub(super) const fn dead_at(&self) -> Timestamp {
        self.expires_at().plus_ms(SKEW_MS)
    }
}
