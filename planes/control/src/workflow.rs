//! Workflows: apply, list, show, disable.

use crate::body::{Ask, At, Strict};
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use crate::tenant::{page_of, require_active};
use api::page::{Page, PageQuery};
use api::problem::Fault;
use api::workflow::{AppliedWorkflow, ApplyWorkflow, DOCUMENT_MAX, VERSIONS_MAX, WorkflowView};
use api::{Code, Problem};
use axum::Json;
use store::{DocumentFormat, NewDocument, StoreError, Workflow, WorkflowDocument, WorkflowState};
use terms::{Digest, Name, Permit, TenantId, TenantRef, WorkflowId};
use wire::event::EventKind;

/// Applies a workflow document: checked whole before anything is kept.
pub(crate) async fn apply(
    ctx: Ctx,
    At(which): At<TenantRef>,
    body: Strict<ApplyWorkflow>,
) -> Answer<Json<AppliedWorkflow>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    require_active(&tenant)?;
    let document = body.value.document.into_bytes();
    let (name, fresh) = check(document, &ctx)?;
    let entry = ctx.deed(format!("workflow/{name}"), Some(tenant.id));
    let event = ctx.event(EventKind::WorkflowChanged, entry.resource.clone(), Some(tenant.id))?;
    let (id, now) = (WorkflowId::mint(ctx.now, ctx.app.entropy()?), ctx.now);
    let hosts = fresh.hosts.clone();
    let digest = fresh.digest;
    let applied = ctx
        .app
        .store
        .write(move |tx| {
            Box::pin(async move {
                let applied = tx.workflows().apply(&permit, tenant.id, &name, id, &fresh, now).await?;
                if applied.workflow.latest > VERSIONS_MAX {
                    return Err(Refusal::from(Code::TooManyVersions));
                }
                if applied.changed {
                    tx.audit(entry);
                    tx.event(event);
                }
                Ok(applied)
            })
        })
        .await?;
    let workflow = view(applied.workflow, digest, hosts, None);
    Ok(Json(AppliedWorkflow { workflow, changed: applied.changed }))
}

fn check(document: Vec<u8>, ctx: &Ctx) -> Answer<(Name, NewDocument)> {
    if document.len() > DOCUMENT_MAX {
        return Err(Code::BodyTooLarge.into());
    }
    let parsed = workflow::Workflow::parse(&document).map_err(invalid)?;
    let name = parsed.name().parse::<Name>().map_err(|error| {
        Refusal::from(Problem::new(Code::WorkflowInvalid).detail(format!("document.name: {error}")))
    })?;
    let json = document.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let fresh = NewDocument {
        digest: Digest::sha256(&document),
        format: if json { DocumentFormat::Json } else { DocumentFormat::Yaml },
        hosts: parsed.hosts(),
        document,
        applied_at: ctx.now,
    };
    Ok((name, fresh))
}

fn invalid(faults: Vec<workflow::Fault>) -> Refusal {
    let faults = faults.into_iter().map(|fault| Fault {
        code: fault.code.to_owned(),
        message: fault.message,
        pointer: fault.pointer,
        line: fault.line,
        column: fault.column,
    });
    Problem::new(Code::WorkflowInvalid).faults(faults.collect()).into()
}

/// Lists workflows.
pub(crate) async fn list(
    ctx: Ctx,
    At(which): At<TenantRef>,
    Ask(page): Ask<PageQuery>,
) -> Answer<Json<Page<WorkflowView>>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let mut reader = ctx.app.store.read().await?;
    let (rows, next) = reader.workflows().list(&permit, tenant.id, &page_of(page)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let latest = reader.workflows().document(&permit, row.id, row.latest).await?;
        items.push(view(row, latest.digest, latest.hosts, None));
    }
    Ok(Json(Page { items, next }))
}

/// Shows a workflow with its latest document.
pub(crate) async fn show(ctx: Ctx, At((which, name)): At<(TenantRef, Name)>) -> Answer<Json<WorkflowView>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let (row, latest) = latest(&ctx, &permit, tenant.id, &name).await?;
    let text = String::from_utf8(latest.document.to_vec()).map_err(Refusal::internal)?;
    Ok(Json(view(row, latest.digest, latest.hosts, Some(text))))
}

/// Stops a workflow from being run. Applying a new version enables it again.
pub(crate) async fn disable(
    ctx: Ctx,
    At((which, name)): At<(TenantRef, Name)>,
) -> Answer<Json<WorkflowView>> {
    let (tenant, permit) = ctx.tenant(&which).await?;
    let (row, latest) = latest(&ctx, &permit, tenant.id, &name).await?;
    let entry = ctx.deed(format!("workflow/{name}"), Some(tenant.id));
    let event = ctx.event(EventKind::WorkflowChanged, entry.resource.clone(), Some(tenant.id))?;
    let (id, now) = (row.id, ctx.now);
    ctx.app
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.workflows().set_state(&permit, tenant.id, id, WorkflowState::Disabled, now).await?;
                tx.audit(entry);
                tx.event(event);
                Ok::<_, StoreError>(())
            })
        })
        .await?;
    let row = Workflow { state: WorkflowState::Disabled, updated_at: now, ..row };
    Ok(Json(view(row, latest.digest, latest.hosts, None)))
}

async fn latest(
    ctx: &Ctx,
    permit: &Permit,
    tenant: TenantId,
    name: &Name,
) -> Answer<(Workflow, WorkflowDocument)> {
    let mut reader = ctx.app.store.read().await?;
    let row = reader.workflows().find(permit, tenant, name).await?.ok_or(Code::NotFound)?;
    let document = reader.workflows().document(permit, row.id, row.latest).await?;
    Ok((row, document))
}

fn view(row: Workflow, digest: Digest, hosts: Vec<String>, document: Option<String>) -> WorkflowView {
    let state = match row.state {
        WorkflowState::Enabled => api::workflow::WorkflowState::Enabled,
        WorkflowState::Disabled => api::workflow::WorkflowState::Disabled,
    };
    WorkflowView {
        id: row.id,
        name: row.name,
        state,
        version: row.latest,
        digest,
        hosts,
        created_at: row.created_at,
        updated_at: row.updated_at,
        document,
    }
}
