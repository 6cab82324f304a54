//! Whole lives, from the first day to the last: of tenants, workflows, executions and keys.

mod execution;
mod keys;
mod tenant;
mod workflow;

use api::Problem;
use api::execution::{ExecutionState, ExecutionView};
use api::page::Page;
use api::tenant::TenantView;
use http::Request;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use terms::ExecutionId;
use trials::{Api, Denied, Process, Site, running_in, wait_until};

/// How long anything may take that has to happen by itself.
const SOON: Duration = Duration::from_secs(60);

/// A tenant of a trial's own, as its operator sees it.
struct Home<'s> {
    site: &'s Site,
    api: Api,
    tenant: TenantView,
}

impl<'s> Home<'s> {
    /// Creates the tenant and waits until its data plane and its sidecar run.
    async fn found(site: &'s Site, name: &str) -> Self {
        let api = site.api().unwrap();
        let tenant = api.create_tenant(name).await.unwrap();
        let home = Self { site, api, tenant };
        home.is_up().await;
        home
    }

    async fn is_up(&self) {
        let up = wait_until(SOON, async || self.processes().len() == 2).await;
        assert!(up, "{:?}\n{}", self.processes(), self.site.said());
    }

    async fn is_down(&self) {
        let down = wait_until(SOON, async || self.processes().is_empty()).await;
        assert!(down, "{:?}", self.processes());
    }

    /// Its processes: their folders carry its id.
    fn processes(&self) -> Vec<Process> {
        let folder = |part: &str| self.site.state().join(format!("{part}-{}", self.tenant.id));
        ["data", "meter"].iter().flat_map(|part| running_in(&folder(part))).collect()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.tenant.name)
    }

    async fn get<T: DeserializeOwned>(&self, rest: &str) -> T {
        self.api.get(&self.path(rest)).await.unwrap()
    }

    /// Sends a request below the tenant's path, and gives the answer or the refusal.
    async fn ask(&self, method: &str, rest: &str, body: Option<Value>) -> Result<Value, Denied> {
        let request = Request::builder().method(method).header("content-type", "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.sent(request, rest, body).await
    }

    /// Asks to start an execution under an idempotency key.
    async fn start(&self, workflow: &str, input: Value, key: &str) -> Result<ExecutionView, Denied> {
        let request = Request::builder().method("POST").header("content-type", "application/json");
        let request = request.header(api::execution::IDEMPOTENCY_KEY, key);
        let body = json!({ "workflow": workflow, "input": input }).to_string();
        let started = self.sent(request, "/executions", body).await?;
        Ok(serde_json::from_value(started).unwrap())
    }

    async fn sent(&self, request: http::request::Builder, rest: &str, body: String) -> Result<Value, Denied> {
        let path = self.path(rest);
        let (status, answer) = self.api.raw_as_operator(request, &path, body.into_bytes()).await.unwrap();
        if status < 300 {
            return Ok(serde_json::from_slice(&answer).unwrap_or_default());
        }
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        Err(Denied { status, code: problem.code })
    }

    /// Waits until the data plane has an execution.
    async fn is_accepted(&self, id: ExecutionId) {
        let state = async || self.get::<ExecutionView>(&format!("/executions/{id}")).await.state;
        let accepted = wait_until(SOON, async || state().await == ExecutionState::Accepted).await;
        assert!(accepted, "{id} is {}", state().await.as_str());
    }

    /// Waits for an execution's end, and gives its output if it completed.
    async fn end_of(&self, id: ExecutionId) -> (ExecutionState, Result<Value, Denied>) {
        let ended = self.api.end_of(self.tenant.name.as_str(), id).await.unwrap();
        (ended.state, self.ask("GET", &format!("/executions/{id}/output"), None).await)
    }

    /// Runs a workflow to its end and gives its output.
    async fn run(&self, workflow: &str, input: Value, key: &str) -> Value {
        let started = self.start(workflow, input, key).await.unwrap();
        let (state, output) = self.end_of(started.id).await;
        assert_eq!(state, ExecutionState::Completed);
        output.unwrap()
    }

    /// A page of its executions.
    async fn page(&self, query: &str) -> Page<ExecutionView> {
        self.get(&format!("/executions{query}")).await
    }
}

/// A workflow that does `tasks`, which are lines of YAML.
fn document(name: &str, tasks: &[&str]) -> String {
    let tasks: String = tasks.iter().map(|task| format!("  - {task}\n")).collect();
    format!("document: {{ dsl: '1.0.0', namespace: trial, name: {name}, version: '1.0.0' }}\ndo:\n{tasks}")
}

/// A task that lasts longer than any trial: there to be cancelled, suspended or deleted.
const WAITS: &str = "pause: { wait: { hours: 1 } }";

/// A task that gives the input back.
const ECHOES: &str = "echo: { set: { said: '${ .say }' } }";

fn denied(status: u16, code: &str) -> Denied {
    Denied { status, code: code.to_owned() }
}
