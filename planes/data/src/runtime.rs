//! Runs what was let through: one task per execution, bounded in number, resumed after a crash.
//!
//! ```text
//! admitted --> Room --> turn --> machine <--> effects (calls, waits), each journalled --> end --> outbox
//!                         ^                        |
//!                         '---- parked until due <-'
//! ```
//! After a restart a run is stepped through its recorded replies at their recorded times, which brings it to the
//! effect that was under way. A wait goes on until its recorded deadline. A call whose intent is there but not its
//! end is made again if its method is idempotent (with the same `Idempotency-Key`), and otherwise the execution
//! ends with `effect_unknown`: a call is never silently made twice.

mod execution;
mod history;
mod program;
mod room;

pub use room::Room;

use crate::egress::Egress;
use crate::events::Events;
use crate::journal::record::{Accepted, Head, Record};
use crate::journal::{AppendError, Journal, Known};
use crate::outcome::Outbox;
use bytes::Bytes;
use execution::{Execution, Left, persist};
use history::History;
use host::clock::Clock;
use program::Programs;
use room::Rooms;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::{ExecutionId, TenantId, Timestamp};
use tokio::sync::{Semaphore, watch};
use wire::plan::Limits;
use workflow::Checks;

/// Waits that are longer leave memory and are taken up again from the journal.
const PARK_MS: i64 = 60_000;

/// The longest sleep between two looks at the clock: a clock that jumps is noticed within it.
const LOOK_EVERY_MS: i64 = 30_000;

/// What a runtime is made of.
pub struct Parts {
    /// Whose it is.
    pub tenant: TenantId,
    /// Where everything is recorded.
    pub journal: Journal,
    /// The way out.
    pub egress: Egress,
    /// Where outcomes go.
    pub outbox: Outbox,
    /// Where security events go.
    pub events: Events,
    /// What time it is.
    pub clock: Clock,
    /// The operator's own limits: no plan gets more.
    pub policy: Limits,
    /// What a document must pass.
    pub checks: Checks,
}

/// A running runtime; clones share it.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

/// What all executions share.
struct Shared {
    tenant: TenantId,
    journal: Journal,
    egress: Egress,
    outbox: Outbox,
    events: Events,
    clock: Clock,
    policy: Limits,
    programs: Programs,
    rooms: Rooms,
    /// As many machines compute at once as there are processors.
    interpreters: Semaphore,
    live: Mutex<HashMap<ExecutionId, Live>>,
    phase: watch::Sender<Phase>,
    /// How many executions have a task.
    tasks: watch::Sender<usize>,
}

/// How far the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It runs.
    Running,
    /// No effect begins any more; those under way come to their end.
    Draining,
    /// Whatever is under way is dropped.
    Stopped,
}

/// An execution that has not ended.
enum Live {
    /// It has a task, which this tells to stop.
    Running(watch::Sender<bool>),
    /// It waits for its time, or to be woken.
    Parked(watch::Sender<bool>),
}

/// What came of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It will stop; that is durable.
    Taken,
    /// It had ended.
    Ended,
    /// There is no such execution.
    Unknown,
}

impl Runtime {
    /// Makes a runtime of its parts; nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { tenant, journal, egress, outbox, events, clock, policy, checks } = parts;
        let processors = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        Self(Arc::new(Shared {
            tenant,
            journal,
            egress,
            outbox,
            events,
            clock,
            policy,
            programs: Programs::new(checks),
            rooms: Rooms::new(),
            interpreters: Semaphore::new(processors),
            live: Mutex::default(),
            phase: watch::Sender::new(Phase::Running),
            tasks: watch::Sender::new(0),
        }))
    }

    /// Room for a plan of `bytes`; none when the data plane is full.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> Option<Room> {
        if *self.0.phase.borrow() >= Phase::Draining {
            return None;
        }
        self.0.rooms.try_reserve(bytes)
    }

    /// Whether the journal has the execution.
    #[must_use]
    pub fn knows(&self, id: ExecutionId) -> bool {
        self.0.journal.known(id).is_some()
    }

    /// Records an admitted plan, durably, and runs it.
    ///
    /// # Errors
    /// [`AppendError::NotWritten`] at the first failed try; further tries follow in the background, because what
    /// was admitted may not be admitted again. `durable` is told once it is.
    pub async fn accept(
        &self,
        room: Room,
        accepted: Accepted,
        plan: Bytes,
        durable: watch::Sender<bool>,
    ) -> Result<(), AppendError> {
        let id = accepted.execution_id;
        let record = Record { head: Head::Accepted(accepted.clone()), body: plan.clone() };
        let first = self.0.journal.append(vec![record.clone()]).await;
        match first {
            Ok(()) => {
                durable.send_replace(true);
                self.spawn(room, History::begin(accepted, plan));
                Ok(())
            }
            Err(AppendError::NotWritten(why)) => {
                let this = self.clone();
                tokio::spawn(async move {
                    if persist(&this.0, id, vec![record]).await.is_ok() {
                        durable.send_replace(true);
                        this.spawn(room, History::begin(accepted, plan));
                    }
                });
                Err(AppendError::NotWritten(why))
            }
            Err(AppendError::Stopped) => Err(AppendError::Stopped),
        }
    }

    /// Goes on with executions that were let through before a restart, in their order.
    pub async fn resume(&self, ids: Vec<ExecutionId>) {
        for id in ids {
            let Some(room) = self.0.rooms.reserve().await else { return };
            if self.0.journal.append(vec![Record::new(Head::Resumed(id))]).await.is_err() {
                tracing::warn!(execution = %id, "the resumption was not recorded");
            }
            self.reload(id, room, false).await;
        }
    }

    /// Stops an execution, durably.
    ///
    /// # Errors
    /// [`AppendError`] if that is not recorded.
    pub async fn cancel(&self, id: ExecutionId) -> Result<Cancelled, AppendError> {
        match self.0.journal.known(id) {
            None => return Ok(Cancelled::Unknown),
            Some(Known::Ended) => return Ok(Cancelled::Ended),
            Some(Known::Live) => {}
        }
        self.0.journal.append(vec![Record::new(Head::Cancelled(id))]).await?;
        if let Some(Live::Running(flag) | Live::Parked(flag)) = self.0.live().get(&id) {
            flag.send_replace(true);
        }
        Ok(Cancelled::Taken)
    }

    /// How many executions have not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        self.0.live().len()
    }

    /// Stops: no effect begins any more, those under way have `grace` to come to their end. The journal has
    /// everything that is needed to go on after a restart.
    pub async fn stop(&self, grace: Duration) {
        self.0.phase.send_replace(Phase::Draining);
        let mut tasks = self.0.tasks.subscribe();
        if tokio::time::timeout(grace, tasks.wait_for(|tasks| *tasks == 0)).await.is_err() {
            tracing::warn!("calls are cut off; whether they had their effect is not known");
        }
        self.0.phase.send_replace(Phase::Stopped);
    }

    async fn reload(&self, id: ExecutionId, room: Room, cancelled: bool) {
        let history = self.0.journal.run(id).await.map(History::read);
        match history {
            Ok(Some(mut history)) => {
                history.cancelled |= cancelled;
                self.spawn(room, history);
            }
            Ok(None) => {
                tracing::error!(execution = %id, "an execution's records do not begin with its acceptance")
            }
            Err(error) => tracing::error!(execution = %id, %error, "an execution cannot be read back"),
        }
    }

    fn spawn(&self, room: Room, history: History) {
        let id = history.accepted.execution_id;
        let (flag, cancel) = watch::channel(history.cancelled);
        self.0.live().insert(id, Live::Running(flag.clone()));
        // A cancellation that came before the flag was there is in the journal.
        if self.0.journal.is_cancelled(id) {
            flag.send_replace(true);
        }
        let execution = Execution::new(Arc::clone(&self.0), history, room, cancel);
        let this = self.clone();
        let task = Task::count(&self.0);
        tokio::spawn(async move {
            let _task = task;
            match execution.run().await {
                Left::Ended => {
                    this.0.live().remove(&id);
                }
                Left::Parked(until, room) => this.park(id, until, room),
                Left::Stopped => {}
            }
        });
    }

    /// Waits without the machine: a timer, a flag and a place in the journal.
    fn park(&self, id: ExecutionId, until: Timestamp, room: Room) {
        let mut woken = {
            let mut live = self.0.live();
            let Some(Live::Running(flag)) = live.remove(&id) else { return };
            let woken = flag.subscribe();
            live.insert(id, Live::Parked(flag));
            woken
        };
        let this = self.clone();
        tokio::spawn(async move {
            let cancelled = tokio::select! {
                () = this.0.sleep_until(until) => false,
                raised = woken.wait_for(|raised| *raised) => raised.is_ok(),
                () = this.0.reached(Phase::Draining) => return,
            };
            this.reload(id, room, cancelled).await;
        });
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<ExecutionId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the runtime is as far as `phase`.
    async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        // The sender lives in `self`.
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// Whether effects may still begin.
    fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    async fn sleep_until(&self, until: Timestamp) {
        loop {
            let left_ms = until.ms_since(self.clock.now());
            if left_ms <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left_ms.min(LOOK_EVERY_MS).unsigned_abs())).await;
        }
    }
}

/// One in the number of tasks.
struct Task(Arc<Shared>);

impl Task {
    fn count(shared: &Arc<Shared>) -> Self {
        shared.tasks.send_modify(|tasks| *tasks += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|tasks| *tasks = tasks.saturating_sub(1));
    }
}
