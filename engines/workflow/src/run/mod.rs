//! Runs a workflow as a pure machine: effects come out, replies go in.
//!
//! The machine holds no clock and does no I/O. The same replies at the same times give the same effects, so a
//! journal of replies brings a run back after a crash.

mod describe;
mod effect;
mod evaluate;
mod failing;
mod frame;
mod http;
mod machine;
mod problem;
mod stack;
mod task;

pub use effect::{Effect, HttpCall, HttpFailure, HttpOutput, HttpReply, Reply};
pub use machine::{Limits, Run, RuntimeContext};
pub use problem::{FaultKind, Problem, RunFault};
