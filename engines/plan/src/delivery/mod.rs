//! Gets one execution to its data plane: it never runs twice, and it runs if the data plane comes back in time.
//!
//! Whoever drives a delivery asks [`Delivery::next`] what to do, does it, and reports what came of it with
//! [`Delivery::apply`], saving the delivery after each report. [`Event::Sending`] is saved *before* the plan
//! goes out, so that a crash in between counts as a plan that may have arrived.
//!
//! ```text
//! Queued --drafted--> Sent --accepted, known--> Accepted --outcome--> Ended
//!    ^                 |
//!    '---- unknown, and the plan can run no more
//! ```

mod event;
mod stage;

pub use event::{Answer, Event, Misplaced, Next};
pub use stage::{Accepted, Cancel, End, GiveUp, Sent, Stage, Verdict};

use crate::SKEW_MS;
use terms::{Digest, PlanId, Timestamp};

/// How patient a delivery is. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first failure; it doubles with each further one.
    pub retry_first_ms: i64,
    /// The longest wait between two tries.
    pub retry_max_ms: i64,
    /// How long after its start an execution may still be sent.
    pub give_up_ms: i64,
}

/// One execution on its way. Plain data: it is kept as a row, and every field is part of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When the execution was started.
    pub queued_at: Timestamp,
    /// How long its outcome may take from admission, in milliseconds: what the plan allows, and some slack.
    pub run_ms: i64,
    /// Where it is.
    pub stage: Stage,
    /// Since when the data plane may have a plan of this execution without our knowing.
    pub exposed_since: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Nothing is done before.
    pub wait_until: Timestamp,
    /// Whether somebody wants it cancelled.
    pub cancel: Cancel,
    /// Why it is given up, once that is certain.
    pub doom: Option<GiveUp>,
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self { retry_first_ms: 500, retry_max_ms: 60_000, give_up_ms: 24 * 3_600_000 }
    }
}

// === impl Delivery ===

impl Delivery {
    /// A new execution, whose outcome may take `run_ms` from admission.
    #[must_use]
    pub const fn new(now: Timestamp, run_ms: i64) -> Self {
        Self {
            queued_at: now,
            run_ms,
            stage: Stage::Queued,
            exposed_since: None,
            failures: 0,
            wait_until: now,
            cancel: Cancel::No,
            doom: None,
        }
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self, now: Timestamp, policy: &Policy) -> Next {
        if matches!(self.stage, Stage::Ended(_)) {
            return Next::Done;
        }
        if let Some(reason) = &self.doom {
            return Next::GiveUp(reason.clone());
        }
        let deadline = self.queued_at.plus_ms(policy.give_up_ms);
        let step = match &self.stage {
            Stage::Queued if now >= deadline => return Next::GiveUp(GiveUp::Undelivered),
            Stage::Queued => Next::Draft,
            Stage::Sent(_) if now >= deadline && self.exposure().is_none() => {
                return Next::GiveUp(GiveUp::Undelivered);
            }
            Stage::Sent(sent) if now >= deadline.max(sent.dead_at()) => {
                return Next::GiveUp(GiveUp::Unanswered);
            }
            Stage::Sent(sent) if now >= deadline || self.must_ask(sent, now) => Next::Ask,
            Stage::Sent(_) => Next::Send,
            // A data plane that is gone with an execution is asked for as long as one that never had it.
            Stage::Accepted(accepted)
                if now >= accepted.at.plus_ms(self.run_ms).plus_ms(policy.give_up_ms) =>
            {
                return Next::GiveUp(GiveUp::Unanswered);
            }
            Stage::Accepted(_) if self.cancel == Cancel::Wanted => Next::Cancel,
            Stage::Accepted(_) => Next::Ask,
            Stage::Ended(_) => Next::Done,
        };
        if now < self.wait_until { Next::Wait { until: self.wait_until } } else { step }
    }

    /// Takes what came of it. `jitter` (0 to 65 535, evenly spread) keeps many deliveries from retrying
    /// at once.
    ///
    /// # Errors
    /// [`Misplaced`] for a step that [`Delivery::next`] would not have asked for; the delivery is unchanged.
    /// Answers that come late are not misplaced, they change nothing.
    pub fn apply(
        &mut self,
        event: Event,
        now: Timestamp,
        jitter: u16,
        policy: &Policy,
    ) -> Result<(), Misplaced> {
        match event {
            Event::Drafted { plan_id, plan_hash, issued_at } => {
                return self.drafted(plan_id, plan_hash, issued_at, now);
            }
            Event::Sending => return self.sending(now),
            Event::Unreachable => {
                self.settle_attempt(Settled::NeverLeft);
                self.back_off(now, jitter, policy);
            }
            Event::SendFailed => {
                self.settle_attempt(Settled::Unanswered);
                self.back_off(now, jitter, policy);
            }
            Event::Deferred => {
                self.settle_attempt(Settled::Refused);
                self.back_off(now, jitter, policy);
            }
            Event::Refused(code) => self.refused(&code, now, jitter, policy),
            Event::Accepted | Event::Asked(Answer::Known) => self.known(now, policy),
            Event::Asked(Answer::NoAnswer) => self.back_off(now, jitter, policy),
            Event::Asked(Answer::Unknown { journal_since }) => {
                self.unknown(journal_since, now, jitter, policy);
            }
            Event::CancelRequested => self.cancel_requested(now),
            Event::CancelTaken => self.cancel_taken(now),
            Event::OutcomeArrived => self.stage = Stage::Ended(End::Outcome),
            Event::GaveUp => return self.gave_up(now, policy),
        }
        Ok(())
    }

    /// Since when the data plane may have a plan of this execution without our knowing.
    fn exposure(&self) -> Option<Timestamp> {
        let under_way = match &self.stage {
            Stage::Sent(sent) => sent.under_way,
            Stage::Queued | Stage::Accepted(_) | Stage::Ended(_) => None,
        };
        self.exposed_since.or(under_way)
    }

    fn must_ask(&self, sent: &Sent, now: Timestamp) -> bool {
        sent.verdict != Verdict::Open || self.cancel != Cancel::No || now >= sent.expires_at()
    }

    fn drafted(
        &mut self,
        plan_id: PlanId,
        plan_hash: Digest,
        issued_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Misplaced> {
        let Stage::Queued = self.stage else {
            return Err(Misplaced);
        };
        self.stage = Stage::Sent(Sent {
            plan_id,
            plan_hash,
            issued_at,
            attempts: 0,
            under_way: None,
            verdict: Verdict::Open,
        });
        self.wait_until = now;
        Ok(())
    }

    fn sending(&mut self, now: Timestamp) -> Result<(), Misplaced> {
        // An attempt still under way here was cut off by a crash.
        self.settle_attempt(Settled::Unanswered);
        let Stage::Sent(sent) = &mut self.stage else {
            return Err(Misplaced);
        };
        sent.attempts = sent.attempts.saturating_add(1);
        sent.under_way = Some(now);
        Ok(())
    }

    fn refused(&mut self, code: &str, now: Timestamp, jitter: u16, policy: &Policy) {
        self.settle_attempt(Settled::Refused);
        let exposed = self.exposure().is_some();
        let Stage::Sent(sent) = &mut self.stage else {
            return;
        };
        sent.verdict = Verdict::from_code(code);
        match &sent.verdict {
            Verdict::Condemned(code) if !exposed => self.doom = Some(GiveUp::Refused(code.clone())),
            Verdict::Open | Verdict::Taken | Verdict::Void | Verdict::Condemned(_) => {
                self.back_off(now, jitter, policy);
            }
        }
    }

    fn known(&mut self, now: Timestamp, policy: &Policy) {
        match &self.stage {
            Stage::Sent(sent) => {
                let (plan_id, plan_hash) = (sent.plan_id, sent.plan_hash);
                self.stage = Stage::Accepted(Accepted { plan_id, plan_hash, at: now });
                self.wait_until = now.plus_ms(self.run_ms);
            }
            // It should have ended by now: it is asked for again, however short it was to run.
            Stage::Accepted(_) => self.wait_until = now.plus_ms(self.run_ms.max(policy.retry_max_ms)),
            Stage::Queued | Stage::Ended(_) => return,
        }
        self.failures = 0;
        if self.cancel == Cancel::Wanted {
            self.wait_until = now;
        }
    }

    fn unknown(&mut self, journal_since: Timestamp, now: Timestamp, jitter: u16, policy: &Policy) {
        let journal_saw_all = self.exposure().is_none_or(|since| journal_since.plus_ms(SKEW_MS) <= since);
        let sent = match &self.stage {
            Stage::Sent(sent) => sent,
            Stage::Accepted(_) => {
                self.doom = Some(GiveUp::JournalLost);
                return;
            }
            Stage::Queued | Stage::Ended(_) => return,
        };
        if !journal_saw_all {
            self.doom = Some(GiveUp::JournalLost);
            return;
        }
        if now < sent.dead_at() && sent.verdict != Verdict::Void {
            self.wait_until = sent.dead_at();
            return;
        }
        // No plan that was ever sent for this execution ran, and none can run any more.
        self.exposed_since = None;
        if let Verdict::Condemned(code) = &sent.verdict {
            self.doom = Some(GiveUp::Refused(code.clone()));
        } else if self.cancel == Cancel::No {
            self.stage = Stage::Queued;
            self.back_off(now, jitter, policy);
        } else {
            self.stage = Stage::Ended(End::Cancelled);
        }
    }

    fn cancel_requested(&mut self, now: Timestamp) {
        match self.stage {
            Stage::Queued | Stage::Sent(_) if self.exposure().is_none() => {
                self.stage = Stage::Ended(End::Cancelled);
            }
            Stage::Queued | Stage::Sent(_) | Stage::Accepted(_) if self.cancel == Cancel::No => {
                self.cancel = Cancel::Wanted;
                self.failures = 0;
                self.wait_until = now;
            }
            Stage::Queued | Stage::Sent(_) | Stage::Accepted(_) | Stage::Ended(_) => {}
        }
    }

    fn cancel_taken(&mut self, now: Timestamp) {
        if matches!(self.stage, Stage::Accepted(_)) && self.cancel == Cancel::Wanted {
            self.cancel = Cancel::Taken;
            self.failures = 0;
            self.wait_until = now.plus_ms(self.run_ms);
        }
    }

    fn gave_up(&mut self, now: Timestamp, policy: &Policy) -> Result<(), Misplaced> {
        let Next::GiveUp(reason) = self.next(now, policy) else {
            return Err(Misplaced);
        };
        self.stage = Stage::Ended(End::GivenUp(reason));
        Ok(())
    }

    fn settle_attempt(&mut self, settled: Settled) {
        let Stage::Sent(sent) = &mut self.stage else {
            return;
        };
        let Some(since) = sent.under_way.take() else {
            return;
        };
        match settled {
            Settled::Unanswered => self.exposed_since = self.exposed_since.or(Some(since)),
            Settled::NeverLeft | Settled::Refused => {}
        }
    }

    fn back_off(&mut self, now: Timestamp, jitter: u16, policy: &Policy) {
        let doublings = self.failures.min(32);
        let longest = policy.retry_first_ms.saturating_mul(1 << doublings).min(policy.retry_max_ms);
        // Half of the wait is fixed, half of it is spread.
        let half = longest / 2;
        let spread = half.saturating_mul(i64::from(jitter)) / i64::from(u16::MAX);
        self.failures = self.failures.saturating_add(1);
        self.wait_until = now.plus_ms(half.saturating_add(spread));
    }
}

/// What is known of an attempt that is over.
#[derive(Debug, Clone, Copy)]
enum Settled {
    NeverLeft,
    Unanswered,
    Refused,
}
