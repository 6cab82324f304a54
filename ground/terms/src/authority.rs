//! Who acts, what they do, to what; and the permit that says they may.

use crate::{NodeId, OperatorId, SidecarId, TenantId};

/// Whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A holder of an operator token.
    Operator(OperatorId),
    /// A tenant's data plane, by its certificate.
    DataPlane(TenantId),
    /// A tenant's metering sidecar, by its certificate.
    Sidecar(TenantId, SidecarId),
    /// A host's agent, by its certificate.
    Node(NodeId),
    /// A workload that holds a one-time enrolment token.
    Enrolling,
    /// The control plane's own timers.
    System,
}

impl core::fmt::Display for Actor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::DataPlane(tenant) => write!(f, "tenant/{tenant}/data-plane"),
            Self::Sidecar(tenant, id) => write!(f, "tenant/{tenant}/sidecar/{id}"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Enrolling => f.write_str("enrolling"),
            Self::System => f.write_str("system"),
        }
    }
}

/// What is touched: one tenant's things, or the platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One tenant.
    Tenant(TenantId),
    /// The whole platform.
    Platform,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Everything that a permit can allow. The texts are stable: audit entries and matrices use them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// Every action, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The action's stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// Create a tenant.
    CreateTenant = "tenant.create",
    /// List or read tenants.
    ReadTenant = "tenant.read",
    /// Stop a tenant from running anything new.
    SuspendTenant = "tenant.suspend",
    /// Let a suspended tenant run again.
    ResumeTenant = "tenant.resume",
    /// Delete a tenant and everything it owns.
    DeleteTenant = "tenant.delete",
    /// Apply a workflow version.
    ApplyWorkflow = "workflow.apply",
    /// List or read workflows.
    ReadWorkflow = "workflow.read",
    /// Disable a workflow.
    DisableWorkflow = "workflow.disable",
    /// Start an execution.
    StartExecution = "execution.start",
    /// List or read executions.
    ReadExecution = "execution.read",
    /// Stream an execution's output out of its data plane.
    ReadOutput = "execution.output",
    /// Cancel an execution.
    CancelExecution = "execution.cancel",
    /// Read usage.
    ReadUsage = "usage.read",
    /// Deliver heartbeats.
    SendHeartbeat = "heartbeat.send",
    /// Read stored heartbeats.
    ReadHeartbeat = "heartbeat.read",
    /// Deliver outcomes of executions.
    SendOutcome = "outcome.send",
    /// Deliver security events.
    SendEvent = "event.send",
    /// Read security events and alarms.
    ReadEvent = "event.read",
    /// Issue a one-time enrolment token.
    IssueEnrolment = "enrolment.issue",
    /// Enrol with a one-time token.
    Enrol = "enrolment.use",
    /// Renew a workload certificate.
    RenewCertificate = "certificate.renew",
    /// Read which data planes a node must run.
    ReadPlacement = "placement.read",
    /// Report what a node runs.
    ReportPlacement = "placement.report",
    /// Read the signed networks that a node must have.
    ReadDesiredNetwork = "network.desired",
    /// Report what networks a node has.
    ReportNetwork = "network.report",
    /// List networks, their drift, and what probes found.
    ReadNetwork = "network.read",
    /// Have nodes probe their networks.
    ProbeNetwork = "network.probe",
    /// List nodes.
    ReadNode = "node.read",
    /// Drain a node, take it back, or remove it.
    DrainNode = "node.drain",
    /// Find out what a name stands for.
    ResolveName = "name.resolve",
    /// List signing keys.
    ReadKey = "key.read",
    /// Rotate signing keys.
    RotateKey = "key.rotate",
    /// Read audit entries, checkpoints and proofs.
    ReadAudit = "audit.read",
    /// Run control checks and keep their results.
    RunAssurance = "assurance.run",
    /// Read control results.
    ReadAssurance = "assurance.read",
}

/// Says that `actor` may do `action` in `scope`.
///
/// Whatever touches tenant data takes a `&Permit`. `engines/guard` is the only room that may call
/// [`Permit::grant`]; `xtask tidy` holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    actor: Actor,
    action: Action,
    scope: Scope,
}

impl Permit {
    /// Grants the permit.
    // INVARIANT: called by engines/guard alone, after its decision.
    #[must_use]
    pub const fn grant(actor: Actor, action: Action, scope: Scope) -> Self {
        Self { actor, action, scope }
    }

    /// Whoever asked.
    #[must_use]
    pub const fn actor(&self) -> Actor {
        self.actor
    }

    /// What was allowed.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Where it was allowed.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether the permit reaches `tenant`'s things.
    #[must_use]
    pub fn covers(&self, tenant: TenantId) -> bool {
        match self.scope {
            Scope::Platform => true,
            Scope::Tenant(own) => own == tenant,
        }
    }
}
