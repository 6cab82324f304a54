//! Executions.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use terms::{Digest, ExecutionId, KeyId, Name, PlanId, Timestamp};
use wire::outcome::Outcome;
use wire::plan::{Limits, WorkflowVersion};

/// The request header that makes a start idempotent.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Most bytes of an input.
pub const INPUT_MAX: usize = 1024 * 1024;

/// Starts an execution of a workflow's latest version.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartExecution {
    /// Which workflow.
    pub workflow: Name,
    /// The input, any JSON.
    #[schemars(with = "serde_json::Value")]
    pub input: Box<RawValue>,
    /// Tighter limits than the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// An execution as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExecutionView {
    /// The id.
    pub id: ExecutionId,
    /// Which version of which workflow.
    pub workflow: WorkflowVersion,
    /// How far it is.
    pub state: ExecutionState,
    /// When it was started.
    pub created_at: Timestamp,
    /// What it may consume.
    pub limits: Limits,
    /// The plan that carries it, once one was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// The plan that carries an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlanView {
    /// The token's `jti`.
    pub id: PlanId,
    /// SHA-256 of the plan's bytes.
    pub hash: Digest,
    /// The key that signed its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// Which plan of this execution, from 1.
    pub attempt: u32,
}

/// An execution's plan as a data plane gets it, for anyone to verify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SignedPlanView {
    /// The token: a compact JWS (RFC 7515), signed by a key of the JWKS.
    pub token: String,
    /// The plan's exact bytes, standard base64.
    pub plan: String,
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Recorded; no plan was sent yet.
    Queued,
    /// A plan was sent; no answer yet.
    Sent,
    /// The data plane has it, durably.
    Accepted,
    /// It reached its end.
    Completed,
    /// It did not.
    Faulted,
    /// Somebody cancelled it.
    Cancelled,
    /// The data plane did not come back in time, or refused it.
    GaveUp,
}

impl ExecutionState {
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
        matches!(self, Self::Completed | Self::Faulted | Self::Cancelled | Self::GaveUp)
    }
}

/// Which executions to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionQuery {
    /// The cursor that the page before gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most items, 1 to 200; 50 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Name>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ExecutionState>,
}

/// How long to wait for the end before answering.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionWait {
    /// Milliseconds, at most 30 000; 0 or absent answers at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The longest wait for an execution's end.
pub const WAIT_MS_MAX: u64 = 30_000;

/// Outcomes that a data plane delivers. A second delivery changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverOutcomes {
    /// At most 1 000.
    pub outcomes: Vec<Outcome>,
}

/// Which of the delivered things are now durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Delivered {
    /// How many were new.
    pub new: u64,
    /// How many were known.
    pub known: u64,
    /// How many were refused; the audit log says why.
    pub refused: u64,
}
