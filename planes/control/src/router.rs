//! Routes to handlers. The list is `api::route::ROUTES`; a route without a handler does not start.

use crate::app::App;
use crate::gate::{self, Gate};
use crate::refusal::Refusal;
use crate::{
    assurance, audit, body, data_plane, enrolment, event, execution, health, heartbeat, key, names, networks,
    node, outcome, placement, tenant, usage, workflow,
};
use api::Code;
use api::route::{ROUTES, Route};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use std::sync::Arc;

/// Builds the router: each route behind its own gate.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let Some(handler) = handler(route) else { continue };
        let gate = Gate { app: Arc::clone(app), route };
        router = router.route(route.path, handler.layer(from_fn_with_state(gate, gate::pass)));
    }
    router
        .fallback(|| async { Refusal::from(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Refusal::from(Code::MethodNotAllowed) })
        .layer(DefaultBodyLimit::max(body::BODY_MAX))
        .with_state(Arc::clone(app))
}

type Routed = MethodRouter<Arc<App>>;

/// The handler of a route.
fn handler(route: &Route) -> Option<Routed> {
    let filter = match route.method {
        "get" => MethodFilter::GET,
        "post" => MethodFilter::POST,
        "delete" => MethodFilter::DELETE,
        _ => return None,
    };
    operations(route.name, filter).or_else(|| reports(route.name, filter))
}

/// What operators do.
fn operations(name: &str, filter: MethodFilter) -> Option<Routed> {
    Some(match name {
        "livez" => on(filter, health::livez),
        "readyz" => on(filter, health::readyz),
        "jwks" => on(filter, health::jwks),
        "openapi" => on(filter, health::openapi),
        "create_tenant" => on(filter, tenant::create),
        "list_tenants" => on(filter, tenant::list),
        "show_tenant" => on(filter, tenant::show),
        "delete_tenant" => on(filter, tenant::delete),
        "suspend_tenant" => on(filter, tenant::suspend),
        "resume_tenant" => on(filter, tenant::resume),
        "apply_workflow" => on(filter, workflow::apply),
        "list_workflows" => on(filter, workflow::list),
        "show_workflow" => on(filter, workflow::show),
        "disable_workflow" => on(filter, workflow::disable),
        "start_execution" => on(filter, execution::start),
        "list_executions" => on(filter, execution::list),
        "show_execution" => on(filter, execution::show),
        "execution_plan" => on(filter, execution::plan),
        "execution_output" => on(filter, execution::output),
        "cancel_execution" => on(filter, execution::cancel),
        "usage" => on(filter, usage::show),
        "list_networks" => on(filter, networks::list),
        "list_network_hosts" => on(filter, networks::hosts),
        "ask_probes" => on(filter, networks::ask_probes),
        "show_probes" => on(filter, networks::show_probes),
        "list_nodes" => on(filter, node::list),
        "drain_node" => on(filter, node::drain),
        "resume_node" => on(filter, node::resume),
        "remove_node" => on(filter, node::remove),
        "list_keys" => on(filter, key::list),
        "rotate_keys" => on(filter, key::rotate),
        "list_audit" => on(filter, audit::list),
        "audit_leaves" => on(filter, audit::leaves),
        "audit_checkpoint" => on(filter, audit::checkpoint),
        "audit_inclusion" => on(filter, audit::inclusion),
        "audit_consistency" => on(filter, audit::consistency),
        "run_assurance" => on(filter, assurance::run),
        "assurance_results" => on(filter, assurance::results),
        _ => return None,
    })
}

/// What workloads report, and how operators read it.
fn reports(name: &str, filter: MethodFilter) -> Option<Routed> {
    Some(match name {
        "list_heartbeats" => on(filter, heartbeat::list),
        "list_sidecars" => on(filter, heartbeat::sidecars),
        "send_heartbeat" => on(filter, heartbeat::send_one),
        "send_heartbeats" => on(filter, heartbeat::send_batch),
        "send_outcomes" => on(filter, outcome::send),
        "send_events" => on(filter, event::send),
        "list_events" => on(filter, event::list),
        "list_alarms" => on(filter, event::alarms),
        "issue_enrolment" => on(filter, enrolment::issue),
        "enrol" => on(filter, enrolment::enrol),
        "renew_certificate" => on(filter, enrolment::renew),
        "placements" => on(filter, placement::show),
        "report_placements" => on(filter, placement::report),
        "report_search" => on(filter, placement::search),
        "ask_name" => on(filter, names::ask),
        "resolve_name" => on(filter, names::resolve),
        "desired_networks" => on(filter, networks::desired),
        "report_networks" => on(filter, networks::report),
        "report_probe" => on(filter, networks::report_probe),
        "list_data_planes" => on(filter, data_plane::list),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_handler() {
        for route in ROUTES {
            assert!(handler(route).is_some(), "{} {}", route.method, route.path);
        }
    }
}
