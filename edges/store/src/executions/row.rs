//! An execution's row.

use crate::error::StoreError;
use crate::sql::{Columns, Row};
use terms::{Digest, ExecutionId, KeyId, Name, PlanId, TenantId, Timestamp};
use wire::outcome::Outcome;
use wire::plan::{Limits, WorkflowVersion};

/// The columns that [`read`] reads, in its order.
pub(super) const COLUMNS: &str = "id, tenant_id, workflow_id, workflow_name, workflow_version, state, limits, \
    plan_id, plan_hash, plan_issued_at, attempts, due_at, created_at, accepted_at, outcome, cancel_requested, \
    request_digest, delivery, plan_key";

/// An execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The id.
    pub id: ExecutionId,
    /// Whose.
    pub tenant: TenantId,
    /// Which version of which workflow.
    pub workflow: WorkflowVersion,
    /// How far it is.
    pub state: ExecState,
    /// What it may consume.
    pub limits: Limits,
    /// The plan that was last issued for it.
    pub plan_id: Option<PlanId>,
    /// That plan's hash.
    pub plan_hash: Option<Digest>,
    /// When that plan was issued.
    pub plan_issued_at: Option<Timestamp>,
    /// The key that signed its token.
    pub plan_key: Option<KeyId>,
    /// How often a plan went out.
    pub attempts: u32,
    /// When its delivery is next looked at.
    pub due_at: Option<Timestamp>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When the data plane had it.
    pub accepted_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whether somebody wants it cancelled.
    pub cancel_requested: bool,
    /// The digest of the request that started it.
    pub request_digest: Option<Digest>,
    /// The delivery's state, as the control plane wrote it.
    pub delivery: String,
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecState {
    /// Recorded.
    Queued,
    /// A plan went out.
    Sent,
    /// The data plane has it.
    Accepted,
    /// It reached its end.
    Completed,
    /// It did not.
    Faulted,
    /// Somebody cancelled it.
    Cancelled,
    /// It was given up.
    GaveUp,
}

/// An execution that is to be recorded.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// The id.
    pub id: ExecutionId,
    /// Whose.
    pub tenant: TenantId,
    /// Which version of which workflow.
    pub workflow: WorkflowVersion,
    /// What it may consume.
    pub limits: Limits,
    /// The input's JSON.
    pub input: Vec<u8>,
    /// What makes a retry of its start safe.
    pub idempotency: Option<Idempotency>,
    /// When it is started.
    pub created_at: Timestamp,
}

/// The delivery that a new execution begins with.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// How far it is.
    pub state: ExecState,
    /// Its first plan.
    pub plan_id: PlanId,
    /// That plan's hash.
    pub plan_hash: Digest,
    /// When that plan was issued.
    pub plan_issued_at: Timestamp,
    /// Its token.
    pub token: IssuedToken,
    /// When it is next looked at.
    pub due_at: Timestamp,
    /// The delivery's state, as the control plane writes it.
    pub delivery: String,
}

/// A plan's token as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The key that signed it.
    pub key: KeyId,
    /// The compact JWS.
    pub compact: String,
}

/// What makes a retry of a start safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key.
    pub key: String,
    /// The digest of the request that it came with.
    pub request_digest: Digest,
}

/// What a plan says about its execution.
#[derive(Debug, Clone, Copy)]
pub struct ExecutionFacts<'a> {
    /// The id.
    pub id: ExecutionId,
    /// Whose.
    pub tenant: TenantId,
    /// Which version of which workflow.
    pub workflow: &'a WorkflowVersion,
    /// What it may consume.
    pub limits: Limits,
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Only those of this workflow.
    pub workflow: Option<Name>,
    /// Only those in this state.
    pub state: Option<ExecState>,
}

/// What the control plane knows of a tenant's executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Plans that were accepted.
    pub accepted: u64,
    /// Outcomes received.
    pub outcomes: u64,
    /// Task executions in them.
    pub steps: u64,
    /// HTTP calls in them.
    pub http_calls: u64,
    /// Milliseconds in them.
    pub wall_time_ms: u64,
    /// Bytes of output in them.
    pub output_bytes: u64,
    /// Executions without an outcome.
    pub in_flight: u64,
}

impl ExecState {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Sent,
        Self::Accepted,
        Self::Completed,
        Self::Faulted,
        Self::Cancelled,
        Self::GaveUp,
    ];

    /// The state's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Completed => "completed",
            Self::Faulted => "faulted",
            Self::Cancelled => "cancelled",
            Self::GaveUp => "gave_up",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Sent | Self::Accepted => false,
            Self::Completed | Self::Faulted | Self::Cancelled | Self::GaveUp => true,
        }
    }
}

impl core::str::FromStr for ExecState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

impl Execution {
    /// What a plan says about it.
    #[must_use]
    pub const fn facts(&self) -> ExecutionFacts<'_> {
        ExecutionFacts { id: self.id, tenant: self.tenant, workflow: &self.workflow, limits: self.limits }
    }
}

impl NewExecution {
    /// What a plan says about it.
    #[must_use]
    pub const fn facts(&self) -> ExecutionFacts<'_> {
        ExecutionFacts { id: self.id, tenant: self.tenant, workflow: &self.workflow, limits: self.limits }
    }
}

/// The row that was just inserted.
pub(super) fn inserted(new: &NewExecution, delivery: &NewDelivery) -> Execution {
    Execution {
        id: new.id,
        tenant: new.tenant,
        workflow: new.workflow.clone(),
        state: delivery.state,
        limits: new.limits,
        plan_id: Some(delivery.plan_id),
        plan_hash: Some(delivery.plan_hash),
        plan_issued_at: Some(delivery.plan_issued_at),
        plan_key: Some(delivery.token.key.clone()),
        attempts: 1,
        due_at: Some(delivery.due_at),
        created_at: new.created_at,
        accepted_at: None,
        outcome: None,
        cancel_requested: false,
        request_digest: new.idempotency.as_ref().map(|i| i.request_digest),
        delivery: delivery.delivery.clone(),
    }
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(row: &Row) -> Result<Execution, StoreError> {
    let mut columns = Columns::of(row);
    Ok(Execution {
        id: columns.parsed("executions.id")?,
        tenant: columns.parsed("executions.tenant_id")?,
        workflow: WorkflowVersion {
            id: columns.parsed("executions.workflow_id")?,
            name: columns.parsed("executions.workflow_name")?,
            version: columns.small("executions.workflow_version")?,
        },
        state: columns.parsed("executions.state")?,
        limits: columns.json("executions.limits")?,
        plan_id: columns.parsed_or_none("executions.plan_id")?,
        plan_hash: columns.digest_or_none("executions.plan_hash")?,
        plan_issued_at: columns.time_or_none()?,
        attempts: columns.small("executions.attempts")?,
        due_at: columns.time_or_none()?,
        created_at: columns.time()?,
        accepted_at: columns.time_or_none()?,
        outcome: columns.json_or_none("executions.outcome")?,
        cancel_requested: columns.flag()?,
        request_digest: columns.digest_or_none("executions.request_digest")?,
        delivery: columns.text()?,
        plan_key: columns.parsed_or_none("executions.plan_key")?,
    })
}
