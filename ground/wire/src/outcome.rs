//! Outcomes: how an execution ended, in typed fields only. No free text, no personal data (GDPR-3).

use serde::{Deserialize, Serialize};
use terms::{Digest, ExecutionId, PlanId, TenantId, Timestamp};

/// Most outcomes in one batch.
pub const BATCH_MAX: usize = 1_000;

/// How one execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The plan that was admitted for it.
    pub plan_id: PlanId,
    /// That plan's hash.
    pub plan_hash: Digest,
    /// How it ended.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// When the plan was admitted.
    pub accepted_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Milliseconds from admission to end.
    pub wall_time_ms: u64,
    /// Task executions.
    pub steps: u64,
    /// HTTP calls.
    pub http_calls: u64,
    /// How often it was resumed after a restart.
    pub resumes: u32,
    /// Bytes of output kept in the data plane.
    pub output_bytes: u64,
    /// SHA-256 of the output's bytes; zeros if there is none.
    pub output_digest: Digest,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It reached its end.
    Completed,
    /// It did not.
    Faulted,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// The status's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Faulted => "faulted",
            Self::Cancelled => "cancelled",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why an execution ended: a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason's stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// It reached its end.
    Ok = "ok",
    /// The workflow raised an error that nothing caught.
    Raised = "raised",
    /// An expression failed.
    Expression = "expression",
    /// A timeout of the workflow or a task.
    Timeout = "timeout",
    /// A call failed.
    Http = "http",
    /// A call to a host or address that is not allowed.
    EgressDenied = "egress_denied",
    /// More wall time than the plan allows.
    WallTimeLimit = "wall_time_limit",
    /// More steps than the plan allows.
    StepLimit = "step_limit",
    /// More memory than the plan allows.
    MemoryLimit = "memory_limit",
    /// More output than the plan allows.
    OutputLimit = "output_limit",
    /// More calls than the plan allows.
    HttpLimit = "http_limit",
    /// The data plane stopped between an effect and its record: whether it happened is unknown.
    EffectUnknown = "effect_unknown",
    /// An operator cancelled it.
    Cancelled = "cancelled",
    /// The data plane could not go on.
    Runtime = "runtime",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_written_as_its_stable_text() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{}\"", reason.as_str()));
        }
    }
}
