//! Who may do what: the one room that grants permits.
//!
//! The rules are one table, [`permit`] its only reader; `matrix.txt` beside this crate shows every decision and a
//! test holds it. What the table does not allow is denied.

mod reach;

use reach::{Reach, rule};
use terms::{Action, Actor, Permit, Scope, TenantId};

/// Says that an actor may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{actor}` may not do `{}` there", .action.as_str())]
pub struct Denied {
    /// Whoever asked.
    pub actor: Actor,
    /// What was asked for.
    pub action: Action,
    /// Where it was asked for.
    pub scope: Scope,
    /// How to answer.
    pub denial: Denial,
}

/// How a denial is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The actor may not even know whether it exists: answered as 404.
    Hidden,
    /// The actor may know that it exists, but not do this: answered as 403.
    Forbidden,
}

/// Grants `actor` the permit to do `action` in `scope`, or says why not.
///
/// # Errors
/// [`Denied`], hidden if the scope is somebody else's tenant.
pub fn permit(actor: Actor, action: Action, scope: Scope) -> Result<Permit, Denied> {
    let allowed = match (rule(actor, action), scope) {
        (Reach::Nowhere, _) | (Reach::Tenants, Scope::Platform) | (Reach::OwnTenant, Scope::Platform) => {
            false
        }
        (Reach::OwnTenant, Scope::Tenant(tenant)) => own_tenant(actor) == Some(tenant),
        (Reach::Tenants, Scope::Tenant(_)) | (Reach::Everywhere, _) => true,
    };
    if allowed {
        return Ok(Permit::grant(actor, action, scope));
    }
    Err(Denied { actor, action, scope, denial: denial(actor, scope) })
}

/// The tenant that an actor is part of.
const fn own_tenant(actor: Actor) -> Option<TenantId> {
    match actor {
        Actor::DataPlane(tenant) | Actor::Sidecar(tenant, _) => Some(tenant),
        Actor::Operator(_) | Actor::Node(_) | Actor::Enrolling | Actor::System => None,
    }
}

/// Hides a tenant from the workloads of another one, and from whoever has not enrolled yet.
fn denial(actor: Actor, scope: Scope) -> Denial {
    match (actor, scope) {
        (_, Scope::Platform) => Denial::Forbidden,
        (Actor::Operator(_) | Actor::Node(_) | Actor::System, Scope::Tenant(_)) => Denial::Forbidden,
        (Actor::DataPlane(_) | Actor::Sidecar(..), Scope::Tenant(tenant)) => {
            if own_tenant(actor) == Some(tenant) { Denial::Forbidden } else { Denial::Hidden }
        }
        (Actor::Enrolling, Scope::Tenant(_)) => Denial::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use terms::{NodeId, OperatorId, SidecarId};

    #[test]
    fn every_decision_is_the_one_in_the_matrix() {
        assert_eq!(matrix(), include_str!("../matrix.txt"), "the decisions changed; is that meant?");
    }

    #[test]
    fn a_permit_names_exactly_what_was_asked_for() {
        let (actor, scope) = (Actor::DataPlane(own()), Scope::Tenant(own()));
        let permit = permit(actor, Action::SendOutcome, scope).unwrap();
        assert_eq!((permit.actor(), permit.action(), permit.scope()), (actor, Action::SendOutcome, scope));
        assert!(permit.covers(own()) && !permit.covers(foreign()));
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        for action in Action::ALL {
            for scope in [Scope::Tenant(own()), Scope::Tenant(foreign()), Scope::Platform] {
                let decision = permit(Actor::Enrolling, *action, scope);
                assert_eq!(decision.is_ok(), *action == Action::Enrol, "{action:?} {scope:?}");
            }
        }
    }

    #[test]
    fn no_workload_reaches_into_another_tenant_or_learns_that_it_exists() {
        for actor in [Actor::DataPlane(own()), Actor::Sidecar(own(), SidecarId::from_bytes([3; 16]))] {
            for action in Action::ALL {
                let denied = permit(actor, *action, Scope::Tenant(foreign())).unwrap_err();
                assert_eq!(denied.denial, Denial::Hidden, "{actor:?} {action:?}");
            }
        }
    }

    #[test]
    fn no_operator_can_speak_for_a_workload() {
        let deeds = [
            Action::SendHeartbeat,
            Action::SendOutcome,
            Action::SendEvent,
            Action::Enrol,
            Action::RenewCertificate,
            Action::ReadPlacement,
            Action::ReportPlacement,
            Action::ReadDesiredNetwork,
            Action::ReportNetwork,
            Action::ResolveName,
        ];
        let operator = Actor::Operator(OperatorId::from_bytes([4; 16]));
        for action in Action::ALL {
            let denied = permit(operator, *action, Scope::Tenant(own())).is_err();
            assert_eq!(denied, deeds.contains(action), "{action:?}");
        }
    }

    #[test]
    fn a_denial_says_who_asked_for_what() {
        let denied = permit(Actor::System, Action::Enrol, Scope::Platform).unwrap_err();
        assert_eq!(denied.to_string(), "`system` may not do `enrolment.use` there");
    }

    fn own() -> TenantId {
        TenantId::from_bytes([1; 16])
    }

    fn foreign() -> TenantId {
        TenantId::from_bytes([2; 16])
    }

    /// One row for each action, one column for each kind of actor; in each cell the answers for the actor's own
    /// tenant, another tenant, and the platform.
    fn matrix() -> String {
        let actors = [
            ("operator", Actor::Operator(OperatorId::from_bytes([4; 16]))),
            ("data-plane", Actor::DataPlane(own())),
            ("sidecar", Actor::Sidecar(own(), SidecarId::from_bytes([3; 16]))),
            ("node", Actor::Node(NodeId::from_bytes([5; 16]))),
            ("enrolling", Actor::Enrolling),
            ("system", Actor::System),
        ];
        let mut out =
            String::from("# own tenant, another tenant, platform: y granted, f forbidden, h hidden\n");
        let names: Vec<_> = actors.iter().map(|(name, _)| format!("{name:10}")).collect();
        writeln!(out, "{:20} {}", "#", names.join(" ").trim_end()).unwrap();
        for action in Action::ALL {
            let cells: Vec<_> =
                actors.iter().map(|(_, actor)| format!("{:10}", cell(*actor, *action))).collect();
            writeln!(out, "{:20} {}", action.as_str(), cells.join(" ").trim_end()).unwrap();
        }
        out
    }

    fn cell(actor: Actor, action: Action) -> String {
        let scopes = [Scope::Tenant(own()), Scope::Tenant(foreign()), Scope::Platform];
        let letter = |scope| match permit(actor, action, scope) {
            Ok(_) => 'y',
            Err(Denied { denial: Denial::Forbidden, .. }) => 'f',
            Err(Denied { denial: Denial::Hidden, .. }) => 'h',
        };
        scopes.map(letter).iter().collect()
    }
}
