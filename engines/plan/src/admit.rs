//! Lets each verified plan through once, before it expires.

use crate::SKEW_MS;
use std::collections::{BTreeMap, VecDeque};
use terms::{Digest, ExecutionId, PlanId, Timestamp, Verified};

/// What admission needs to know of a plan; read out of a verified plan with `Verified::try_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `jti`.
    pub plan_id: PlanId,
    /// The execution that the plan is for.
    pub execution_id: ExecutionId,
    /// SHA-256 of the plan's exact bytes.
    pub plan_hash: Digest,
    /// The token's `iat`.
    pub issued_at: Timestamp,
    /// The token's `exp`.
    pub expires_at: Timestamp,
}

/// A plan that was let through: the only thing that is journalled and run.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted(Ticket);

/// Every plan that was let through and is not forgotten.
///
/// Keyed by issuer and `jti`, and by the execution; never by a token's bytes, because one signature has
/// many encodings. What is admitted is journalled and synced before it runs, and comes back by
/// [`Admission::restore`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    plans: BTreeMap<String, BTreeMap<PlanId, ExecutionId>>,
    executions: BTreeMap<ExecutionId, Known>,
    /// In the order of admission, which is nearly that of expiry.
    order: VecDeque<ExecutionId>,
    /// Plans that were issued before this may have run already: the journal that knew was lost.
    issued_from: Option<Timestamp>,
    /// Plans that expired before this may be forgotten, and are refused even if the clock goes back.
    forgotten_before: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    issuer: String,
    plan_id: PlanId,
    plan_hash: Digest,
    expires_at: Timestamp,
}

/// Says why a plan is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The same plan was let through before: the answer is that execution, also after expiry.
    #[error("the plan was admitted before, as execution `{execution_id}`")]
    Replayed {
        /// The execution that it runs as.
        execution_id: ExecutionId,
    },
    /// The plan's id was used before, with other bytes.
    #[error("the plan's id was used with other bytes")]
    Conflict,
    /// The execution was started by another plan.
    #[error("the execution was started by plan `{plan_id}`")]
    ExecutionConflict {
        /// That plan.
        plan_id: PlanId,
    },
    /// The token has expired.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// The token is not valid yet, clock skew included.
    #[error("the token is not valid before {0}")]
    NotYetValid(Timestamp),
    /// The token is older than the journal: whether its plan ran is not known.
    #[error("the token was issued before {0}, when the journal began anew")]
    IssuedBeforeRecovery(Timestamp),
}

// === impl Admitted ===

impl Admitted {
    /// The ticket that was let through.
    #[must_use]
    pub const fn ticket(&self) -> &Ticket {
        &self.0
    }

    /// Takes the ticket out, for the journal.
    #[must_use]
    pub fn into_ticket(self) -> Ticket {
        self.0
    }
}

// === impl Refusal ===

impl Refusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Replayed { .. } => "plan.replayed",
            Self::Conflict => "plan.conflict",
            Self::ExecutionConflict { .. } => "plan.execution_conflict",
            Self::Expired(_) => "plan.expired",
            Self::NotYetValid(_) => "plan.not_yet_valid",
            Self::IssuedBeforeRecovery(_) => "plan.issued_before_recovery",
        }
    }
}

// === impl Admission ===

impl Admission {
    /// The admission of a data plane whose journal is whole, or that never ran before.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The admission of a data plane that lost its journal before `started_at`, when the present one began.
    ///
    /// It refuses what may have run already: tokens issued before `started_at`, and `skew_ms` later by the
    /// issuer's clock. `started_at` stays the same over later restarts with the same journal.
    #[must_use]
    pub fn after_loss(started_at: Timestamp, skew_ms: i64) -> Self {
        Self { issued_from: Some(started_at.plus_ms(skew_ms)), ..Self::default() }
    }

    /// Takes back what the journal says was let through, in the journal's order.
    pub fn restore(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for ticket in tickets {
            self.remember(&ticket);
        }
    }

    /// Lets a plan through, or says why not. A refusal leaves the admission unchanged.
    ///
    /// # Errors
    /// [`Refusal`]; a plan that was let through before is [`Refusal::Replayed`] also after its expiry.
    pub fn admit(&mut self, ticket: Verified<Ticket>, now: Timestamp) -> Result<Admitted, Refusal> {
        let ticket = ticket.into_inner();
        self.check_known(&ticket)?;
        // Expiry first: it is said also while a journal is younger than a token's life, and so can be checked then.
        let forgotten = self.forgotten_before.is_some_and(|before| is_forgettable(ticket.expires_at, before));
        if now >= ticket.expires_at || forgotten {
            return Err(Refusal::Expired(ticket.expires_at));
        }
        if let Some(from) = self.issued_from.filter(|from| ticket.issued_at < *from) {
            return Err(Refusal::IssuedBeforeRecovery(from));
        }
        if now.plus_ms(SKEW_MS) < ticket.issued_at {
            return Err(Refusal::NotYetValid(ticket.issued_at));
        }
        self.remember(&ticket);
        Ok(Admitted(ticket))
    }

    /// Whether the execution was let through and is not forgotten.
    #[must_use]
    pub fn contains(&self, execution_id: ExecutionId) -> bool {
        self.executions.contains_key(&execution_id)
    }

    /// How many executions are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.executions.len()
    }

    /// Forgets plans that expired, clock skew included, before `before`, oldest first.
    ///
    /// The control plane may ask for an execution until it gives up on it; so `before` lies at least that
    /// far in the past.
    pub fn forget(&mut self, before: Timestamp) {
        self.forgotten_before = self.forgotten_before.max(Some(before));
        while let Some(execution_id) = self.order.front().copied() {
            let known = self.executions.get(&execution_id);
            if known.is_some_and(|known| !is_forgettable(known.expires_at, before)) {
                return;
            }
            self.order.pop_front();
            self.drop_execution(execution_id);
        }
    }

    fn check_known(&self, ticket: &Ticket) -> Result<(), Refusal> {
        let execution_id = self.plans.get(&ticket.issuer).and_then(|plans| plans.get(&ticket.plan_id));
        if let Some(execution_id) = execution_id {
            let same_hash =
                self.executions.get(execution_id).is_some_and(|known| known.plan_hash == ticket.plan_hash);
            // INVARIANT: equal hashes are equal bytes, so the execution in them is equal too.
            return Err(if same_hash && *execution_id == ticket.execution_id {
                Refusal::Replayed { execution_id: *execution_id }
            } else {
                Refusal::Conflict
            });
        }
        match self.executions.get(&ticket.execution_id) {
            Some(known) => Err(Refusal::ExecutionConflict { plan_id: known.plan_id }),
            None => Ok(()),
        }
    }

    fn remember(&mut self, ticket: &Ticket) {
        let known = Known {
            issuer: ticket.issuer.clone(),
            plan_id: ticket.plan_id,
            plan_hash: ticket.plan_hash,
            expires_at: ticket.expires_at,
        };
        if self.executions.insert(ticket.execution_id, known).is_none() {
            self.order.push_back(ticket.execution_id);
        }
        self.plans.entry(ticket.issuer.clone()).or_default().insert(ticket.plan_id, ticket.execution_id);
    }

    fn drop_execution(&mut self, execution_id: ExecutionId) {
        let Some(known) = self.executions.remove(&execution_id) else {
            return;
        };
        if let Some(plans) = self.plans.get_mut(&known.issuer) {
            plans.remove(&known.plan_id);
            if plans.is_empty() {
                self.plans.remove(&known.issuer);
            }
        }
    }
}

/// Whether a token that expires at `expires_at` is past any use at `before`, by any plane's clock.
fn is_forgettable(expires_at: Timestamp, before: Timestamp) -> bool {
    expires_at.plus_ms(SKEW_MS) < before
}
