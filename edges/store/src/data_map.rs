//! The data map: what every column holds, and how it is protected.
//!
//! A contract test compares it with a migrated database: a column that is not classified, or is there no more,
//! fails. Personal and secret columns are never plain. `data-map.txt` is the map for people.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing about anybody.
    None,
    /// An id that stands for somebody, or something derived from one.
    Pseudonymous,
    /// What may be about a person.
    Personal,
    /// What gives power to whoever reads it.
    Secret,
}

/// How a column is protected, beside the page cipher or the operator's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    Plain,
    /// AES-256-GCM-SIV under its owner's key, bound to its place.
    Sealed,
    /// A digest of something too random to guess.
    Hashed,
    /// A keyed digest, for looking up.
    BlindIndex,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// What it holds.
    pub class: Class,
    /// How it is protected.
    pub protection: Protection,
}

const fn row(table: &'static str, column: &'static str, class: Class, protection: Protection) -> Column {
    Column { table, column, class, protection }
}

use Class::{None, Personal, Pseudonymous, Secret};
use Protection::{BlindIndex, Hashed, Plain, Sealed};

/// Every column, in the order of the schema.
pub const DATA_MAP: &[Column] = &[
    row("schema_migrations", "version", None, Plain),
    row("schema_migrations", "digest", None, Plain),
    row("write_head", "id", None, Plain),
    row("write_head", "log_size", None, Plain),
    row("write_head", "log_frontier", None, Plain),
    row("write_head", "outbox_seq", None, Plain),
    row("vault_keys", "owner", Pseudonymous, Plain),
    row("vault_keys", "purpose", None, Plain),
    row("vault_keys", "version", None, Plain),
    row("vault_keys", "wrapped", Secret, Sealed),
    row("settings", "name", None, Plain),
    row("settings", "sealed", Secret, Sealed),
    row("tenants", "id", Pseudonymous, Plain),
    row("tenants", "name", Pseudonymous, Plain),
    row("tenants", "state", None, Plain),
    row("tenants", "created_at", None, Plain),
    row("tenants", "updated_at", None, Plain),
    row("workflows", "id", Pseudonymous, Plain),
    row("workflows", "tenant_id", Pseudonymous, Plain),
    row("workflows", "name", Pseudonymous, Plain),
    row("workflows", "state", None, Plain),
    row("workflows", "latest", None, Plain),
    row("workflows", "created_at", None, Plain),
    row("workflows", "updated_at", None, Plain),
    row("workflow_versions", "workflow_id", Pseudonymous, Plain),
    row("workflow_versions", "version", None, Plain),
    row("workflow_versions", "tenant_id", Pseudonymous, Plain),
    row("workflow_versions", "document", Personal, Sealed),
    row("workflow_versions", "digest", Pseudonymous, Plain),
    row("workflow_versions", "format", None, Plain),
    row("workflow_versions", "hosts", Personal, Sealed),
    row("workflow_versions", "applied_at", None, Plain),
    row("executions", "id", Pseudonymous, Plain),
    row("executions", "tenant_id", Pseudonymous, Plain),
    row("executions", "workflow_id", Pseudonymous, Plain),
    row("executions", "workflow_name", Pseudonymous, Plain),
    row("executions", "workflow_version", None, Plain),
    row("executions", "state", None, Plain),
    row("executions", "limits", None, Plain),
    row("executions", "plan_id", Pseudonymous, Plain),
    row("executions", "plan_hash", Pseudonymous, Plain),
    row("executions", "plan_issued_at", None, Plain),
    row("executions", "attempts", None, Plain),
    row("executions", "due_at", None, Plain),
    row("executions", "created_at", None, Plain),
    row("executions", "accepted_at", None, Plain),
    row("executions", "outcome", Pseudonymous, Plain),
    row("executions", "cancel_requested", None, Plain),
    row("executions", "idempotency", Personal, BlindIndex),
    row("executions", "request_digest", Pseudonymous, Hashed),
    row("executions", "delivery", Pseudonymous, Plain),
    row("executions", "plan_key", None, Plain),
    row("execution_inputs", "execution_id", Pseudonymous, Plain),
    row("execution_inputs", "tenant_id", Pseudonymous, Plain),
    row("execution_inputs", "sealed", Personal, Sealed),
    // No secret: a data plane takes it from the control plane's certificate only, once, for five minutes.
    row("execution_inputs", "plan_token", Pseudonymous, Plain),
    row("execution_sums", "tenant_id", Pseudonymous, Plain),
    row("execution_sums", "accepted", None, Plain),
    row("execution_sums", "outcomes", None, Plain),
    row("execution_sums", "steps", None, Plain),
    row("execution_sums", "http_calls", None, Plain),
    row("execution_sums", "wall_time_ms", None, Plain),
    row("execution_sums", "output_bytes", None, Plain),
    row("signing_keys", "kid", None, Plain),
    row("signing_keys", "state", None, Plain),
    row("signing_keys", "since", None, Plain),
    row("signing_keys", "created_at", None, Plain),
    row("signing_keys", "jwk", None, Plain),
    row("signing_keys", "private", Secret, Sealed),
    row("enrolments", "digest", Secret, Hashed),
    row("enrolments", "kind", None, Plain),
    row("enrolments", "tenant_id", Pseudonymous, Plain),
    row("enrolments", "expires_at", None, Plain),
    row("enrolments", "used_at", None, Plain),
    row("certificates", "serial", None, Plain),
    row("certificates", "spiffe", Pseudonymous, Plain),
    row("certificates", "tenant_id", Pseudonymous, Plain),
    row("certificates", "not_before", None, Plain),
    row("certificates", "not_after", None, Plain),
    row("certificates", "issued_at", None, Plain),
    row("data_planes", "tenant_id", Pseudonymous, Plain),
    row("data_planes", "url", None, Plain),
    row("data_planes", "pid", None, Plain),
    row("data_planes", "sidecar_pid", None, Plain),
    row("data_planes", "driver", None, Plain),
    row("data_planes", "last_seen", None, Plain),
    row("nodes", "id", Pseudonymous, Plain),
    row("nodes", "enrolled_at", None, Plain),
    row("nodes", "last_seen", None, Plain),
    row("nodes", "state", None, Plain),
    row("placements", "tenant_id", Pseudonymous, Plain),
    row("placements", "node_id", Pseudonymous, Plain),
    row("placements", "former_node", Pseudonymous, Plain),
    row("placements", "since", None, Plain),
    row("network_numbers", "node_id", Pseudonymous, Plain),
    row("network_numbers", "number", None, Plain),
    row("network_numbers", "tenant_id", Pseudonymous, Plain),
    row("network_numbers", "state", None, Plain),
    row("network_numbers", "since", None, Plain),
    row("host_networks", "node_id", Pseudonymous, Plain),
    row("host_networks", "driver", None, Plain),
    row("host_networks", "place", None, Plain),
    row("host_networks", "address", Pseudonymous, Plain),
    row("host_networks", "routes", None, Plain),
    row("host_networks", "applied", None, Plain),
    row("host_networks", "counted_at", None, Plain),
    row("host_networks", "reported_at", None, Plain),
    row("host_networks", "drift", None, Plain),
    row("host_networks", "missing", None, Plain),
    row("desired_networks", "node_id", Pseudonymous, Plain),
    row("desired_networks", "version", None, Plain),
    row("desired_networks", "content_digest", None, Plain),
    row("desired_networks", "kid", None, Plain),
    row("desired_networks", "envelope", Pseudonymous, Plain),
    row("desired_networks", "issued_at", None, Plain),
    row("network_probes", "node_id", Pseudonymous, Plain),
    row("network_probes", "asked_at", None, Plain),
    row("network_probes", "report", Pseudonymous, Plain),
    row("network_traffic", "tenant_id", Pseudonymous, Plain),
    row("network_traffic", "node_id", Pseudonymous, Plain),
    row("network_traffic", "tally", None, Plain),
    row("kernel_checks", "tenant_id", Pseudonymous, Plain),
    row("kernel_checks", "pushed_bytes", None, Plain),
    row("kernel_checks", "streamed_bytes", None, Plain),
    row("kernel_checks", "state", None, Plain),
    row("sidecars", "id", Pseudonymous, Plain),
    row("sidecars", "tenant_id", Pseudonymous, Plain),
    row("sidecars", "public_key", None, Plain),
    row("sidecars", "state", None, Plain),
    row("sidecars", "enrolled_at", None, Plain),
    row("sidecars", "epoch", None, Plain),
    row("sidecars", "counter", None, Plain),
    row("sidecars", "prev", None, Plain),
    row("sidecars", "time", None, Plain),
    row("sidecars", "totals", None, Plain),
    row("sidecars", "sworn", None, Plain),
    row("sidecars", "last_received", None, Plain),
    row("sidecars", "accepted", None, Plain),
    row("sidecars", "anomalies", None, Plain),
    row("heartbeats", "tenant_id", Pseudonymous, Plain),
    row("heartbeats", "sidecar_id", Pseudonymous, Plain),
    row("heartbeats", "counter", None, Plain),
    row("heartbeats", "payload_digest", None, Plain),
    row("heartbeats", "envelope", Pseudonymous, Plain),
    row("heartbeats", "received_at", None, Plain),
    row("heartbeats", "accepted", None, Plain),
    row("heartbeats", "in_chain", None, Plain),
    row("heartbeats", "reason", None, Plain),
    row("usage_hours", "tenant_id", Pseudonymous, Plain),
    row("usage_hours", "hour", None, Plain),
    row("usage_hours", "executions", None, Plain),
    row("usage_hours", "outcomes", None, Plain),
    row("usage_hours", "steps", None, Plain),
    row("usage_hours", "http_calls", None, Plain),
    row("usage_hours", "wall_time_ms", None, Plain),
    row("usage_hours", "cpu_time_us", None, Plain),
    row("usage_hours", "output_bytes", None, Plain),
    row("usage_hours", "egress_bytes", None, Plain),
    row("usage_hours", "ingress_bytes", None, Plain),
    row("audit_entries", "idx", None, Plain),
    row("audit_entries", "tenant_id", Pseudonymous, Plain),
    row("audit_entries", "time", None, Plain),
    row("audit_entries", "sealed", Personal, Sealed),
    row("audit_entries", "leaf", None, Plain),
    row("audit_nodes", "level", None, Plain),
    row("audit_nodes", "idx", None, Plain),
    row("audit_nodes", "hash", None, Plain),
    row("checkpoints", "size", None, Plain),
    row("checkpoints", "note", None, Plain),
    row("security_events", "id", Pseudonymous, Plain),
    row("security_events", "kind", None, Plain),
    row("security_events", "tenant_id", Pseudonymous, Plain),
    row("security_events", "time", None, Plain),
    row("security_events", "sealed", Personal, Sealed),
    row("outbox", "seq", None, Plain),
    row("outbox", "event_id", Pseudonymous, Plain),
    row("alarms", "id", Pseudonymous, Plain),
    row("alarms", "kind", None, Plain),
    row("alarms", "severity", None, Plain),
    row("alarms", "time", None, Plain),
    row("alarms", "tenant_id", Pseudonymous, Plain),
    row("alarms", "resource", Pseudonymous, Plain),
    row("alarms", "evidence", Personal, Sealed),
    row("alarms", "state", None, Plain),
    row("assurance_results", "control", None, Plain),
    row("assurance_results", "time", None, Plain),
    row("assurance_results", "outcome", None, Plain),
    row("assurance_results", "facts", None, Plain),
    row("assurance_results", "evidence_digest", None, Plain),
];

/// The map as a table, for people.
#[must_use]
pub fn data_map_text() -> String {
    DATA_MAP.iter().fold(String::new(), |text, Column { table, column, class, protection }| {
        let (column, class) = (format!("{table}.{column}"), format!("{class:?}"));
        format!("{text}{column:<34}{class:<14}{protection:?}\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_and_secret_columns_are_never_plain() {
        for column in DATA_MAP.iter().filter(|c| matches!(c.class, Personal | Secret)) {
            assert_ne!(column.protection, Plain, "{}.{}", column.table, column.column);
        }
    }

    #[test]
    fn the_committed_map_is_the_one_in_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data-map.txt");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(path, data_map_text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == data_map_text(),
            "data-map.txt is stale: run UPDATE_GOLDENS=1 cargo test -p store"
        );
    }
}
