//! The plan gate: size, header, signature, claims, hash, and only then admission; durable before the answer.

use crate::events::{Events, Happened};
use crate::journal::AppendError;
use crate::journal::record::Accepted;
use crate::keys::{KeyRefusal, PlanKeys};
use crate::runtime::{Room, Runtime};
use api::data_plane::PlanAccepted;
use bytes::Bytes;
use host::clock::Clock;
use notary::{Expected, PlanRefusal, SignedPlan, verify_plan};
use plan::{Admission, Admitted, Refusal, Ticket};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::{ExecutionId, Timestamp, Unverified, Verified};
use tokio::sync::watch;
use wire::event::{EventKind, EventOutcome};
use wire::plan::PlanBytes;
use wire::plan_token::{PlanToken, TokenError};

/// How long a second delivery of a plan waits for the first to be durable.
const DURABLE_WAIT: Duration = Duration::from_secs(5);

/// Says why a plan is not taken. Every variant has its own reason code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    /// The request carries no token.
    #[error("the plan token is missing")]
    TokenMissing,
    /// The plan is larger than plans may be.
    #[error("the plan has more than {} bytes", wire::plan::BYTES_MAX)]
    TooLarge,
    /// The plan's bytes did not arrive.
    #[error("the plan did not arrive whole")]
    Unreadable,
    /// The body is of another media type.
    #[error("the body is not {}", wire::plan::MEDIA_TYPE)]
    MediaType,
    /// There is no key to verify it with now.
    #[error(transparent)]
    Keys(KeyRefusal),
    /// It is not what it must be.
    #[error(transparent)]
    Plan(#[from] PlanRefusal),
    /// It may not run.
    #[error(transparent)]
    Admission(Refusal),
    /// There is no room for it now.
    #[error("the data plane has as many executions as it can take")]
    Full,
    /// It is not durable now.
    #[error("the plan is not recorded: {0}")]
    NotRecorded(AppendError),
}

/// The gate.
pub struct Gate {
    keys: PlanKeys,
    expected: Expected,
    runtime: Runtime,
    events: Events,
    clock: Clock,
    state: Mutex<State>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    /// Admitted plans on their way into the journal.
    recording: HashMap<ExecutionId, watch::Receiver<bool>>,
}

/// What admission says of a plan.
enum Decided {
    New(Admitted, Room, watch::Sender<bool>),
    Replayed(ExecutionId, Option<watch::Receiver<bool>>),
}

// === impl GateRefusal ===

impl GateRefusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "plan.token_missing",
            Self::TooLarge => "plan.too_large",
            Self::Unreadable => "plan.unreadable",
            Self::MediaType => "plan.media_type",
            Self::Keys(KeyRefusal::Unknown(_)) => "plan.unknown_key",
            Self::Keys(KeyRefusal::Unavailable { .. }) => "plan.keys_unavailable",
            Self::Plan(refusal) => refusal.code(),
            Self::Admission(refusal) => refusal.code(),
            Self::Full => "plan.overloaded",
            Self::NotRecorded(_) => "plan.not_recorded",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TokenMissing | Self::Unreadable => 400,
            Self::TooLarge | Self::Plan(PlanRefusal::Token(TokenError::TooLarge(_))) => 413,
            Self::MediaType => 415,
            Self::Keys(KeyRefusal::Unavailable { .. }) | Self::Full | Self::NotRecorded(_) => 503,
            Self::Plan(PlanRefusal::Token(_) | PlanRefusal::Malformed(_)) => 400,
            Self::Admission(
                Refusal::Conflict | Refusal::ExecutionConflict { .. } | Refusal::Replayed { .. },
            ) => 409,
            Self::Keys(KeyRefusal::Unknown(_)) | Self::Plan(_) | Self::Admission(_) => 403,
        }
    }

    /// What kind of security event it is; none for a data plane that is only busy.
    const fn event(&self) -> Option<EventKind> {
        match self {
            Self::Admission(Refusal::Conflict | Refusal::ExecutionConflict { .. }) => {
                Some(EventKind::PlanConflict)
            }
            Self::Full | Self::NotRecorded(_) | Self::Unreadable => None,
            Self::TokenMissing
            | Self::TooLarge
            | Self::MediaType
            | Self::Keys(_)
            | Self::Plan(_)
            | Self::Admission(_) => Some(EventKind::PlanRefused),
        }
    }
}

// === impl Gate ===

impl Gate {
    /// A gate that lets through whatever `admission` does, and no more than once.
    #[must_use]
    pub fn new(
        keys: PlanKeys,
        expected: Expected,
        admission: Admission,
        runtime: Runtime,
        events: Events,
        clock: Clock,
    ) -> Self {
        let state = Mutex::new(State { admission, recording: HashMap::new() });
        Self { keys, expected, runtime, events, clock, state, refused: Mutex::default() }
    }

    /// Takes a token apart, before a byte of the plan is read.
    ///
    /// # Errors
    /// [`GateRefusal`].
    pub fn split(token: Option<&[u8]>) -> Result<PlanToken, GateRefusal> {
        let token = token.ok_or(GateRefusal::TokenMissing)?;
        let text = core::str::from_utf8(token).map_err(|_| PlanRefusal::Token(TokenError::Encoding))?;
        Ok(PlanToken::split(text).map_err(PlanRefusal::Token)?)
    }

    /// Verifies a plan, admits it once, records it durably, and runs it.
    ///
    /// # Errors
    /// [`GateRefusal`]; nothing has changed then, except after [`GateRefusal::NotRecorded`], when the plan will
    /// still be recorded and run if that becomes possible.
    pub async fn take(
        &self,
        token: PlanToken,
        plan: Bytes,
        from: IpAddr,
    ) -> Result<PlanAccepted, GateRefusal> {
        let signed = self.verify(token, plan).await?;
        let now = self.clock.now();
        let (ticket, plan) = part(signed);
        match self.decide(ticket, plan.len(), now)? {
            Decided::New(admitted, room, durable) => {
                let execution_id = admitted.ticket().execution_id;
                let accepted = Accepted::new(admitted.into_ticket(), now);
                self.record(room, accepted, plan, durable).await.map_err(GateRefusal::NotRecorded)?;
                Ok(PlanAccepted { execution_id, replayed: false })
            }
            Decided::Replayed(execution_id, recording) => {
                if let Some(mut recording) = recording {
                    let durable =
                        tokio::time::timeout(DURABLE_WAIT, recording.wait_for(|durable| *durable)).await;
                    if !matches!(durable, Ok(Ok(_))) {
                        let why = "the first delivery is not recorded yet".to_owned();
                        return Err(GateRefusal::NotRecorded(AppendError::NotWritten(why)));
                    }
                }
                self.report_replay(execution_id, from);
                Ok(PlanAccepted { execution_id, replayed: true })
            }
        }
    }

    /// Counts a refusal and says it as a security event.
    pub fn refuse(&self, refusal: &GateRefusal, from: IpAddr) {
        *locked(&self.refused).entry(refusal.code()).or_default() += 1;
        if let Some(kind) = refusal.event() {
            self.report(kind, EventOutcome::Denied, refusal.code(), self.events.own_resource(), from);
        }
    }

    /// How many plans were refused, by reason code.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.refused).clone()
    }

    /// Whether the execution was admitted and is on its way into the journal.
    #[must_use]
    pub fn is_recording(&self, id: ExecutionId) -> bool {
        let mut state = locked(&self.state);
        state.settle();
        state.recording.contains_key(&id)
    }

    /// Forgets plans whose token expired at or before `expiry`.
    pub fn forget(&self, expiry: Timestamp) {
        let mut state = locked(&self.state);
        state.settle();
        state.admission.forget(expiry.plus_ms(plan::SKEW_MS).plus_ms(1));
    }

    async fn verify(&self, token: PlanToken, plan: Bytes) -> Result<Verified<SignedPlan>, GateRefusal> {
        if plan.len() > wire::plan::BYTES_MAX {
            return Err(GateRefusal::TooLarge);
        }
        let key = self.keys.find(&token.header().kid).await.map_err(GateRefusal::Keys)?;
        let bytes = Unverified::new(PlanBytes::new(plan.into()));
        Ok(verify_plan(Unverified::new(token), bytes, |_| Some(key), &self.expected)?)
    }

    fn decide(&self, ticket: Verified<Ticket>, bytes: usize, now: Timestamp) -> Result<Decided, GateRefusal> {
        let id = ticket.execution_id;
        let mut state = locked(&self.state);
        state.settle();
        // Room first: what is admitted must be able to run. A plan that is known needs none.
        let room = if state.admission.contains(id) {
            None
        } else if self.runtime.knows(id) {
            // It outlived the memory of its admission.
            return Err(GateRefusal::Admission(Refusal::ExecutionConflict { plan_id: ticket.plan_id }));
        } else {
            Some(self.runtime.reserve(bytes).ok_or(GateRefusal::Full)?)
        };
        match (state.admission.admit(ticket, now), room) {
            (Ok(admitted), Some(room)) => {
                let (durable, recording) = watch::channel(false);
                state.recording.insert(id, recording);
                Ok(Decided::New(admitted, room, durable))
            }
            // INVARIANT: what admission does not contain, it may admit; what it contains, it never does.
            (Ok(_), None) => Err(GateRefusal::Full),
            (Err(Refusal::Replayed { execution_id }), _) => {
                Ok(Decided::Replayed(execution_id, state.recording.get(&execution_id).cloned()))
            }
            (Err(refusal), _) => Err(GateRefusal::Admission(refusal)),
        }
    }

    /// Records in a task of its own: a caller that goes away must not leave a plan admitted and not recorded.
    async fn record(
        &self,
        room: Room,
        accepted: Accepted,
        plan: Bytes,
        durable: watch::Sender<bool>,
    ) -> Result<(), AppendError> {
        let runtime = self.runtime.clone();
        let recording = tokio::spawn(async move { runtime.accept(room, accepted, plan, durable).await });
        recording.await.map_err(|_| AppendError::Stopped)?
    }

    fn report_replay(&self, id: ExecutionId, from: IpAddr) {
        let resource = format!("execution/{id}");
        self.report(EventKind::PlanReplayed, EventOutcome::Success, "plan.replayed", resource, from);
    }

    fn report(&self, kind: EventKind, outcome: EventOutcome, reason: &str, resource: String, from: IpAddr) {
        self.events.report(Happened {
            kind,
            outcome,
            reason: reason.to_owned(),
            actor: "control-plane".to_owned(),
            resource,
            address: Some(from),
            count: 1,
        });
    }
}

impl State {
    /// Lets go of what is durable.
    fn settle(&mut self) {
        self.recording.retain(|_, durable| !*durable.borrow());
    }
}

/// What admission needs to know of a verified plan, and the plan's bytes.
fn part(signed: Verified<SignedPlan>) -> (Verified<Ticket>, Bytes) {
    let mut plan = Bytes::new();
    let ticket = signed.try_map(|signed| {
        plan = signed.bytes.into_bytes().into();
        Ok::<_, core::convert::Infallible>(Ticket {
            issuer: signed.claims.iss,
            plan_id: signed.claims.jti,
            execution_id: signed.plan.execution_id,
            plan_hash: signed.claims.plan_hash,
            issued_at: Timestamp::from_unix_s(signed.claims.iat),
            expires_at: Timestamp::from_unix_s(signed.claims.exp),
        })
    });
    let Ok(ticket) = ticket;
    (ticket, plan)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
