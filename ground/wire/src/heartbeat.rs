//! The heartbeat: what a sidecar swears to.

use crate::json::{self, Bounds, JsonError};
use serde::{Deserialize, Serialize};
use terms::{Digest, SidecarId, TenantId};

/// The DSSE payload type.
pub const PAYLOAD_TYPE: &str = "application/vnd.palisade.heartbeat+json;v=1";

/// Bounds of a heartbeat's payload.
pub const BOUNDS: Bounds = Bounds { bytes: 8 * 1024, depth: 4, nodes: 64 };

/// Most heartbeats in one batch.
pub const BATCH_MAX: usize = 1_000;

/// Milliseconds between heartbeats, unless configured.
pub const INTERVAL_MS: u64 = 10_000;

/// The largest total: what every JSON reader holds exactly (RFC 7493 section 2.2).
pub const TOTAL_MAX: u64 = (1 << 53) - 1;

/// A heartbeat's payload. All counts are cumulative since enrolment, so that a lost one loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Who swears.
    pub sidecar: SidecarId,
    /// For which tenant.
    pub tenant: TenantId,
    /// How often this sidecar has started.
    pub epoch: u64,
    /// Counts up by one with each heartbeat, over all starts; the first is 1.
    pub counter: u64,
    /// Seconds since the Unix epoch.
    pub time: i64,
    /// SHA-256 of the previous heartbeat's payload bytes; zeros for the first.
    pub prev: Digest,
    /// What was consumed.
    pub totals: Totals,
    /// The sidecar's release.
    pub release: String,
    /// What the sidecar found when it looked at itself.
    pub integrity: Integrity,
    /// The challenge of the last answer, if there was one.
    #[serde(deserialize_with = "json::required_nullable")]
    pub nonce: Option<String>,
    /// Whether it waited in the spool for longer than two intervals.
    pub spooled: bool,
}

/// Cumulative usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Executions admitted.
    pub executions: u64,
    /// Executions that ended, however they did.
    pub outcomes: u64,
    /// Task executions.
    pub steps: u64,
    /// HTTP calls sent.
    pub http_calls: u64,
    /// Milliseconds that executions took from start to end.
    pub wall_time_ms: u64,
    /// Microseconds of processor time of the runtime.
    pub cpu_time_us: u64,
    /// Bytes of output kept.
    pub output_bytes: u64,
    /// Bytes sent in calls.
    pub egress_bytes: u64,
    /// Bytes received in answers.
    pub ingress_bytes: u64,
}

/// One unit of usage.
pub type Unit = (&'static str, fn(&Totals) -> u64);

impl Totals {
    /// Every unit with its name, in a fixed order.
    pub const UNITS: [Unit; 9] = [
        ("executions", |t| t.executions),
        ("outcomes", |t| t.outcomes),
        ("steps", |t| t.steps),
        ("http_calls", |t| t.http_calls),
        ("wall_time_ms", |t| t.wall_time_ms),
        ("cpu_time_us", |t| t.cpu_time_us),
        ("output_bytes", |t| t.output_bytes),
        ("egress_bytes", |t| t.egress_bytes),
        ("ingress_bytes", |t| t.ingress_bytes),
    ];

    /// Applies `f` to each pair of units.
    #[must_use]
    pub fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            executions: f(self.executions, other.executions),
            outcomes: f(self.outcomes, other.outcomes),
            steps: f(self.steps, other.steps),
            http_calls: f(self.http_calls, other.http_calls),
            wall_time_ms: f(self.wall_time_ms, other.wall_time_ms),
            cpu_time_us: f(self.cpu_time_us, other.cpu_time_us),
            output_bytes: f(self.output_bytes, other.output_bytes),
            egress_bytes: f(self.egress_bytes, other.egress_bytes),
            ingress_bytes: f(self.ingress_bytes, other.ingress_bytes),
        }
    }
}

/// What the sidecar found when it looked at itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Integrity {
    /// No debugger is attached.
    pub debugger: Check,
    /// The binary is the released one.
    pub binary: Check,
    /// The user is the expected one.
    pub uid: Check,
    /// The parent is the expected one.
    pub parent: Check,
}

impl Integrity {
    /// Nothing was looked at.
    pub const UNCHECKED: Self = Self {
        debugger: Check::NotChecked,
        binary: Check::NotChecked,
        uid: Check::NotChecked,
        parent: Check::NotChecked,
    };

    /// Whether any check found a violation.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        [self.debugger, self.binary, self.uid, self.parent].contains(&Check::Violated)
    }
}

/// The result of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Violated,
    /// Not looked at.
    NotChecked,
}

/// Says why a payload is not a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// Not strict JSON of a heartbeat's shape.
    #[error("not a heartbeat: {0}")]
    Json(#[from] JsonError),
    /// A number larger than [`TOTAL_MAX`], or a counter or epoch of zero.
    #[error("`{0}` is out of range")]
    Range(&'static str),
    /// `release` or `nonce` is too long.
    #[error("`{0}` is too long")]
    Length(&'static str),
}

impl Heartbeat {
    /// The longest release text.
    pub const RELEASE_MAX: usize = 64;
    /// The longest nonce.
    pub const NONCE_MAX: usize = 64;

    /// Writes the payload, once.
    ///
    /// # Errors
    /// Only if it cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a payload whose signature was checked.
    ///
    /// # Errors
    /// [`HeartbeatError`], the first thing that is wrong.
    pub fn read(payload: &[u8]) -> Result<Self, HeartbeatError> {
        let beat: Self = json::read(payload, &BOUNDS)?;
        let in_range = |n: u64| n <= TOTAL_MAX;
        for (name, unit) in Totals::UNITS {
            if !in_range(unit(&beat.totals)) {
                return Err(HeartbeatError::Range(name));
            }
        }
        if beat.counter == 0 || !in_range(beat.counter) {
            return Err(HeartbeatError::Range("counter"));
        }
        if beat.epoch == 0 || !in_range(beat.epoch) {
            return Err(HeartbeatError::Range("epoch"));
        }
        if beat.release.len() > Self::RELEASE_MAX {
            return Err(HeartbeatError::Length("release"));
        }
        if beat.nonce.as_ref().is_some_and(|n| n.len() > Self::NONCE_MAX) {
            return Err(HeartbeatError::Length("nonce"));
        }
        Ok(beat)
    }
}
