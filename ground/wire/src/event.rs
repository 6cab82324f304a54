//! Security events: who did what to which resource, and what came of it.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use terms::{EventId, TenantId, Timestamp};

/// Most events in one batch.
pub const BATCH_MAX: usize = 1_000;

/// The longest `actor`, `resource` or `reason`.
pub const TEXT_MAX: usize = 256;

/// One security event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityEvent {
    /// The event's own id; a second delivery under the same id is the same event.
    pub id: EventId,
    /// When.
    pub time: Timestamp,
    /// Which plane saw it.
    pub plane: Plane,
    /// What.
    pub kind: EventKind,
    /// Who: an actor's text, or `unknown`.
    pub actor: String,
    /// On which resource: `kind/id`.
    pub resource: String,
    /// For which tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What came of it.
    pub outcome: EventOutcome,
    /// A stable reason code.
    pub reason: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
    /// How many equal events this one stands for.
    pub count: u64,
}

impl SecurityEvent {
    /// Whether all texts keep their bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        [&self.actor, &self.resource, &self.reason].iter().all(|t| t.len() <= TEXT_MAX)
    }
}

/// Which plane saw an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// The control plane.
    Control,
    /// A data plane.
    Data,
    /// A metering sidecar.
    Sidecar,
    /// A host's agent.
    Node,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// It was done.
    Success,
    /// It was tried and failed.
    Failure,
    /// It was refused.
    Denied,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened: a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum EventKind { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind's stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A credential was refused.
    AuthenticationFailed = "authentication.failed",
    /// An authenticated caller asked for what it may not do.
    AuthorizationDenied = "authorization.denied",
    /// A client sent more than its share.
    RateLimited = "request.rate_limited",
    /// A request was malformed or too large.
    RequestRefused = "request.refused",
    /// A tenant was created, suspended, resumed or deleted.
    TenantChanged = "tenant.changed",
    /// A workflow was applied or disabled.
    WorkflowChanged = "workflow.changed",
    /// An execution was started, cancelled or ended.
    ExecutionChanged = "execution.changed",
    /// The plan gate refused a plan.
    PlanRefused = "plan.refused",
    /// The same plan came again; the existing execution was answered.
    PlanReplayed = "plan.replayed",
    /// The same plan or execution id came with other bytes.
    PlanConflict = "plan.conflict",
    /// A signing key was staged, published, activated, retired or archived.
    KeyChanged = "key.changed",
    /// A workload enrolled, or was refused.
    Enrolment = "enrolment",
    /// A certificate was issued or renewed.
    CertificateIssued = "certificate.issued",
    /// A certificate nears its end and was not renewed.
    CertificateExpiring = "certificate.expiring",
    /// A heartbeat was refused.
    HeartbeatRefused = "heartbeat.refused",
    /// Heartbeats are missing between two that arrived.
    HeartbeatGap = "heartbeat.gap",
    /// No heartbeat came for two intervals.
    HeartbeatMissed = "heartbeat.missed",
    /// One counter with two contents: somebody else holds the sidecar's key or state.
    HeartbeatEquivocation = "heartbeat.equivocation",
    /// A sidecar reported that its own integrity is violated.
    IntegrityViolated = "integrity.violated",
    /// Metered usage and what the control plane knows differ by more than the bound.
    MeteringAnomaly = "metering.anomaly",
    /// A workflow called a host or address that is not allowed.
    EgressDenied = "egress.denied",
    /// The data plane's operator allows an address that plans alone could not reach.
    EgressException = "egress.exception",
    /// A journal or spool was cut back to its last whole record after a crash.
    JournalRecovered = "journal.recovered",
    /// A journal or spool was damaged or lost.
    JournalDamaged = "journal.damaged",
    /// Events or refusals were dropped or sampled; the count says how many.
    EventsDropped = "events.dropped",
    /// A supervised process started, stopped or crashed.
    ProcessChanged = "process.changed",
    /// A host's networks were changed as the control plane asked.
    NetworkChanged = "network.changed",
    /// A host's networks were not what they should be.
    NetworkDrift = "network.drift",
    /// A node was drained, taken back or removed.
    NodeChanged = "node.changed",
    /// A clock went back or jumped.
    ClockAnomaly = "clock.anomaly",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_written_as_its_stable_text() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }
}
