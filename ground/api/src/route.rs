//! Every route of the control plane, as data.

use crate::assurance::{Findings, RunAssurance};
use crate::audit::{CheckpointView, ConsistencyQuery, EntryView, InclusionQuery, LeafQuery, Leaves, Proof};
use crate::data_plane::DataPlaneView;
use crate::enrolment::{
    Enrol, Enrolled, IssueEnrolment, IssuedCertificate, IssuedEnrolment, RenewCertificate,
};
use crate::event::{AlarmView, DeliverEvents};
use crate::execution::{
    DeliverOutcomes, Delivered, ExecutionQuery, ExecutionView, ExecutionWait, SignedPlanView, StartExecution,
};
use crate::heartbeat::{DeliverHeartbeats, HeartbeatReceipts, HeartbeatView, SidecarView};
use crate::key::Keys;
use crate::names::{DnsMessage, DnsQuery};
use crate::network::{HostView, NetworkView, ProbeView, ReportNetworks, ReportProbe};
use crate::node::NodeView;
use crate::page::{Page, PageQuery};
use crate::placement::{HostSearch, Placements, ReportPlacements};
use crate::tenant::{CreateTenant, SuspendTenant, TenantView};
use crate::usage::{UsageQuery, UsageView};
use crate::workflow::{AppliedWorkflow, ApplyWorkflow, WorkflowView};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use terms::Action;
use wire::dsse::Envelope;
use wire::event::SecurityEvent;
use wire::jwks::Jwks;

/// How a caller proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Anyone may ask: keys, liveness, the contract itself.
    Public,
    /// An operator token or an enrolled certificate, and a permit for the action.
    Permit(Action),
    /// A one-time enrolment token.
    EnrolmentToken,
}

/// One route.
#[derive(Clone, Copy)]
pub struct Route {
    /// `get`, `post` or `delete`.
    pub method: &'static str,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// A stable name, the OpenAPI `operationId`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may ask.
    pub auth: Auth,
    /// The query's schema.
    pub query: Option<SchemaOf>,
    /// The body's schema.
    pub body: Option<SchemaOf>,
    /// The status of a success.
    pub status: u16,
    /// The answer's schema; `None` is an empty or binary body.
    pub answer: Option<SchemaOf>,
}

/// Writes a type's schema into a generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// No query, no body, or no JSON answer.
const NONE: Option<SchemaOf> = None;

const fn some<T: JsonSchema>() -> Option<SchemaOf> {
    Some(of::<T>)
}

const fn permit(action: Action) -> Auth {
    Auth::Permit(action)
}

macro_rules! routes {
    ($($name:ident: $method:ident $path:literal, $auth:expr, $query:expr, $body:expr => $status:literal $answer:expr, $summary:literal;)*) => {
        /// Every route, in the order of the OpenAPI document.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            name: stringify!($name),
            summary: $summary,
            auth: $auth,
            query: $query,
            body: $body,
            status: $status,
            answer: $answer,
        },)*];
    };
}

routes! {
    livez: get "/livez", Auth::Public, NONE, NONE => 200 NONE, "Says that the process runs.";
    readyz: get "/readyz", Auth::Public, NONE, NONE => 200 NONE, "Says that the process can serve: its database answers and a signing key is active.";
    jwks: get "/.well-known/jwks.json", Auth::Public, NONE, NONE => 200 some::<Jwks>(), "Lists the keys that verify plan tokens.";
    openapi: get "/v1/openapi.json", Auth::Public, NONE, NONE => 200 some::<serde_json::Value>(), "Gives this contract.";

    create_tenant: post "/v1/tenants", permit(Action::CreateTenant), NONE, some::<CreateTenant>() => 201 some::<TenantView>(), "Creates a tenant.";
    list_tenants: get "/v1/tenants", permit(Action::ReadTenant), some::<PageQuery>(), NONE => 200 some::<Page<TenantView>>(), "Lists tenants.";
    show_tenant: get "/v1/tenants/{tenant}", permit(Action::ReadTenant), NONE, NONE => 200 some::<TenantView>(), "Shows a tenant.";
    delete_tenant: delete "/v1/tenants/{tenant}", permit(Action::DeleteTenant), NONE, NONE => 204 NONE, "Deletes a tenant and everything that it owns.";
    suspend_tenant: post "/v1/tenants/{tenant}/suspend", permit(Action::SuspendTenant), NONE, some::<SuspendTenant>() => 200 some::<TenantView>(), "Stops a tenant from starting anything new.";
    resume_tenant: post "/v1/tenants/{tenant}/resume", permit(Action::ResumeTenant), NONE, NONE => 200 some::<TenantView>(), "Lets a suspended tenant run again.";

    apply_workflow: post "/v1/tenants/{tenant}/workflows", permit(Action::ApplyWorkflow), NONE, some::<ApplyWorkflow>() => 200 some::<AppliedWorkflow>(), "Applies a workflow document.";
    list_workflows: get "/v1/tenants/{tenant}/workflows", permit(Action::ReadWorkflow), some::<PageQuery>(), NONE => 200 some::<Page<WorkflowView>>(), "Lists workflows.";
    show_workflow: get "/v1/tenants/{tenant}/workflows/{workflow}", permit(Action::ReadWorkflow), NONE, NONE => 200 some::<WorkflowView>(), "Shows a workflow with its latest document.";
    disable_workflow: post "/v1/tenants/{tenant}/workflows/{workflow}/disable", permit(Action::DisableWorkflow), NONE, NONE => 200 some::<WorkflowView>(), "Stops a workflow from being run.";

    start_execution: post "/v1/tenants/{tenant}/executions", permit(Action::StartExecution), NONE, some::<StartExecution>() => 201 some::<ExecutionView>(), "Starts an execution; the header Idempotency-Key makes a retry safe.";
    list_executions: get "/v1/tenants/{tenant}/executions", permit(Action::ReadExecution), some::<ExecutionQuery>(), NONE => 200 some::<Page<ExecutionView>>(), "Lists executions, newest first.";
    show_execution: get "/v1/tenants/{tenant}/executions/{execution}", permit(Action::ReadExecution), some::<ExecutionWait>(), NONE => 200 some::<ExecutionView>(), "Shows an execution, on request once it has ended.";
    execution_plan: get "/v1/tenants/{tenant}/executions/{execution}/plan", permit(Action::ReadOutput), NONE, NONE => 200 some::<SignedPlanView>(), "Gives an execution's plan and its token, for anyone to verify.";
    execution_output: get "/v1/tenants/{tenant}/executions/{execution}/output", permit(Action::ReadOutput), NONE, NONE => 200 NONE, "Streams an execution's output out of its data plane.";
    cancel_execution: post "/v1/tenants/{tenant}/executions/{execution}/cancel", permit(Action::CancelExecution), NONE, NONE => 202 some::<ExecutionView>(), "Cancels an execution.";

    usage: get "/v1/tenants/{tenant}/usage", permit(Action::ReadUsage), some::<UsageQuery>(), NONE => 200 some::<UsageView>(), "Shows a tenant's metered usage.";
    list_heartbeats: get "/v1/tenants/{tenant}/heartbeats", permit(Action::ReadHeartbeat), some::<PageQuery>(), NONE => 200 some::<Page<HeartbeatView>>(), "Lists stored heartbeats, newest first, with their envelopes.";
    list_sidecars: get "/v1/tenants/{tenant}/sidecars", permit(Action::ReadHeartbeat), NONE, NONE => 200 some::<Page<SidecarView>>(), "Lists a tenant's sidecars with their public keys.";

    send_heartbeat: post "/v1/heartbeats", permit(Action::SendHeartbeat), NONE, some::<Envelope>() => 200 some::<HeartbeatReceipts>(), "Delivers one heartbeat.";
    send_heartbeats: post "/v1/heartbeats/batch", permit(Action::SendHeartbeat), NONE, some::<DeliverHeartbeats>() => 200 some::<HeartbeatReceipts>(), "Delivers up to 1 000 heartbeats.";
    send_outcomes: post "/v1/outcomes", permit(Action::SendOutcome), NONE, some::<DeliverOutcomes>() => 200 some::<Delivered>(), "Delivers outcomes of executions.";
    send_events: post "/v1/events", permit(Action::SendEvent), NONE, some::<DeliverEvents>() => 200 some::<Delivered>(), "Delivers security events.";
    list_events: get "/v1/events", permit(Action::ReadEvent), some::<PageQuery>(), NONE => 200 some::<Page<SecurityEvent>>(), "Lists security events, newest first.";
    list_alarms: get "/v1/alarms", permit(Action::ReadEvent), some::<PageQuery>(), NONE => 200 some::<Page<AlarmView>>(), "Lists alarms, newest first.";

    issue_enrolment: post "/v1/enrolments", permit(Action::IssueEnrolment), NONE, some::<IssueEnrolment>() => 201 some::<IssuedEnrolment>(), "Issues a one-time enrolment token.";
    enrol: post "/v1/enrol", Auth::EnrolmentToken, NONE, some::<Enrol>() => 201 some::<Enrolled>(), "Enrols a data plane, a sidecar or a node.";
    renew_certificate: post "/v1/certificates/renew", permit(Action::RenewCertificate), NONE, some::<RenewCertificate>() => 201 some::<IssuedCertificate>(), "Renews the caller's certificate.";

    placements: get "/v1/placements", permit(Action::ReadPlacement), NONE, NONE => 200 some::<Placements>(), "Says which data planes the calling node has to run.";
    report_placements: post "/v1/placements/report", permit(Action::ReportPlacement), NONE, some::<ReportPlacements>() => 204 NONE, "Reports what the calling node runs.";
    report_search: post "/v1/placements/search", permit(Action::ReportPlacement), NONE, some::<HostSearch>() => 204 NONE, "Reports what the calling node found when it searched its host for secrets in logs.";
    list_data_planes: get "/v1/data-planes", permit(Action::ReadTenant), some::<PageQuery>(), NONE => 200 some::<Page<DataPlaneView>>(), "Lists data planes.";

    ask_name: get "/dns-query", permit(Action::ResolveName), some::<DnsQuery>(), NONE => 200 some::<DnsMessage>(), "Answers a data plane's DNS query (RFC 8484).";
    resolve_name: post "/dns-query", permit(Action::ResolveName), NONE, some::<DnsMessage>() => 200 some::<DnsMessage>(), "Answers a data plane's DNS query (RFC 8484), which is the body.";
    desired_networks: get "/v1/networks/desired", permit(Action::ReadDesiredNetwork), NONE, NONE => 200 some::<Envelope>(), "Gives the signed networks that the calling node's host has to have.";
    report_networks: post "/v1/networks/report", permit(Action::ReportNetwork), NONE, some::<ReportNetworks>() => 204 NONE, "Reports the networks of the calling node's host.";
    report_probe: post "/v1/networks/probe-report", permit(Action::ReportNetwork), NONE, some::<ReportProbe>() => 204 NONE, "Reports what the calling node found when it probed its networks.";
    list_networks: get "/v1/networks", permit(Action::ReadNetwork), some::<PageQuery>(), NONE => 200 some::<Page<NetworkView>>(), "Lists tenant networks, by host and number.";
    list_network_hosts: get "/v1/networks/hosts", permit(Action::ReadNetwork), some::<PageQuery>(), NONE => 200 some::<Page<HostView>>(), "Lists hosts with how far their networks are what they should be.";
    ask_probes: post "/v1/networks/probes", permit(Action::ProbeNetwork), NONE, NONE => 202 some::<ProbeView>(), "Asks every host to probe its networks through its kernel.";
    show_probes: get "/v1/networks/probes", permit(Action::ReadNetwork), NONE, NONE => 200 some::<ProbeView>(), "Shows what the hosts that were asked last have found.";
    list_nodes: get "/v1/nodes", permit(Action::ReadNode), some::<PageQuery>(), NONE => 200 some::<Page<NodeView>>(), "Lists nodes, oldest first.";
    drain_node: post "/v1/nodes/{node}/drain", permit(Action::DrainNode), NONE, NONE => 200 some::<NodeView>(), "Sends no new tenants to a node, and those that it has to other nodes that have room.";
    resume_node: post "/v1/nodes/{node}/resume", permit(Action::DrainNode), NONE, NONE => 200 some::<NodeView>(), "Lets tenants come to a node again.";
    remove_node: delete "/v1/nodes/{node}", permit(Action::DrainNode), NONE, NONE => 204 NONE, "Removes a node that has no tenants.";

    list_keys: get "/v1/keys", permit(Action::ReadKey), NONE, NONE => 200 some::<Keys>(), "Lists plan-signing keys.";
    rotate_keys: post "/v1/keys/rotate", permit(Action::RotateKey), NONE, NONE => 202 some::<Keys>(), "Begins a rotation: a new key is published now and signs once every data plane can know it.";

    list_audit: get "/v1/audit/entries", permit(Action::ReadAudit), some::<PageQuery>(), NONE => 200 some::<Page<EntryView>>(), "Lists audit entries, newest first.";
    audit_leaves: get "/v1/audit/leaves", permit(Action::ReadAudit), some::<LeafQuery>(), NONE => 200 some::<Leaves>(), "Gives sealed leaves for offline verification.";
    audit_checkpoint: get "/v1/audit/checkpoint", permit(Action::ReadAudit), NONE, NONE => 200 some::<CheckpointView>(), "Gives a signed checkpoint of the log as it is now.";
    audit_inclusion: get "/v1/audit/inclusion", permit(Action::ReadAudit), some::<InclusionQuery>(), NONE => 200 some::<Proof>(), "Proves that an entry is in the log.";
    audit_consistency: get "/v1/audit/consistency", permit(Action::ReadAudit), some::<ConsistencyQuery>(), NONE => 200 some::<Proof>(), "Proves that a newer log extends an older one.";

    run_assurance: post "/v1/assurance/runs", permit(Action::RunAssurance), NONE, some::<RunAssurance>() => 200 some::<Findings>(), "Runs control checks against the running system and keeps what they find.";
    assurance_results: get "/v1/assurance/results", permit(Action::ReadAssurance), NONE, NONE => 200 some::<Findings>(), "Shows what the last checks found, with every control that is not built yet.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_route_and_no_name_stands_twice() {
        let places: BTreeSet<_> = ROUTES.iter().map(|r| (r.method, r.path)).collect();
        let names: BTreeSet<_> = ROUTES.iter().map(|r| r.name).collect();
        assert_eq!((places.len(), names.len()), (ROUTES.len(), ROUTES.len()));
    }

    #[test]
    fn only_keys_liveness_and_the_contract_are_public() {
        let public: Vec<_> = ROUTES.iter().filter(|r| r.auth == Auth::Public).map(|r| r.name).collect();
        assert_eq!(public, ["livez", "readyz", "jwks", "openapi"]);
    }
}
