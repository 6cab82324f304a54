//! The words of the system: ids, names, timestamps, digests, and the types that carry proof.
//!
//! Nothing here reads a clock, a file or entropy: every value is built from its arguments.

mod authority;
mod digest;
mod ids;
mod name;
mod network;
mod proof;
mod secret;
mod spiffe;
mod timestamp;

pub use authority::{Action, Actor, Permit, Scope};
pub use digest::{Digest, DigestError};
pub use ids::{
    AlarmId, EventId, ExecutionId, HeartbeatId, IdError, KeyId, NodeId, OperatorId, PlanId, SidecarId,
    TenantId, WorkflowId,
};
pub use name::{Name, NameError, TenantRef};
pub use network::{HostPattern, HostPatternError};
pub use proof::{Unverified, Verified};
pub use secret::{KeyBytes, Token, TokenError};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain, Workload};
pub use timestamp::{Timestamp, TimestampError};
