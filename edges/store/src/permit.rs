//! The door: no row without a permit that reaches it.

use crate::error::StoreError;
use terms::{Permit, Scope, TenantId};

/// Passes if `permit` reaches `tenant`.
pub(crate) fn reach(permit: &Permit, tenant: TenantId) -> Result<(), StoreError> {
    if permit.covers(tenant) { Ok(()) } else { Err(StoreError::Denied) }
}

/// Passes if `permit` reaches the whole platform.
pub(crate) fn reach_platform(permit: &Permit) -> Result<(), StoreError> {
    match permit.scope() {
        Scope::Platform => Ok(()),
        Scope::Tenant(_) => Err(StoreError::Denied),
    }
}

/// Passes if `permit` reaches `tenant`, or the platform where there is none.
pub(crate) fn reach_either(permit: &Permit, tenant: Option<TenantId>) -> Result<(), StoreError> {
    match tenant {
        Some(tenant) => reach(permit, tenant),
        None => reach_platform(permit),
    }
}
