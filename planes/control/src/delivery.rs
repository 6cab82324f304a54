//! Getting executions to their data planes: `plan` decides, this drives.
//!
//! A start pushes its plan right after its commit; the timer drives everything that was left over, by rows that
//! are due. A row that is being driven is leased: its `due_at` lies ahead, so that a crash only delays it.

mod drive;
mod peers;
mod record;

pub(crate) use peers::{Peers, Pushed};

use crate::app::App;
use crate::refusal::{Answer, Refusal};
use crate::workflow_cache::Compiled;
use ::plan::{Cancel, Delivery, End, Event, Next, Policy, Stage};
use api::Code;
use std::sync::Arc;
use store::{ExecState, Execution, NewExecution};
use terms::{PlanId, Timestamp};
use tokio::sync::{Notify, Semaphore};
use wire::plan::{Plan, PlanBytes};

/// How long a driven row is left alone: longer than a push may take.
const LEASE_MS: i64 = 60_000;

/// What an outcome may take beyond the wall time that the plan allows: resuming after a restart, and its way here.
const OUTCOME_SLACK_MS: i64 = 60_000;

/// Most pushes at once; more wait, bounded by the rate of starts.
const PUSHES_MAX: usize = 256;

/// A plan that was drafted and signed, and the delivery that says so.
pub(crate) struct Prepared {
    pub(crate) delivery: store::NewDelivery,
    bytes: PlanBytes,
}

/// Sends what is ready and wakes the timer.
pub(crate) struct Dispatcher {
    peers: Peers,
    pushes: Arc<Semaphore>,
    wake: Notify,
}

impl Dispatcher {
    pub(crate) fn new() -> Self {
        Self { peers: Peers::default(), pushes: Arc::new(Semaphore::new(PUSHES_MAX)), wake: Notify::new() }
    }

    /// The connections to data planes.
    pub(crate) const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Something became due before its time.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something may be due.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Pushes a plan that was just made durable, in a task of its own.
    pub(crate) fn push(&self, app: Arc<App>, execution: Execution, prepared: Prepared) {
        let pushes = Arc::clone(&self.pushes);
        tokio::spawn(async move {
            let Ok(_slot) = pushes.acquire().await else { return };
            drive::push(&app, &execution, prepared.bytes, &prepared.delivery.token.compact).await;
        });
    }

    /// Drives one due row, in a task of its own.
    pub(crate) fn drive(&self, app: Arc<App>, execution: Execution) {
        let pushes = Arc::clone(&self.pushes);
        tokio::spawn(async move {
            let Ok(_slot) = pushes.acquire().await else { return };
            drive::drive(&app, execution).await;
        });
    }
}

/// How long a driven row is left alone.
pub(crate) const fn lease_until(now: Timestamp) -> Timestamp {
    now.plus_ms(LEASE_MS)
}

/// Drafts and signs the first plan of a new execution, as if it went out now.
pub(crate) fn prepare(
    app: &App,
    execution: &NewExecution,
    compiled: &Compiled,
    now: Timestamp,
) -> Answer<Prepared> {
    let run_ms =
        i64::try_from(execution.limits.wall_time_ms).unwrap_or(i64::MAX).saturating_add(OUTCOME_SLACK_MS);
    let mut delivery = Delivery::new(now, run_ms);
    let plan_id = PlanId::mint(now, app.entropy()?);
    let input = serde_json::from_slice(&execution.input).map_err(Refusal::internal)?;
    let draft = drive::draft(app, plan_id, execution.facts(), compiled, input, now);
    let (bytes, token) = drive::sign(app, &draft)?;
    delivery.apply(drafted(&draft, &bytes), now, 0, &POLICY).map_err(Refusal::internal)?;
    delivery.apply(Event::Sending, now, 0, &POLICY).map_err(Refusal::internal)?;
    let delivery = store::NewDelivery {
        state: ExecState::Sent,
        plan_id,
        plan_hash: bytes.hash(),
        plan_issued_at: draft.issued_at,
        token,
        due_at: lease_until(now),
        delivery: record::write(&delivery)?,
    };
    Ok(Prepared { delivery, bytes })
}

/// The plan that an execution was last sent with, drafted again to the same bytes, and its token as it went out.
pub(crate) async fn evidence(app: &App, execution: &Execution) -> Answer<(PlanBytes, String)> {
    let plan = last_plan(app, execution).await?;
    Ok((drive::write(&plan)?, drive::token(app, execution).await?))
}

/// The same plan under a new signature of the active key. Whoever has run it already answers that it has.
pub(crate) async fn signed_anew(app: &App, execution: &Execution) -> Answer<(PlanBytes, String)> {
    let (bytes, token) = drive::sign(app, &last_plan(app, execution).await?)?;
    Ok((bytes, token.compact))
}

async fn last_plan(app: &App, execution: &Execution) -> Answer<Plan> {
    let (Some(plan_id), Some(issued_at)) = (execution.plan_id, execution.plan_issued_at) else {
        return Err(Code::NotFound.into());
    };
    drive::redraft(app, execution, plan_id, issued_at).await
}

/// Marks an execution as cancelled, at once or for the driver.
pub(crate) fn cancelled(execution: Execution, now: Timestamp) -> Answer<Execution> {
    if execution.state.is_final() {
        return Err(Code::ExecutionEnded.into());
    }
    let mut delivery = record::read(&execution.delivery)?;
    delivery.apply(Event::CancelRequested, now, 0, &POLICY).map_err(Refusal::internal)?;
    let mut next = moved(execution, &delivery, now)?;
    next.cancel_requested = delivery.cancel != Cancel::No || next.state.is_final();
    next.due_at = next.due_at.map(|due| due.min(now));
    Ok(next)
}

const POLICY: Policy = Policy { retry_first_ms: 500, retry_max_ms: 60_000, give_up_ms: 24 * 3_600_000 };

fn drafted(plan: &Plan, bytes: &PlanBytes) -> Event {
    Event::Drafted { plan_id: plan.plan_id, plan_hash: bytes.hash(), issued_at: plan.issued_at }
}

/// The row after its delivery moved on.
fn moved(mut row: Execution, delivery: &Delivery, now: Timestamp) -> Answer<Execution> {
    match &delivery.stage {
        Stage::Queued => row.state = ExecState::Queued,
        Stage::Sent(sent) => {
            row.state = ExecState::Sent;
            row.plan_id = Some(sent.plan_id);
            row.plan_hash = Some(sent.plan_hash);
            row.plan_issued_at = Some(sent.issued_at);
        }
        Stage::Accepted(accepted) => {
            row.state = ExecState::Accepted;
            row.accepted_at = row.accepted_at.or(Some(accepted.at));
        }
        Stage::Ended(End::Cancelled) => row.state = ExecState::Cancelled,
        Stage::Ended(End::GivenUp(_)) => row.state = ExecState::GaveUp,
        // The outcome itself sets the state that it brings.
        Stage::Ended(End::Outcome) => {}
    }
    row.due_at = match delivery.next(now, &POLICY) {
        Next::Done => None,
        Next::Wait { until } => Some(until),
        Next::Draft | Next::Send | Next::Ask | Next::Cancel | Next::GiveUp(_) => Some(now),
    };
    row.delivery = record::write(delivery)?;
    Ok(row)
}
