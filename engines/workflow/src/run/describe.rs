//! What `$task`, `$workflow` and `$runtime` say.

use super::machine::RuntimeContext;
use crate::Workflow;
use crate::jq::Value;
use crate::model::Task;
use std::sync::Arc;
use terms::Timestamp;

/// What `$runtime.version` says. It changes when what a workflow can observe changes, not with every release, so
/// that a journal replays across releases.
const RUNTIME_VERSION: &str = "1";

pub(crate) fn runtime() -> Value {
    Value::object([("name", Value::text("palisade")), ("version", Value::text(RUNTIME_VERSION))])
}

pub(crate) fn workflow(of: &Workflow, input: &Value, context: &RuntimeContext) -> Value {
    Value::object([
        ("id", Value::text(context.execution_id.as_str())),
        ("definition", Value::from(of.document())),
        ("input", input.clone()),
        ("startedAt", time(context.started_at)),
    ])
}

pub(crate) fn task(task: &Task, document: &serde_json::Value, input: &Value, now: Timestamp) -> Value {
    let definition = document.pointer(&task.pointer).map_or(Value::Null, Value::from);
    Value::object([
        ("name", Value::Text(Arc::clone(&task.name))),
        ("reference", Value::text(task.pointer.as_str())),
        ("definition", definition),
        ("input", input.clone()),
        ("startedAt", time(now)),
    ])
}

/// A date and time as the language describes it.
fn time(at: Timestamp) -> Value {
    let epoch =
        Value::object([("seconds", Value::Int(at.unix_s())), ("milliseconds", Value::Int(at.unix_ms()))]);
    Value::object([("iso8601", Value::text(at.to_string())), ("epoch", epoch)])
}
