//! The plan: what a data plane is asked to run, as exact bytes.

use crate::json::{self, Bounds, JsonError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use terms::{Digest, ExecutionId, HostPattern, Name, PlanId, TenantId, Timestamp, WorkflowId};

/// Media type of a plan's bytes.
pub const MEDIA_TYPE: &str = "application/vnd.palisade.plan+json;v=1";

/// Most bytes of a plan: a 1 MiB document, a 1 MiB input and the envelope around them.
pub const BYTES_MAX: usize = 2 * 1024 * 1024 + 64 * 1024;

/// Bounds of a plan. 64 levels hold every workflow that the language allows.
pub const BOUNDS: Bounds = Bounds { bytes: BYTES_MAX, depth: 64, nodes: 200_000 };

/// Most hosts that one plan may call.
pub const EGRESS_MAX: usize = 64;

/// A plan. Its hash is over the bytes that were sent, so it is written once and never again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format version: 1.
    pub v: u8,
    /// The `jti` of the token that carries this plan.
    pub plan_id: PlanId,
    /// The execution that this plan is for.
    pub execution_id: ExecutionId,
    /// The tenant whose data plane runs it.
    pub tenant_id: TenantId,
    /// The control plane's public URL, equal to the token's `iss`.
    pub issuer: String,
    /// Which workflow, for people who read logs.
    pub workflow: WorkflowVersion,
    /// When the plan was drafted.
    pub issued_at: Timestamp,
    /// What the execution may consume.
    pub limits: Limits,
    /// Hosts that `call: http` may reach; empty allows none.
    pub egress: Vec<HostPattern>,
    /// The workflow document, as it was applied.
    pub document: Box<RawValue>,
    /// The input.
    pub input: Box<RawValue>,
}

/// One version of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowVersion {
    /// The workflow.
    pub id: WorkflowId,
    /// Its name.
    pub name: Name,
    /// Counts up from 1 with each applied version.
    pub version: u32,
}

/// What one execution may consume. The data plane enforces the smaller of these and its own policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds from start to end, waits included.
    pub wall_time_ms: u64,
    /// Task executions.
    pub steps: u64,
    /// Bytes of data that the interpreter may hold.
    pub memory_bytes: u64,
    /// Bytes of output.
    pub output_bytes: u64,
    /// HTTP calls, retries included.
    pub http_calls: u64,
}

impl Limits {
    /// Each limit is the smaller one of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            wall_time_ms: self.wall_time_ms.min(other.wall_time_ms),
            steps: self.steps.min(other.steps),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            output_bytes: self.output_bytes.min(other.output_bytes),
            http_calls: self.http_calls.min(other.http_calls),
        }
    }
}

/// A plan's bytes with their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanBytes {
    bytes: Vec<u8>,
    hash: Digest,
}

/// Says why bytes are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not strict JSON of a plan's shape.
    #[error("not a plan: {0}")]
    Json(#[from] JsonError),
    /// A version that this release does not know.
    #[error("plan version `{0}` is not known")]
    Version(u8),
    /// More hosts than a plan may call.
    #[error("the plan allows {0} hosts, more than {EGRESS_MAX}")]
    Egress(usize),
}

impl PlanBytes {
    /// Hashes `bytes`, before anyone parses them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let hash = Digest::sha256(&bytes);
        Self { bytes, hash }
    }

    /// The exact bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 over the exact bytes: the token's `plan_hash`.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The number of bytes: the token's `plan_len`.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Takes the bytes out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Plan {
    /// Writes the plan, once.
    ///
    /// # Errors
    /// [`PlanError::Json`] if it is larger than [`BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<PlanBytes, PlanError> {
        let bytes = serde_json::to_vec(self).map_err(|e| JsonError::Malformed(e.to_string()))?;
        if bytes.len() > BYTES_MAX {
            return Err(JsonError::TooLarge { size: bytes.len(), max: BYTES_MAX }.into());
        }
        Ok(PlanBytes::new(bytes))
    }

    /// Reads a plan from bytes whose hash was compared.
    ///
    /// # Errors
    /// [`PlanError`] for anything that is not exactly a plan.
    pub fn read(bytes: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = json::read(bytes, &BOUNDS)?;
        if plan.v != 1 {
            return Err(PlanError::Version(plan.v));
        }
        if plan.egress.len() > EGRESS_MAX {
            return Err(PlanError::Egress(plan.egress.len()));
        }
        Ok(plan)
    }
}
