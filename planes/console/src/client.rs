//! Calls of the API: each names a route of the contract, whose method and path it takes from there.

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use api::page::{LIMIT_MAX, Page, PageQuery};
use api::route::{ROUTES, Route};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serve::{CallError, ClientOptions};
use terms::Token;

/// The largest answer that is held in memory: a page of a thousand audit leaves, or a 1 MiB document escaped.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// How long an answer may take: longer than the longest wait that a request can ask for.
const REQUEST_TIMEOUT_MS: u64 = api::execution::WAIT_MS_MAX + 15_000;

/// Most items that one command lists.
pub(crate) const LIST_MAX: u32 = 10_000;

/// An authenticated client of one control plane.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: serve::Client,
    url: String,
    token: Token,
}

/// One call.
#[derive(Clone)]
pub(crate) struct Call {
    route: Outcome<&'static Route>,
    parameters: Vec<String>,
    query: String,
    body: Option<Box<RawValue>>,
    idempotency_key: Option<String>,
}

// === impl Call ===

impl Call {
    /// A call of the route with this name (`operationId` in the OpenAPI document).
    #[must_use]
    pub(crate) fn to(name: &str) -> Self {
        let route = ROUTES.iter().find(|route| route.name == name).ok_or_else(|| {
            let cause = format!("the contract has no route `{name}`");
            Failure::new(Exit::Failure, "contract", cause, "report this as a defect")
        });
        Self { route, parameters: Vec::new(), query: String::new(), body: None, idempotency_key: None }
    }

    /// Fills the path's next `{parameter}`.
    #[must_use]
    pub(crate) fn at(mut self, parameter: impl core::fmt::Display) -> Self {
        self.parameters.push(percent_encoded(&parameter.to_string()));
        self
    }

    /// Adds a query.
    #[must_use]
    pub(crate) fn query(mut self, query: &impl Serialize) -> Self {
        self.query = query_string(query);
        self
    }

    /// Adds a JSON body.
    #[must_use]
    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(body) {
            Ok(body) => self.body = Some(body),
            Err(error) => {
                self.route = Err(Failure::usage(error.to_string(), "check the arguments"));
            }
        }
        self
    }

    /// Makes a retry of the call safe.
    #[must_use]
    pub(crate) fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }

    fn path(&self) -> Outcome<(Method, String)> {
        let route = self.route.clone()?;
        let mut path = String::new();
        let mut parameters = self.parameters.iter();
        for part in route.path.split('/').skip(1) {
            path.push('/');
            if !part.starts_with('{') {
                path.push_str(part);
                continue;
            }
            let Some(parameter) = parameters.next() else {
                let cause = format!("`{}` needs `{part}`", route.name);
                return Err(Failure::new(Exit::Failure, "contract", cause, "report this as a defect"));
            };
            path.push_str(parameter);
        }
        path.push_str(&self.query);
        let method = match route.method {
            "post" => Method::POST,
            "delete" => Method::DELETE,
            _ => Method::GET,
        };
        Ok((method, path))
    }
}

// === impl Client ===

impl Client {
    /// A client of the control plane at `url`.
    #[must_use]
    pub(crate) const fn new(http: serve::Client, url: String, token: Token) -> Self {
        Self { http, url, token }
    }

    /// What a connection for API calls allows.
    #[must_use]
    pub(crate) fn options() -> ClientOptions {
        ClientOptions { request_timeout_ms: REQUEST_TIMEOUT_MS, ..ClientOptions::default() }
    }

    /// The control plane's URL.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Calls, and reads the answer.
    ///
    /// # Errors
    /// The API's own problem, or why there is no answer.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call) -> Outcome<T> {
        let response = self.begin(call).await?;
        let status = response.status();
        let bytes = self.http.read(response, ANSWER_MAX).await.map_err(|error| self.failed(error))?;
        // An answer without content is the unit value.
        let content = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(content)
            .map_err(|error| self.failed(CallError::Malformed { status, reason: error.to_string() }))
    }

    /// Calls, and writes the answer's bytes to `output` as they come.
    ///
    /// # Errors
    /// The API's own problem, why there is no answer, or that the output cannot be written.
    pub(crate) async fn stream(&self, call: Call, output: &mut Output<'_>) -> Outcome {
        let response = self.begin(call).await?;
        if output.is_terminal() {
            // Whole, because a character that is cut in two could not be judged.
            let bytes = self.http.read(response, ANSWER_MAX).await.map_err(|error| self.failed(error))?;
            output.foreign(&bytes)?;
            return output.text("\n");
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let broken = |error: &dyn core::fmt::Display| {
                self.failed(CallError::Unreachable(serve::ClientError::Broken(error.to_string())))
            };
            let frame = frame.map_err(|error| broken(&error))?;
            if let Some(data) = frame.data_ref() {
                output.foreign(data)?;
            }
        }
        output.flush()
    }

    /// Calls a list route, and follows its pages until `limit` items are there.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn list<T: DeserializeOwned>(&self, call: Call, limit: u32) -> Outcome<Vec<T>> {
        let limit = limit.min(LIST_MAX);
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let missing = limit.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
            if missing == 0 {
                return Ok(items);
            }
            let page = PageQuery { after, limit: Some(missing.min(LIMIT_MAX)) };
            let mut call = call.clone();
            call.query = joined(&call.query, &query_string(&page));
            let page: Page<T> = self.send(call).await?;
            items.extend(page.items);
            match page.next {
                // A server that gives the same page for ever is stopped by `limit`.
                Some(next) => after = Some(next),
                None => return Ok(items),
            }
        }
    }

    async fn begin(&self, call: Call) -> Outcome<Response<Incoming>> {
        let (method, path) = call.path()?;
        let request = self.request(method, &path, call)?;
        let response = self.http.send(request).await.map_err(|error| self.failed(error.into()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    fn request(&self, method: Method, path: &str, call: Call) -> Outcome<Request<Full<Bytes>>> {
        let unsendable = |error: http::Error| self.failed(CallError::Request(error.to_string()));
        let mut bearer = header::HeaderValue::try_from(format!("Bearer {}", self.token.expose()))
            .map_err(|error| unsendable(error.into()))?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer);
        if let Some(key) = call.idempotency_key {
            request = request.header(api::execution::IDEMPOTENCY_KEY, key);
        }
        let content = match call.body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(String::from(Box::<str>::from(body)))
            }
        };
        request.body(Full::new(content)).map_err(unsendable)
    }

    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        match self.http.read(response, ANSWER_MAX).await {
            Err(error) => self.failed(error),
            Ok(bytes) => match serde_json::from_slice::<api::Problem>(&bytes) {
                Ok(problem) => self.failed(CallError::Problem(Box::new(problem), status)),
                Err(_) => self.failed(no_problem(status)),
            },
        }
    }

    fn failed(&self, error: CallError) -> Failure {
        Failure::of_call(&self.url, error)
    }
}

fn no_problem(status: StatusCode) -> CallError {
    CallError::Malformed { status, reason: "it is no success and no problem".to_owned() }
}

/// The query of a struct of plain values, with its `?`.
fn query_string(query: &impl Serialize) -> String {
    let Ok(serde_json::Value::Object(members)) = serde_json::to_value(query) else {
        return String::new();
    };
    let pairs = members.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", percent_encoded(&text))
    });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn joined(first: &str, second: &str) -> String {
    match (first.is_empty(), second.strip_prefix('?')) {
        (false, Some(rest)) => format!("{first}&{rest}"),
        (true, _) => second.to_owned(),
        (false, None) => first.to_owned(),
    }
}

/// RFC 3986 section 2.1, with only the unreserved characters left as they are.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_method_and_path_from_the_contract() {
        let call = Call::to("show_workflow").at("demo").at("orders");
        assert_eq!(call.path().unwrap(), (Method::GET, "/v1/tenants/demo/workflows/orders".to_owned()));
        let call = Call::to("delete_tenant").at("a/../b?c");
        assert_eq!(call.path().unwrap(), (Method::DELETE, "/v1/tenants/a%2F..%2Fb%3Fc".to_owned()));
    }

    #[test]
    fn a_route_or_parameter_that_is_not_there_is_an_error_and_no_request() {
        assert_eq!(Call::to("no_such_route").path().unwrap_err().code, "contract");
        assert_eq!(Call::to("show_tenant").path().unwrap_err().code, "contract");
    }

    #[test]
    fn queries_are_encoded_and_absent_members_left_out() {
        let query = PageQuery { after: Some("a&b=c d".into()), limit: Some(7) };
        assert_eq!(query_string(&query), "?after=a%26b%3Dc%20d&limit=7");
        assert_eq!(query_string(&PageQuery::default()), "");
        assert_eq!(joined("?x=1", "?y=2"), "?x=1&y=2");
        assert_eq!((joined("", "?y=2"), joined("?x=1", "")), ("?y=2".into(), "?x=1".into()));
    }

    /// Every call in these sources names a route of the contract and fills each of its parameters.
    #[test]
    fn every_call_of_the_command_line_is_in_the_contract() {
        let mut calls = 0;
        for source in sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref()) {
            let text = std::fs::read_to_string(&source).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap();
            for call in product.split("Call::to(\"").skip(1) {
                let (name, rest) = call.split_once('"').unwrap();
                let route = ROUTES.iter().find(|route| route.name == name);
                let route = route.unwrap_or_else(|| panic!("{}: `{name}`", source.display()));
                let statement = rest.split([';', '?']).next().unwrap();
                let wanted = route.path.matches('{').count();
                assert_eq!(statement.matches(".at(").count(), wanted, "{}: `{name}`", source.display());
                calls += 1;
            }
        }
        assert!(calls > 25, "found {calls} calls");
    }

    fn sources(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(sources(&path)) } else { found.push(path) }
        }
        found
    }
}
