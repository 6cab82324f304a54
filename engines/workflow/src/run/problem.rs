//! What goes wrong in a run: errors that a workflow may catch, and faults that end it.

use crate::jq::{Map, Value};
use std::sync::Arc;

/// Where the language's own error types live (DSL 1.0.0, standard error types).
const TYPES: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";

/// Why a run failed: a closed list, safe to leave the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The workflow raised an error that nothing caught.
    Raised,
    /// An expression failed.
    Expression,
    /// A task or the workflow took too long.
    Timeout,
    /// The limit of steps, or of expression steps, is spent.
    StepLimit,
    /// A value is too large or nests too deeply.
    MemoryLimit,
    /// The output is too large.
    OutputLimit,
    /// The limit of HTTP calls is spent.
    HttpLimit,
    /// An HTTP call had no good response.
    Http,
    /// A computed value can't be used where it is.
    Validation,
    /// The machine was used wrongly.
    Runtime,
}

impl FaultKind {
    /// Every kind, in the order of this list.
    pub const ALL: [Self; 10] = [
        Self::Raised,
        Self::Expression,
        Self::Timeout,
        Self::StepLimit,
        Self::MemoryLimit,
        Self::OutputLimit,
        Self::HttpLimit,
        Self::Http,
        Self::Validation,
        Self::Runtime,
    ];

    /// The kind's stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Expression => "expression",
            Self::Timeout => "timeout",
            Self::StepLimit => "step-limit",
            Self::MemoryLimit => "memory-limit",
            Self::OutputLimit => "output-limit",
            Self::HttpLimit => "http-limit",
            Self::Http => "http",
            Self::Validation => "validation",
            Self::Runtime => "runtime",
        }
    }

    /// The language's error type, and its status.
    const fn standard(self) -> (&'static str, u16) {
        match self {
            Self::Expression => ("expression", 400),
            Self::Timeout => ("timeout", 408),
            Self::Http => ("communication", 500),
            Self::Validation => ("validation", 400),
            Self::Raised
            | Self::StepLimit
            | Self::MemoryLimit
            | Self::OutputLimit
            | Self::HttpLimit
            | Self::Runtime => ("runtime", 500),
        }
    }
}

/// How a run failed. The problem may hold what the tenant wrote or received: it stays in the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFault {
    /// Why, from a closed list.
    pub kind: FaultKind,
    /// The error itself, for the tenant.
    pub problem: Problem,
}

/// An error as workflows see it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The error's type, a URI.
    pub r#type: String,
    /// The status code.
    pub status: u16,
    /// A short text for the type.
    pub title: Option<String>,
    /// What happened this time.
    pub detail: Option<String>,
    /// The task as a JSON pointer into the document.
    pub instance: Option<String>,
}

impl Problem {
    /// The problem as a JSON object, without what it doesn't have.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        (&self.to_value()).into()
    }

    pub(crate) fn to_value(&self) -> Value {
        let texts = [("title", &self.title), ("detail", &self.detail), ("instance", &self.instance)];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, Value::text(text.as_deref()?))));
        let parts = [("type", Value::text(self.r#type.as_str())), ("status", Value::Int(self.status.into()))];
        Value::map(
            parts.into_iter().chain(texts).map(|(key, value)| (Arc::from(key), value)).collect::<Map>(),
        )
    }
}

impl RunFault {
    /// A fault of the platform's own, at the task `instance`.
    pub(crate) fn new(kind: FaultKind, instance: &str, detail: impl Into<String>) -> Self {
        let (name, status) = kind.standard();
        let problem = Problem {
            r#type: format!("{TYPES}{name}"),
            status,
            title: None,
            detail: Some(detail.into()),
            instance: (!instance.is_empty()).then(|| instance.to_owned()),
        };
        Self { kind, problem }
    }
}

/// Why a step of the machine did not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An error that a `try` around may catch.
    Error(Box<RunFault>),
    /// The end of the run: a limit.
    Limit(Box<RunFault>),
}

impl Stop {
    pub(crate) fn error(kind: FaultKind, instance: &str, detail: impl Into<String>) -> Self {
        Self::Error(Box::new(RunFault::new(kind, instance, detail)))
    }

    pub(crate) fn limit(kind: FaultKind, instance: &str, detail: impl Into<String>) -> Self {
        Self::Limit(Box::new(RunFault::new(kind, instance, detail)))
    }
}
