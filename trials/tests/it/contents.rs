//! What a control plane holds, to be compared before and after something that must change nothing.

use api::audit::EntryView;
use api::execution::ExecutionView;
use api::tenant::TenantView;
use api::workflow::WorkflowView;
use std::collections::BTreeMap;
use trials::Api;
use wire::event::EventOutcome;

/// Every tenant, and what it owns by name or id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    tenants: Vec<TenantView>,
    workflows: BTreeMap<String, Vec<WorkflowView>>,
    executions: BTreeMap<String, Vec<String>>,
}

impl Contents {
    pub(crate) async fn of(api: &Api) -> Self {
        let tenants: Vec<TenantView> = api.all("/v1/tenants").await.unwrap();
        let (mut workflows, mut executions) = (BTreeMap::new(), BTreeMap::new());
        for tenant in &tenants {
            let of = |what: &str| format!("/v1/tenants/{}/{what}", tenant.id);
            workflows.insert(tenant.id.to_string(), api.all(&of("workflows")).await.unwrap());
            let started: Vec<ExecutionView> = api.all(&of("executions")).await.unwrap();
            let ids = started.into_iter().map(|execution| execution.id.to_string()).collect();
            executions.insert(tenant.id.to_string(), ids);
        }
        Self { tenants, workflows, executions }
    }
}

/// The audit log, newest first, without the heartbeats that come by themselves.
pub(crate) async fn audit_log(api: &Api) -> Vec<EntryView> {
    let mut entries: Vec<EntryView> = api.all("/v1/audit/entries").await.unwrap();
    entries.retain(|view| view.entry.as_ref().is_none_or(|entry| entry.action != "heartbeat.send"));
    entries
}

/// Of those, what somebody did; what was refused is left out.
pub(crate) async fn deeds(api: &Api) -> Vec<EntryView> {
    let mut entries = audit_log(api).await;
    entries.retain(|view| view.entry.as_ref().is_none_or(|entry| entry.outcome == EventOutcome::Success));
    entries
}
