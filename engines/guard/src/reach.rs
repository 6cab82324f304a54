//! The rules: how far each kind of actor reaches with each action.

use terms::{Action, Actor};

/// How far an actor reaches with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Not at all.
    Nowhere,
    /// Into its own tenant.
    OwnTenant,
    /// Into any one tenant, but not over the platform.
    Tenants,
    /// Over the platform and into any tenant.
    Everywhere,
}

/// One action's rule: a reach for each kind of actor.
struct Row {
    operator: Reach,
    data_plane: Reach,
    sidecar: Reach,
    node: Reach,
    enrolling: Reach,
    system: Reach,
}

pub(crate) const fn rule(actor: Actor, action: Action) -> Reach {
    let row = row(action);
    match actor {
        Actor::Operator(_) => row.operator,
        Actor::DataPlane(_) => row.data_plane,
        Actor::Sidecar(..) => row.sidecar,
        Actor::Node(_) => row.node,
        Actor::Enrolling => row.enrolling,
        Actor::System => row.system,
    }
}

const NOBODY: Row = Row {
    operator: Reach::Nowhere,
    data_plane: Reach::Nowhere,
    sidecar: Reach::Nowhere,
    node: Reach::Nowhere,
    enrolling: Reach::Nowhere,
    system: Reach::Nowhere,
};

/// People decide; the platform's timers have no say.
const OPERATOR: Row = Row { operator: Reach::Everywhere, ..NOBODY };

/// People ask for it, the platform's timers carry it on.
const OPERATOR_AND_SYSTEM: Row = Row { system: Reach::Everywhere, ..OPERATOR };

/// A new action gets its row here, or the crate does not compile.
const fn row(action: Action) -> Row {
    match action {
        Action::CreateTenant
        | Action::SuspendTenant
        | Action::ResumeTenant
        | Action::DeleteTenant
        | Action::ApplyWorkflow
        | Action::DisableWorkflow
        | Action::ReadOutput
        | Action::DrainNode => OPERATOR,

        // Plans are pushed and re-issued, cancellations delivered and usage reconciled long after the request.
        Action::ReadTenant
        | Action::ReadWorkflow
        | Action::StartExecution
        | Action::ReadExecution
        | Action::CancelExecution
        | Action::ReadUsage
        | Action::ReadHeartbeat
        | Action::ReadEvent
        | Action::ReadNetwork
        | Action::ProbeNetwork
        | Action::ReadNode
        | Action::ReadKey
        | Action::RotateKey
        | Action::ReadAudit
        | Action::RunAssurance
        | Action::ReadAssurance => OPERATOR_AND_SYSTEM,

        // A node asks for tokens for the workloads that it starts, one tenant at a time; its own first token comes
        // from the platform.
        Action::IssueEnrolment => Row { node: Reach::Tenants, ..OPERATOR_AND_SYSTEM },
        Action::Enrol => Row { enrolling: Reach::Everywhere, ..NOBODY },

        Action::SendHeartbeat => Row { sidecar: Reach::OwnTenant, ..NOBODY },
        Action::SendOutcome | Action::ResolveName => Row { data_plane: Reach::OwnTenant, ..NOBODY },
        Action::SendEvent => Row { system: Reach::Everywhere, ..WORKLOADS },
        Action::RenewCertificate => WORKLOADS,
        Action::ReadPlacement
        | Action::ReportPlacement
        | Action::ReadDesiredNetwork
        | Action::ReportNetwork => Row { node: Reach::Everywhere, ..NOBODY },
    }
}

/// What every enrolled workload does for itself.
const WORKLOADS: Row =
    Row { data_plane: Reach::OwnTenant, sidecar: Reach::OwnTenant, node: Reach::Everywhere, ..NOBODY };
