//! What probes look at: active tenants, their data planes, executions that have ended.

use super::NoMeans;
use crate::app::App;
use std::collections::BTreeSet;
use store::{DataPlaneRow, ExecState, Execution, ExecutionFilter, LIMIT_MAX, Page, Tenant, TenantState};
use terms::{Action, Permit, Scope, TenantId};

/// Most tenants that are searched for the newest execution.
const SEARCHED_MAX: usize = 50;

/// The permit to look at anything.
pub(super) fn permit(app: &App) -> Result<Permit, NoMeans> {
    Ok(app.own_permit(Action::RunAssurance, Scope::Platform)?)
}

/// Active tenants, one page of them.
pub(super) async fn tenants(app: &App) -> Result<Vec<Tenant>, NoMeans> {
    let permit = permit(app)?;
    let (tenants, _) = app.store.read().await?.tenants().list(&permit, &Page::first(LIMIT_MAX)).await?;
    Ok(tenants.into_iter().filter(|tenant| tenant.state == TenantState::Active).collect())
}

/// The data planes of active tenants.
pub(super) async fn data_planes(app: &App) -> Result<Vec<DataPlaneRow>, NoMeans> {
    let active: BTreeSet<TenantId> = tenants(app).await?.into_iter().map(|tenant| tenant.id).collect();
    let permit = permit(app)?;
    let page = Page::first(LIMIT_MAX);
    let (planes, _) = app.store.read().await?.workloads().list_data_planes(&permit, &page).await?;
    Ok(planes.into_iter().filter(|plane| active.contains(&plane.tenant)).collect())
}

/// The newest execution that ended by itself, and the data plane where it did.
pub(super) async fn ended(app: &App) -> Result<Option<(DataPlaneRow, Execution)>, NoMeans> {
    let mut newest_ended: Option<(DataPlaneRow, Execution)> = None;
    for plane in data_planes(app).await?.into_iter().take(SEARCHED_MAX) {
        for state in [ExecState::Completed, ExecState::Faulted] {
            let found = newest(app, plane.tenant, state, 1).await?.pop();
            let is_newer = |row: &Execution| newest_ended.as_ref().is_none_or(|(_, best)| row.id > best.id);
            if let Some(execution) = found.filter(is_newer) {
                newest_ended = Some((plane.clone(), execution));
            }
        }
    }
    Ok(newest_ended)
}

/// The newest execution that a plan was issued for, whatever came of it.
pub(super) async fn issued(app: &App) -> Result<Option<Execution>, NoMeans> {
    let mut newest: Option<Execution> = None;
    for tenant in tenants(app).await?.into_iter().take(SEARCHED_MAX) {
        let found = list(app, tenant.id, ExecutionFilter::default(), 1).await?.pop();
        let is_newer = |row: &Execution| newest.as_ref().is_none_or(|best| row.id > best.id);
        newest = found.filter(|row| row.plan_id.is_some()).filter(is_newer).or(newest);
    }
    Ok(newest)
}

/// A tenant's newest executions in one state.
pub(super) async fn newest(
    app: &App,
    tenant: TenantId,
    state: ExecState,
    limit: u32,
) -> Result<Vec<Execution>, NoMeans> {
    list(app, tenant, ExecutionFilter { workflow: None, state: Some(state) }, limit).await
}

async fn list(
    app: &App,
    tenant: TenantId,
    filter: ExecutionFilter,
    limit: u32,
) -> Result<Vec<Execution>, NoMeans> {
    let (permit, page) = (permit(app)?, Page::first(limit));
    let (rows, _) = app.store.read().await?.executions().list(&permit, tenant, &filter, &page).await?;
    Ok(rows)
}
