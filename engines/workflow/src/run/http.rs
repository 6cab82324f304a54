//! Makes HTTP calls out of tasks, and outputs out of responses.

use super::effect::{Effect, HttpCall, HttpFailure, HttpOutput, HttpReply};
use super::evaluate::Surroundings;
use super::frame::Activity;
use super::machine::{Machine, lost};
use super::problem::{FaultKind, RunFault, Stop};
use crate::jq::{Map, Value, percent_encode};
use crate::model::{Call, Definition, Endpoint, Target, UriPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use url::Url;

/// How long a call may take if nothing around it ends earlier, in milliseconds.
const CALL_MS_MAX: u64 = 60_000;
/// The longest URL, in bytes: what servers commonly read.
const URL_MAX: usize = 8 * 1024;
/// The longest value of a header, in bytes.
const HEADER_MAX: usize = 8 * 1024;

impl Machine {
    /// The call that a task makes.
    pub(crate) fn http_call(
        &mut self,
        definition: &Definition,
        call: &Call,
        around: Surroundings<'_>,
    ) -> Result<Effect, Stop> {
        if self.http_calls >= self.limits.http_calls {
            return Err(Stop::limit(FaultKind::HttpLimit, around.pointer, "the run has no more HTTP calls"));
        }
        let mut url = self.url(definition, &call.endpoint, around)?;
        for (name, template) in &call.query {
            let value = self.fill(definition, template, around)?;
            if let Some(text) = optional_scalar(&value, around.pointer)? {
                url.query_pairs_mut().append_pair(name, &text);
            }
        }
        if url.as_str().len() > URL_MAX {
            return Err(invalid(around.pointer, "the URL is too long"));
        }
        let mut headers = Vec::new();
        for (name, template) in &call.headers {
            let value = self.fill(definition, template, around)?;
            if let Some(text) = optional_scalar(&value, around.pointer)? {
                headers.push((name.clone(), header_value(text, around.pointer)?));
            }
        }
        let body = call.body.as_ref().map(|template| self.fill(definition, template, around)).transpose()?;
        if body.is_some() && !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        self.http_calls = self.http_calls.saturating_add(1);
        self.set_activity(Activity::Calling);
        Ok(Effect::Http(HttpCall {
            method: call.method.clone(),
            url: url.into(),
            headers,
            body: body.as_ref().map(Into::into),
            output: call.output,
            timeout_ms: self.remaining_ms().min(CALL_MS_MAX),
            step: self.steps,
            task: around.pointer.to_owned(),
        }))
    }

    fn url(
        &mut self,
        definition: &Definition,
        endpoint: &Endpoint,
        around: Surroundings<'_>,
    ) -> Result<Url, Stop> {
        let text = match &endpoint.target {
            Target::Whole(id) => {
                let value = self.evaluate(definition, *id, around)?;
                value
                    .as_text()
                    .map(str::to_owned)
                    .ok_or_else(|| invalid(around.pointer, "the URL is not a text"))?
            }
            Target::Parts(parts) => {
                let mut text = endpoint.origin.clone();
                for part in parts {
                    match part {
                        UriPart::Literal(literal) => text.push_str(literal),
                        UriPart::Input(path) => text.push_str(&uri_value(path, around)?),
                    }
                }
                text
            }
        };
        let url = Url::parse(&text).map_err(|_| invalid(around.pointer, "the URL can't be read"))?;
        // The origin was checked as text; this checks what a client will make of the whole.
        let same =
            url.origin().ascii_serialization() == endpoint.origin && url.host_str() == Some(&endpoint.host);
        if !same || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(invalid(around.pointer, "the URL leaves its origin"));
        }
        Ok(url)
    }

    /// The output of the task whose call was answered.
    pub(crate) fn http_output(
        &self,
        definition: &Definition,
        outcome: Result<HttpReply, HttpFailure>,
    ) -> Result<Value, Stop> {
        let Some(Effect::Http(call)) = &self.pending else { return Err(lost()) };
        let pointer =
            self.top_task().and_then(|frame| definition.task(frame.id)).map_or("", |task| &task.pointer);
        let reply = outcome.map_err(|failure| failed(&failure, pointer))?;
        if !(200..300).contains(&reply.status) {
            let mut fault =
                RunFault::new(FaultKind::Http, pointer, format!("the server answered {}", reply.status));
            fault.problem.status = reply.status;
            return Err(Stop::Error(Box::new(fault)));
        }
        let weight = u64::try_from(reply.body.len()).unwrap_or(u64::MAX);
        if weight > self.limits.memory_bytes {
            return Err(Stop::limit(FaultKind::MemoryLimit, pointer, "the response is too large"));
        }
        let output = match call.output {
            HttpOutput::Raw => Value::text(STANDARD.encode(&reply.body)),
            HttpOutput::Content => content(&reply, pointer)?,
            HttpOutput::Response => Value::object([
                (
                    "request",
                    Value::object([
                        ("method", Value::text(call.method.as_str())),
                        ("uri", Value::text(call.url.as_str())),
                        ("headers", header_map(&call.headers)),
                    ]),
                ),
                ("statusCode", Value::Int(reply.status.into())),
                ("headers", header_map(&reply.headers)),
                ("content", content(&reply, pointer)?),
            ]),
        };
        self.admit(output, pointer)
    }
}

fn invalid(pointer: &str, detail: &str) -> Stop {
    Stop::error(FaultKind::Validation, pointer, detail)
}

fn failed(failure: &HttpFailure, pointer: &str) -> Stop {
    if failure.code == HttpFailure::TIMEOUT {
        return Stop::error(FaultKind::Timeout, pointer, "the call took too long");
    }
    Stop::error(FaultKind::Http, pointer, format!("the call failed: {}", failure.code))
}

/// A text, number or boolean as text; null leaves the place out.
fn optional_scalar(value: &Value, pointer: &str) -> Result<Option<String>, Stop> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.to_string())),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => Ok(Some(value.to_string())),
        Value::List(_) | Value::Map(_) => {
            Err(invalid(pointer, "a header or query value is a text, number or boolean"))
        }
    }
}

/// A part of the task's input, encoded so that it stays one part of the URL.
fn uri_value(path: &[String], around: Surroundings<'_>) -> Result<String, Stop> {
    let found = path.iter().try_fold(around.input, |value, key| match value {
        Value::Map(map) => map.get(key),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => {
            None
        }
    });
    let text = found.map(|value| optional_scalar(value, around.pointer)).transpose()?.flatten();
    let Some(text) = text else {
        return Err(invalid(around.pointer, &format!("the input has no `{}` for the URL", path.join("."))));
    };
    // Dots alone would be steps up the path, also when encoded.
    if text.bytes().all(|b| b == b'.') {
        return Err(invalid(around.pointer, &format!("`{}` can't be part of a URL", path.join("."))));
    }
    Ok(percent_encode(&text))
}

fn header_value(text: String, pointer: &str) -> Result<String, Stop> {
    let visible = text.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\t');
    if !visible || text.len() > HEADER_MAX {
        return Err(invalid(pointer, "a header's value is visible ASCII"));
    }
    Ok(text)
}

fn header_map(headers: &[(String, String)]) -> Value {
    let entries = headers.iter().map(|(name, value)| (Arc::from(name.as_str()), Value::text(value.as_str())));
    Value::map(entries.collect::<Map>())
}

/// JSON as a value, text as a text, anything else in base64.
fn content(reply: &HttpReply, pointer: &str) -> Result<Value, Stop> {
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    let kind = reply.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, kind)| kind);
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&reply.body);
        let json = json.map_err(|_| {
            Stop::error(FaultKind::Http, pointer, "the response is not the JSON it says it is")
        })?;
        return Ok(Value::from(&json));
    }
    match std::str::from_utf8(&reply.body) {
        Ok(text) => Ok(Value::text(text)),
        Err(_) => Ok(Value::text(STANDARD.encode(&reply.body))),
    }
}
