//! The workflow language: parse, check, step.
//!
//! Documents are Open Workflow (CNCF Serverless Workflow) DSL 1.0 in YAML 1.2 or JSON. [`Workflow::parse`] reads,
//! checks and compiles one; [`Run`] steps through it as a pure machine: [`Effect`]s come out, [`Reply`]s go in.
//! Expressions are jq, within a budget that no expression can leave.
//!
//! Where the specification leaves room:
//! - Where only an expression can stand (`if`, `when`, `in`, `while`, `input.from`, `output.as`, `export.as`), `${ }`
//!   may be left out. Everywhere else a text is an expression only as a whole, within `${ }`.
//! - An expression gives one value: none is null, several are an error.
//! - `if` sees the task's input. A skipped task passes on what it was given, and leads to the next task.
//! - `exit` skips the rest of the list that the task stands in; in a loop, the rest of the iteration.
//! - Each iteration of `for` works on the output of the one before; without items, the input is the output.
//! - An error that is caught without `do` leaves the `try` task's input as its output. A retry policy that is
//!   exhausted has not handled the error: `do` does, or the error goes on.
//! - Limits, and the workflow's own time, can't be caught.
//! - Jitter depends on the execution's id and the step, so that a journal replays.

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
