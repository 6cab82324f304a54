//! The repositories: one for each resource, over a reader or a transaction.

use crate::reader::Reader;
use crate::tx::Tx;

macro_rules! repositories {
    ($($(#[$doc:meta])* $accessor:ident -> $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $name<'s, S>(pub(crate) &'s mut S);
        )*

        impl Reader {
            $($(#[$doc])* pub const fn $accessor(&mut self) -> $name<'_, Self> { $name(self) })*
        }

        impl Tx {
            $($(#[$doc])* pub const fn $accessor(&mut self) -> $name<'_, Self> { $name(self) })*
        }
    };
}

repositories! {
    /// Values of the platform itself, sealed.
    settings -> Settings;
    /// Tenants.
    tenants -> Tenants;
    /// Workflows and their versions.
    workflows -> Workflows;
    /// Executions.
    executions -> Executions;
    /// Plan-signing keys.
    signing_keys -> SigningKeys;
    /// One-time enrolment tokens.
    enrolments -> Enrolments;
    /// Certificates and data planes.
    workloads -> Workloads;
    /// Nodes.
    nodes -> Nodes;
    /// Which node runs a tenant, and the network numbers of hosts.
    placements -> Placements;
    /// Hosts' networks.
    networks -> Networks;
    /// Metering sidecars.
    sidecars -> Sidecars;
    /// Heartbeats and usage.
    heartbeats -> Heartbeats;
    /// The audit log.
    audit_log -> Audit;
    /// Signed checkpoints of the audit log.
    checkpoints -> Checkpoints;
    /// Security events.
    events -> Events;
    /// Events that wait to be taken over.
    outbox -> Outbox;
    /// Alarms.
    alarms -> Alarms;
    /// What control checks found.
    assurance_results -> AssuranceResults;
}
