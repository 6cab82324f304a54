//! The API as a client sees it: typed calls, and raw ones for what a client should not send.

use anyhow::{Context as _, Result, anyhow, bail};
use api::execution::{ExecutionView, StartExecution};
use api::page::Page;
use api::tenant::{CreateTenant, TenantView};
use api::workflow::{AppliedWorkflow, ApplyWorkflow};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serve::client::{CallError, Client, ClientOptions};
use serve::tls::{self, Roots};
use std::path::Path;
use std::time::{Duration, Instant};
use terms::{ExecutionId, Token};

/// Most bytes of an answer.
const ANSWER_MAX: usize = 8 << 20;

/// How long an execution may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one question waits for that.
const WAIT_MS: u64 = 5_000;

/// A client with the operator's token.
#[derive(Clone)]
pub struct Api {
    url: String,
    client: Client,
    token: Token,
}

/// A problem that the API answered: its status and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
}

impl Api {
    /// Connects to `url`, trusting `ca_file` only.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn connect(url: &str, ca_file: &Path, token_file: &Path) -> Result<Self> {
        let roots = Roots::from_pem(&std::fs::read_to_string(ca_file)?)?;
        let client = Client::new(tls::client_config(&roots, None)?, ClientOptions::default());
        let token = std::fs::read_to_string(token_file)?.trim().parse().map_err(|e| anyhow!("{e}"))?;
        Ok(Self { url: url.to_owned(), client, token })
    }

    /// Calls a route.
    ///
    /// # Errors
    /// Whatever goes wrong, problems included.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, CallError> {
        self.client.json(method, &format!("{}{path}", self.url), Some(&self.token), body, ANSWER_MAX).await
    }

    /// Gets a route.
    ///
    /// # Errors
    /// Whatever goes wrong, problems included.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Posts to a route.
    ///
    /// # Errors
    /// Whatever goes wrong, problems included.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Sends a request as it is, without the operator's token, and gives status and body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn raw(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes)> {
        let request: Request<Full<Bytes>> =
            request.uri(format!("{}{path}", self.url)).body(Full::new(body.into()))?;
        let response: Response<_> = self.client.send(request).await?;
        let status = response.status().as_u16();
        Ok((status, self.client.read(response, ANSWER_MAX).await?))
    }

    /// Sends a request as it is, with the operator's token.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn raw_as_operator(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes)> {
        let request = request.header("authorization", format!("Bearer {}", self.token.expose()));
        self.raw(request, path, body).await
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub async fn create_tenant(&self, name: &str) -> Result<TenantView> {
        let body = CreateTenant { name: name.parse()? };
        Ok(self.post("/v1/tenants", &body).await?)
    }

    /// Applies a workflow.
    ///
    /// # Errors
    /// Whatever goes wrong, faults in the document included.
    pub async fn apply(&self, tenant: &str, document: &str) -> Result<AppliedWorkflow, CallError> {
        let body = ApplyWorkflow { document: document.to_owned() };
        self.post(&format!("/v1/tenants/{tenant}/workflows"), &body).await
    }

    /// Starts an execution under an idempotency key.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub async fn start(&self, tenant: &str, workflow: &str, input: &str, key: &str) -> Result<ExecutionView> {
        let input: Box<RawValue> = serde_json::from_str(input)?;
        let body = StartExecution { workflow: workflow.parse()?, input, limits: None };
        let request = Request::builder()
            .method(Method::POST)
            .header("content-type", "application/json")
            .header(api::execution::IDEMPOTENCY_KEY, key);
        let path = format!("/v1/tenants/{tenant}/executions");
        let (status, body) = self.raw_as_operator(request, &path, serde_json::to_vec(&body)?).await?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        serde_json::from_slice(&body).with_context(|| format!("{status}: {}", text()))
    }

    /// Waits for an execution's end, at most `wait_ms`.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub async fn ended(&self, tenant: &str, id: ExecutionId, wait_ms: u64) -> Result<ExecutionView> {
        Ok(self.get(&format!("/v1/tenants/{tenant}/executions/{id}?wait_ms={wait_ms}")).await?)
    }

    /// Waits for an execution's end, however long the machine takes within a trial's patience.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end_of(&self, tenant: &str, id: ExecutionId) -> Result<ExecutionView> {
        let until = Instant::now() + PATIENCE;
        loop {
            let execution = self.ended(tenant, id, WAIT_MS).await?;
            if execution.state.is_final() {
                return Ok(execution);
            }
            if Instant::now() >= until {
                bail!("execution {id} is still {}", execution.state.as_str());
            }
        }
    }

    /// All items of a paged list.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}?limit=200{after}")).await?;
            items.extend(page.items);
            let Some(next) = page.next else { return Ok(items) };
            after = format!("&after={next}");
        }
    }
}

impl Denied {
    /// The problem in an answer.
    ///
    /// # Errors
    /// When it was a success or no answer came.
    pub fn of<T>(answer: Result<T, CallError>) -> Result<Self> {
        match answer {
            Ok(_) => Err(anyhow!("a success")),
            Err(CallError::Problem(problem, status)) => {
                Ok(Self { status: status.as_u16(), code: problem.code })
            }
            Err(error) => Err(error.into()),
        }
    }
}
