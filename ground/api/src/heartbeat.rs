//! Heartbeats.

use serde::{Deserialize, Serialize};
use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::dsse::Envelope;
use wire::heartbeat::Totals;

/// Delivers heartbeats, oldest first, at most 1 000.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverHeartbeats {
    /// The envelopes.
    pub heartbeats: Vec<Envelope>,
}

/// What became of each, in the order of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeartbeatReceipts {
    /// One for each envelope.
    pub receipts: Vec<Receipt>,
    /// The challenge for the next live heartbeat.
    pub nonce: String,
}

/// What became of one heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Receipt {
    /// The heartbeat's counter; absent if the envelope could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// What became of it.
    pub status: ReceiptStatus,
    /// A stable reason code; `ok` if it was accepted.
    pub code: String,
}

/// What became of one heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// It counts, durably.
    Accepted,
    /// It was known; it counts once.
    Duplicate,
    /// It does not count; it is kept as evidence.
    Refused,
}

/// A stored heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeartbeatView {
    /// The tenant.
    pub tenant: TenantId,
    /// The sidecar.
    pub sidecar: SidecarId,
    /// Its counter.
    pub counter: u64,
    /// SHA-256 of its payload.
    pub payload_digest: Digest,
    /// When it was received.
    pub received_at: Timestamp,
    /// Whether it counts.
    pub accepted: bool,
    /// A stable reason code.
    pub code: String,
    /// The envelope, exactly as received.
    pub envelope: Envelope,
}

/// A sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SidecarView {
    /// The id.
    pub id: SidecarId,
    /// The tenant.
    pub tenant: TenantId,
    /// Its Ed25519 public key, 32 bytes in standard base64.
    pub public_key: String,
    /// Whether its heartbeats count.
    pub active: bool,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// The last accepted counter; 0 before the first.
    pub counter: u64,
    /// How often it has started.
    pub epoch: u64,
    /// When the last heartbeat was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_at: Option<Timestamp>,
    /// Its totals.
    pub totals: Totals,
}
