//! The workflow language: parse, check, step.
//!
//! Documents are Open Workflow (CNCF Serverless Workflow) DSL 1.0 in YAML 1.2 or JSON. [`Workflow::parse`] reads,
//! checks and compiles one; [`Run`] steps through it as a pure machine: [`Effect`]s come out, [`Reply`]s go in.
//! Expressions are jq, within a budget that no expression can leave.

mod duration;
mod fault;
mod jq;
mod json;
mod model;
mod node;
mod parse;
mod run;
mod workflow;
mod yaml;

pub use fault::{FAULTS_MAX, Fault};
pub use jq::{Budget, EXPRESSION_BYTES_MAX, EvaluationError, Expression, ExpressionError};
pub use run::{
    Effect, FaultKind, HttpCall, HttpFailure, HttpOutput, HttpReply, Limits, Problem, Reply, Run, RunFault,
    RuntimeContext,
};
pub use workflow::{Checks, Workflow};
pub use yaml::DOCUMENT_BYTES_MAX;
