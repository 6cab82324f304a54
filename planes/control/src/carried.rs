//! What the control plane itself carries to and from data planes: it explains what their hosts' kernels count.

use crate::app::App;
use crate::refusal::Answer;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::StoreError;
use terms::{Action, Scope, TenantId};

/// Bytes that were carried and are not written down yet. There are as many as there are tenants.
#[derive(Debug, Default)]
pub(crate) struct Carried(Mutex<BTreeMap<TenantId, Bytes>>);

/// Bytes to and from one data plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bytes {
    pushed: u64,
    streamed: u64,
}

impl Carried {
    /// A plan went to a tenant's data plane.
    pub(crate) fn pushed(&self, tenant: TenantId, bytes: u64) {
        self.add(tenant, Bytes { pushed: bytes, streamed: 0 });
    }

    /// An output comes from a tenant's data plane.
    pub(crate) fn streamed(&self, tenant: TenantId, bytes: u64) {
        self.add(tenant, Bytes { pushed: 0, streamed: bytes });
    }

    fn add(&self, tenant: TenantId, more: Bytes) {
        let mut all = self.all();
        let bytes = all.entry(tenant).or_default();
        bytes.pushed = bytes.pushed.saturating_add(more.pushed);
        bytes.streamed = bytes.streamed.saturating_add(more.streamed);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<TenantId, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down what was carried. What cannot be written now is kept for the next time.
pub(crate) async fn keep(app: &App) -> Answer<()> {
    let carried = core::mem::take(&mut *app.carried.all());
    if carried.is_empty() {
        return Ok(());
    }
    let permit = app.own_permit(Action::ReadNetwork, Scope::Platform)?;
    let rows = carried.clone();
    let written = app.store.write(move |tx| {
        Box::pin(async move {
            for (tenant, Bytes { pushed, streamed }) in rows {
                tx.networks().add_moved(&permit, tenant, pushed, streamed).await?;
            }
            Ok::<_, StoreError>(())
        })
    });
    if let Err(error) = written.await {
        for (tenant, bytes) in carried {
            app.carried.add(tenant, bytes);
        }
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_adds_up_for_each_tenant() {
        let (carried, one, other) =
            (Carried::default(), TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        carried.pushed(one, 5);
        carried.streamed(one, 7);
        carried.pushed(one, u64::MAX);
        carried.streamed(other, 1);
        let bytes = |pushed, streamed| Bytes { pushed, streamed };
        assert_eq!(*carried.all(), BTreeMap::from([(one, bytes(u64::MAX, 7)), (other, bytes(0, 1))]));
    }
}
