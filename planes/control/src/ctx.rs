//! A request's context: who asks, by which route, and with it the permit for what that route does.

use crate::app::App;
use crate::refusal::{Answer, Refusal};
use api::Code;
use api::route::{Auth, Route};
use axum::extract::FromRequestParts;
use http::request::Parts;
use std::net::IpAddr;
use std::sync::Arc;
use store::Tenant;
use terms::{Action, Actor, Permit, Scope, TenantId, TenantRef, Timestamp};
use wire::audit::AuditEntry;
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// Who asks, when, from where, by which route. The gate makes it; every handler takes it.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) app: Arc<App>,
    pub(crate) actor: Actor,
    pub(crate) action: Action,
    pub(crate) address: IpAddr,
    pub(crate) now: Timestamp,
}

impl<S: Send + Sync> FromRequestParts<S> for Ctx {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Refusal::internal("a handler without the gate before it"))
    }
}

impl Ctx {
    /// The action that a route asks a permit for. Public routes reach no handler with a context.
    pub(crate) const fn action_of(route: &Route) -> Option<Action> {
        match route.auth {
            Auth::Public => None,
            Auth::Permit(action) => Some(action),
            Auth::EnrolmentToken => Some(Action::Enrol),
        }
    }

    /// The permit to do the route's action on the platform.
    pub(crate) fn platform(&self) -> Answer<Permit> {
        Ok(guard::permit(self.actor, self.action, Scope::Platform)?)
    }

    /// The permit to do the route's action on one tenant's things.
    pub(crate) fn permit(&self, tenant: TenantId) -> Answer<Permit> {
        Ok(guard::permit(self.actor, self.action, Scope::Tenant(tenant))?)
    }

    /// Finds the tenant that the path names, and the permit for it.
    pub(crate) async fn tenant(&self, which: &TenantRef) -> Answer<(Tenant, Permit)> {
        let finder = self.platform()?;
        let tenant = self.app.store.read().await?.tenants().find(&finder, which).await?;
        let tenant = tenant.ok_or(Code::NotFound)?;
        let permit = self.permit(tenant.id)?;
        Ok((tenant, permit))
    }

    /// The audit entry for what this request did.
    pub(crate) fn deed(&self, resource: impl Into<String>, tenant: Option<TenantId>) -> AuditEntry {
        AuditEntry {
            time: self.now,
            actor: self.actor.to_string(),
            action: self.action.as_str().to_owned(),
            resource: resource.into(),
            tenant,
            outcome: EventOutcome::Success,
            reason: "ok".to_owned(),
            request_digest: None,
        }
    }

    /// The security event for what this request did.
    pub(crate) fn event(
        &self,
        kind: EventKind,
        resource: impl Into<String>,
        tenant: Option<TenantId>,
    ) -> Answer<SecurityEvent> {
        Ok(SecurityEvent {
            id: terms::EventId::mint(self.now, self.app.entropy()?),
            time: self.now,
            plane: Plane::Control,
            kind,
            actor: self.actor.to_string(),
            resource: resource.into(),
            tenant,
            outcome: EventOutcome::Success,
            reason: "ok".to_owned(),
            address: Some(self.address),
            count: 1,
        })
    }
}
