//! Tenants: create, list, show, suspend, resume, delete.

use crate::body::{Ask, At, Strict};
use crate::ctx::Ctx;
use crate::networks::{self, Found, Places};
use crate::refusal::{Answer, Refusal};
use api::page::{Page, PageQuery};
use api::tenant::{CreateTenant, SuspendTenant, TenantView};
use api::{Code, Problem};
use axum::Json;
use http::StatusCode;
use store::{StoreError, Tenant, TenantState, WriteError};
use terms::{Name, Permit, TenantId, TenantRef};
use wire::event::EventKind;

/// Creates a tenant, and the keys that seal its data.
pub(crate) async fn create(ctx: Ctx, body: Strict<CreateTenant>) -> Answer<(StatusCode, Json<TenantView>)> {
    let permit = ctx.platform()?;
    let tenant = Tenant {
        id: TenantId::mint(ctx.now, ctx.app.entropy()?),
        name: body.value.name,
        state: TenantState::Active,
        created_at: ctx.now,
        updated_at: ctx.now,
    };
    let name = tenant.name.clone();
    let kept = insert(&ctx, permit, tenant).await.map_err(|error| match error {
        WriteError::Store(StoreError::Conflict(_)) => taken(&name),
        WriteError::Store(other) => other.into(),
        WriteError::Work(refusal) => refusal,
    })?;
    Ok((StatusCode::CREATED, Json(view(kept))))
}

/// Inserts a tenant and places it, if a node is there that takes it. One that no node has room for is refused.
async fn insert(ctx: &Ctx, permit: Permit, tenant: Tenant) -> Result<Tenant, WriteError<Refusal>> {
    let entry = ctx.deed(format!("tenant/{}", tenant.id), Some(tenant.id));
    let event = ctx.event(EventKind::TenantChanged, entry.resource.clone(), Some(tenant.id));
    let event = event.map_err(WriteError::Work)?;
    let places = Places::new(&ctx.app, ctx.now).map_err(WriteError::Work)?;
    let written = ctx.app.store.write(move |tx| {
        Box::pin(async move {
            tx.tenants().insert(&permit, &tenant).await.map_err(|error| match error {
                StoreError::Conflict(_) => taken(&tenant.name),
                other => other.into(),
            })?;
            if let Found::NoRoom(error) = places.place(tx, tenant.id).await? {
                return Err(networks::no_room(&error));
            }
            tx.audit(entry);
            tx.event(event);
            Ok::<_, Refusal>(tenant)
        })
    });
    written.await
}

fn taken(name: &Name) -> Refusal {
    Problem::new(Code::TenantNameTaken).detail(format!("`{name}`")).into()
}

/// Lists tenants.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<TenantView>>> {
    let permit = ctx.platform()?;
    let (rows, next) = ctx.app.store.read().await?.tenants().list(&permit, &page_of(page)).await?;
    Ok(Json(Page { items: rows.into_iter().map(view).collect(), next }))
}

/// Shows a tenant.
pub(crate) async fn show(ctx: Ctx, At(which): At<TenantRef>) -> Answer<Json<TenantView>> {
    let (tenant, _) = ctx.tenant(&which).await?;
    Ok(Json(view(tenant)))
}

/// Stops a tenant from starting anything new.
pub(crate) async fn suspend(
    ctx: Ctx,
    At(which): At<TenantRef>,
    body: Strict<SuspendTenant>,
) -> Answer<Json<TenantView>> {
    move_to(&ctx, &which, TenantState::Suspended, body.value.reason.as_str()).await
}

/// Lets a suspended tenant run again.
pub(crate) async fn resume(ctx: Ctx, At(which): At<TenantRef>) -> Answer<Json<TenantView>> {
    move_to(&ctx, &which, TenantState::Active, "ok").await
}

async fn move_to(ctx: &Ctx, which: &TenantRef, state: TenantState, reason: &str) -> Answer<Json<TenantView>> {
    let (tenant, permit) = ctx.tenant(which).await?;
    let mut entry = ctx.deed(format!("tenant/{}", tenant.id), Some(tenant.id));
    reason.clone_into(&mut entry.reason);
    let event = ctx.event(EventKind::TenantChanged, entry.resource.clone(), Some(tenant.id))?;
    let now = ctx.now;
    let changed = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let current = tx.tenants().load(&permit, tenant.id).await?;
                if current.state == TenantState::Deleting {
                    return Err(Code::TenantDeleting.into());
                }
                let next = Tenant { state, updated_at: now, ..current };
                tx.tenants().save_state(&permit, next.id, state, now).await?;
                tx.audit(entry);
                tx.event(event);
                Ok::<_, Refusal>(next)
            })
        })
        .await?;
    ctx.app.dispatcher.wake();
    Ok(Json(view(changed)))
}

/// Deletes a tenant and everything that it owns, but for its audit entries, which nobody can read any more:
/// their key is destroyed with the tenant's.
pub(crate) async fn delete(ctx: Ctx, At(which): At<TenantRef>) -> Answer<StatusCode> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    // The deed is the platform's: it has to stay readable after the tenant's keys are gone.
    let entry = ctx.deed(format!("tenant/{}", tenant.id), None);
    let event = ctx.event(EventKind::TenantChanged, entry.resource.clone(), None)?;
    let places = Places::new(&ctx.app, ctx.now)?;
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                places.leave(tx, tenant.id).await?;
                tx.tenants().delete(&permit, tenant.id).await?;
                tx.audit(entry);
                tx.event(event);
                Ok::<_, Refusal>(())
            })
        })
        .await?;
    ctx.app.dispatcher.peers().forget(tenant.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses what a tenant that is not active may not do.
pub(crate) fn require_active(tenant: &Tenant) -> Answer<()> {
    match tenant.state {
        TenantState::Active => Ok(()),
        TenantState::Suspended => Err(Code::TenantSuspended.into()),
        TenantState::Deleting => Err(Code::TenantDeleting.into()),
    }
}

/// The store's page for a query.
pub(crate) fn page_of(query: PageQuery) -> store::Page {
    store::Page { limit: query.limit(), after: query.after }
}

fn view(tenant: Tenant) -> TenantView {
    let state = match tenant.state {
        TenantState::Active => api::tenant::TenantState::Active,
        TenantState::Suspended => api::tenant::TenantState::Suspended,
        TenantState::Deleting => api::tenant::TenantState::Deleting,
    };
    TenantView {
        id: tenant.id,
        name: tenant.name,
        state,
        created_at: tenant.created_at,
        updated_at: tenant.updated_at,
    }
}
