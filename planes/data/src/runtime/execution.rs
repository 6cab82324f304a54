//! One execution, from its acceptance to its end.
//!
//! Before a call leaves, its intent is durable; before anything follows from its answer, the answer is. Steps
//! that touch nothing outside need no record: they come out the same when they are replayed.

use super::history::{History, Past, reply};
use super::room::Room;
use super::{PARK_MS, Phase, Shared};
use crate::egress::Outgoing;
use crate::events::Happened;
use crate::journal::AppendError;
use crate::journal::record::{Accepted, Answered, CallUsage, Ended, Head, Record, Step};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use terms::{Digest, ExecutionId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wire::event::{EventKind, EventOutcome};
use wire::outcome::{Outcome, Reason, Status};
use wire::plan::{Limits, Plan};
use workflow::{Effect, FaultKind, HttpCall, Reply, Run, RuntimeContext};

/// Methods that a server has to take twice as once (RFC 9110 section 9.2.2): a call whose end is not known is
/// made again.
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// The first and the longest wait before the journal is tried again, when the disk is full.
const RETRY_MS: core::ops::RangeInclusive<u64> = 100..=5_000;

/// How an execution left its task.
#[derive(Debug)]
pub(super) enum Left {
    /// It ended, and its end is durable.
    Ended,
    /// It waits for so long that it is taken up again from the journal.
    Parked(Timestamp, Room),
    /// The process stops; the journal has everything that is needed.
    Stopped,
}

/// What the end of an execution is.
struct End {
    status: Status,
    reason: Reason,
    output: Bytes,
}

/// Says that the execution cannot go on in this process.
struct Stopped;

pub(super) struct Execution {
    shared: Arc<Shared>,
    accepted: Accepted,
    history: History,
    limits: Limits,
    room: Option<Room>,
    turn: Option<OwnedSemaphorePermit>,
    cancel: watch::Receiver<bool>,
    /// Which effect is next, from 1.
    number: u64,
    /// The latest time that the machine was told: a clock that goes back does not take it along.
    now: Timestamp,
    steps: u64,
    http_calls: u64,
    /// Whether the last call was refused by the way out.
    denied: bool,
}

impl Execution {
    pub(super) fn new(
        shared: Arc<Shared>,
        history: History,
        room: Room,
        cancel: watch::Receiver<bool>,
    ) -> Self {
        let accepted = history.accepted.clone();
        let now = accepted.at;
        Self {
            limits: shared.policy,
            shared,
            accepted,
            history,
            room: Some(room),
            turn: None,
            cancel,
            number: 0,
            now,
            steps: 0,
            http_calls: 0,
            denied: false,
        }
    }

    /// Runs to the end.
    pub(super) async fn run(mut self) -> Left {
        let end = match self.go().await {
            Ok(Going::Ended(end)) => end,
            Ok(Going::Parked(until)) => {
                return match self.room.take() {
                    Some(room) => Left::Parked(until, room.release_plan()),
                    None => Left::Stopped,
                };
            }
            Err(Stopped) => return Left::Stopped,
        };
        match self.end(end).await {
            Ok(()) => Left::Ended,
            Err(Stopped) => Left::Stopped,
        }
    }

    async fn go(&mut self) -> Result<Going, Stopped> {
        if self.history.cancelled {
            return Ok(cancelled());
        }
        let Some(plan) = self.read_plan().await else { return Ok(faulted(Reason::Runtime)) };
        self.limits = plan.limits.min(self.shared.policy);
        self.take_turn().await?;
        let Some(mut run) = self.prepare(&plan) else { return Ok(faulted(Reason::Runtime)) };
        let mut next = Reply::Start;
        loop {
            if *self.cancel.borrow() {
                return Ok(cancelled());
            }
            let (going, effect) = self.advance(run, next).await?;
            run = going;
            next = match effect {
                Effect::Completed(value) => return Ok(self.completed(&value)),
                Effect::Faulted(fault) => return Ok(faulted(self.reason(fault.kind))),
                Effect::Http(call) => match self.call(&call, &plan).await? {
                    Stepped::Reply(reply) => reply,
                    Stepped::End(going) => return Ok(going),
                },
                Effect::Wait { ms, .. } => match self.wait(ms).await? {
                    Stepped::Reply(reply) => reply,
                    Stepped::End(going) => return Ok(going),
                },
            };
        }
    }

    async fn read_plan(&mut self) -> Option<Plan> {
        let bytes = core::mem::take(&mut self.history.plan);
        if let Some(room) = &mut self.room {
            self.shared.rooms.hold_plan(room, bytes.len()).await;
        }
        // The bytes were verified when they were let through, and sealed since.
        Plan::read(&bytes).ok()
    }

    fn prepare(&self, plan: &Plan) -> Option<Run> {
        let program = self.shared.programs.compile(plan.document.get())?;
        let input = serde_json::from_str(plan.input.get()).ok()?;
        let Limits { wall_time_ms, steps, memory_bytes, output_bytes, http_calls } = self.limits;
        let limits = workflow::Limits { steps, wall_time_ms, memory_bytes, output_bytes, http_calls };
        let execution_id = self.accepted.execution_id.to_string();
        let context = RuntimeContext { execution_id, started_at: self.accepted.at };
        Some(Run::start(&program, input, limits, context))
    }

    /// Lets the machine go on, on a thread that may compute for a while.
    async fn advance(&mut self, mut run: Run, reply: Reply) -> Result<(Run, Effect), Stopped> {
        let now = self.now;
        let _turn = self.shared.interpreters.acquire().await.map_err(|_| Stopped)?;
        let computing = tokio::task::spawn_blocking(move || {
            let effect = run.advance(reply, now);
            (run, effect)
        });
        let (run, effect) = computing.await.map_err(|error| {
            tracing::error!(execution = %self.accepted.execution_id, %error, "the interpreter failed");
            Stopped
        })?;
        (self.steps, self.http_calls) = (run.steps(), run.http_calls());
        Ok((run, effect))
    }

    // === calls ===

    async fn call(&mut self, call: &HttpCall, plan: &Plan) -> Result<Stepped, Stopped> {
        self.number += 1;
        match self.history.take(self.number) {
            Some(Past::Done { at, answered, body }) => {
                self.now = at;
                self.denied = is_denied(&answered);
                return Ok(Stepped::Reply(reply(&answered, &body)));
            }
            Some(Past::Intended) if !IDEMPOTENT.contains(&call.method.as_str()) => {
                return Ok(Stepped::End(faulted(Reason::EffectUnknown)));
            }
            Some(Past::Waiting(_)) => return Ok(Stepped::End(faulted(Reason::Runtime))),
            Some(Past::Intended) => {}
            None => {
                if !self.shared.is_running() {
                    return Err(Stopped);
                }
                let step = self.step();
                self.persist(vec![Record::new(Head::Intent(step))]).await?;
            }
        }
        let outgoing = Outgoing {
            call,
            allowed: &plan.egress,
            execution_id: self.accepted.execution_id,
            number: self.number,
            answer_max: usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX),
        };
        let shared = Arc::clone(&self.shared);
        let (answer, usage) = tokio::select! {
            answered = shared.egress.call(&outgoing) => answered,
            () = raised(&mut self.cancel) => return Ok(Stepped::End(cancelled())),
            () = shared.reached(Phase::Stopped) => return Err(Stopped),
        };
        let (answered, body) = match answer {
            Ok(answer) => {
                (Answered::Http { status: answer.status, headers: answer.headers, usage }, answer.body.into())
            }
            Err(why) => (Answered::NoAnswer { why, usage }, Bytes::new()),
        };
        self.denied = is_denied(&answered);
        if self.denied {
            self.report_denied(&answered);
        }
        self.done(answered, body).await.map(Stepped::Reply)
    }

    /// Makes what came of the step durable, and only then lets anything follow from it.
    async fn done(&mut self, answered: Answered, body: Bytes) -> Result<Reply, Stopped> {
        let step = self.step();
        let next = reply(&answered, &body);
        self.persist(vec![Record { head: Head::Done(step, answered), body }]).await?;
        Ok(next)
    }

    fn report_denied(&self, answered: &Answered) {
        let Answered::NoAnswer { why, .. } = answered else { return };
        self.shared.events.report(Happened {
            kind: EventKind::EgressDenied,
            outcome: EventOutcome::Denied,
            reason: format!("egress.{}", why.as_str()),
            actor: format!("tenant/{}/workflow", self.shared.tenant),
            resource: format!("execution/{}", self.accepted.execution_id),
            address: None,
            count: 1,
        });
    }

    // === waits ===

    async fn wait(&mut self, ms: u64) -> Result<Stepped, Stopped> {
        self.number += 1;
        let until = match self.history.take(self.number) {
            Some(Past::Done { at, answered, body }) => {
                self.now = at;
                return Ok(Stepped::Reply(reply(&answered, &body)));
            }
            Some(Past::Waiting(until)) => until,
            Some(Past::Intended) => return Ok(Stepped::End(faulted(Reason::Runtime))),
            None => {
                // The machine counts from what it was told last.
                let until = self.now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX));
                let step = self.step();
                self.persist(vec![Record::new(Head::Waiting(step, until))]).await?;
                until
            }
        };
        // Others may run meanwhile.
        self.turn = None;
        if until.ms_since(self.shared.clock.now()) > PARK_MS {
            return Ok(Stepped::End(Going::Parked(until)));
        }
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.sleep_until(until) => {}
            () = raised(&mut self.cancel) => return Ok(Stepped::End(cancelled())),
            () = shared.reached(Phase::Draining) => return Err(Stopped),
        }
        self.take_turn().await?;
        self.now = self.now.max(until);
        let step = self.step();
        // Durable with whatever durable record comes next; until then it is only waited for again.
        let woke = Record::new(Head::Done(step, Answered::Woke));
        self.shared.journal.note(woke).await.map_err(|_| Stopped)?;
        Ok(Stepped::Reply(Reply::Waited))
    }

    async fn take_turn(&mut self) -> Result<(), Stopped> {
        let shared = Arc::clone(&self.shared);
        let turn = tokio::select! {
            turn = shared.rooms.turn() => turn,
            () = shared.reached(Phase::Draining) => None,
        };
        self.turn = Some(turn.ok_or(Stopped)?);
        Ok(())
    }

    // === the end ===

    fn completed(&self, value: &serde_json::Value) -> Going {
        match serde_json::to_vec(value) {
            Ok(output) => {
                Going::Ended(End { status: Status::Completed, reason: Reason::Ok, output: output.into() })
            }
            Err(_) => faulted(Reason::Runtime),
        }
    }

    fn reason(&self, kind: FaultKind) -> Reason {
        let wall_ms = i64::try_from(self.limits.wall_time_ms).unwrap_or(i64::MAX);
        match kind {
            FaultKind::Raised => Reason::Raised,
            FaultKind::Expression | FaultKind::Validation => Reason::Expression,
            FaultKind::Timeout if self.now >= self.accepted.at.plus_ms(wall_ms) => Reason::WallTimeLimit,
            FaultKind::Timeout => Reason::Timeout,
            FaultKind::StepLimit => Reason::StepLimit,
            FaultKind::MemoryLimit => Reason::MemoryLimit,
            FaultKind::OutputLimit => Reason::OutputLimit,
            FaultKind::HttpLimit => Reason::HttpLimit,
            FaultKind::Http if self.denied => Reason::EgressDenied,
            FaultKind::Http => Reason::Http,
            FaultKind::Runtime => Reason::Runtime,
        }
    }

    async fn end(&mut self, end: End) -> Result<(), Stopped> {
        let End { status, reason, output } = end;
        let finished_at = self.tick();
        let has_output = !output.is_empty();
        let outcome = Outcome {
            execution_id: self.accepted.execution_id,
            tenant_id: self.shared.tenant,
            plan_id: self.accepted.plan_id,
            plan_hash: self.accepted.plan_hash,
            status,
            reason,
            accepted_at: self.accepted.at,
            finished_at,
            wall_time_ms: u64::try_from(finished_at.ms_since(self.accepted.at)).unwrap_or(0),
            steps: self.steps,
            http_calls: self.http_calls,
            resumes: self.history.resumes,
            output_bytes: output.len() as u64,
            output_digest: if has_output { Digest::sha256(&output) } else { Digest::from_bytes([0; 32]) },
        };
        let ended = Record { head: Head::Ended(Ended { outcome }), body: output };
        self.persist(vec![ended]).await?;
        // Without a receiver the process stops, and the outcome comes back out of the journal.
        let _ = self.shared.outbox.send(outcome);
        Ok(())
    }

    // === records ===

    fn step(&mut self) -> Step {
        Step { execution_id: self.accepted.execution_id, number: self.number, at: self.tick() }
    }

    /// The time now, never before what the machine was told last.
    fn tick(&mut self) -> Timestamp {
        self.now = self.now.max(self.shared.clock.now());
        self.now
    }

    async fn persist(&self, records: Vec<Record>) -> Result<(), Stopped> {
        persist(&self.shared, self.accepted.execution_id, records).await.map_err(|_| Stopped)
    }
}

enum Going {
    Ended(End),
    Parked(Timestamp),
}

enum Stepped {
    Reply(Reply),
    End(Going),
}

/// Appends records, and tries again for as long as the journal may yet take them: nothing that happened is
/// forgotten because the disk is full.
pub(super) async fn persist(
    shared: &Shared,
    id: ExecutionId,
    records: Vec<Record>,
) -> Result<(), AppendError> {
    let mut retry_ms = *RETRY_MS.start();
    loop {
        match shared.journal.append(records.clone()).await {
            Err(AppendError::NotWritten(why)) => {
                tracing::error!(execution = %id, why, retry_ms, "the journal was not written; trying again");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    () = shared.reached(Phase::Stopped) => return Err(AppendError::Stopped),
                }
                retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
            }
            other => return other,
        }
    }
}

const fn faulted(reason: Reason) -> Going {
    Going::Ended(End { status: Status::Faulted, reason, output: Bytes::new() })
}

const fn cancelled() -> Going {
    Going::Ended(End { status: Status::Cancelled, reason: Reason::Cancelled, output: Bytes::new() })
}

const fn is_denied(answered: &Answered) -> bool {
    match answered {
        Answered::NoAnswer { why, usage: CallUsage { .. } } => why.is_denied(),
        Answered::Http { .. } | Answered::Woke => false,
    }
}

/// Resolves once the flag is raised; never if nobody can raise it any more.
async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|raised| *raised).await.is_err() {
        core::future::pending().await
    }
}
