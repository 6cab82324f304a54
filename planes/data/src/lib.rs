//! One tenant's data plane: takes signed plans, runs each at most once, keeps what it produced.
//!
//! ```text
//! 5678 --plan--> routes -> gate (verify, admit once) -> journal (durable) -> 202
//!                                                          |
//!                              runtime: machine <--> egress (calls), timers (waits)
//!                                                          |
//!                              journal (end, output) -> outcome --443--> control plane
//! ```
//! Payloads stay here: plans and outputs lie sealed in the [`journal`], and only typed outcomes, security events
//! and counters leave. What an execution does before and after a crash is written at the head of [`runtime`].

pub mod config;
pub mod counters;
pub mod egress;
pub mod events;
pub mod gate;
pub mod journal;
pub mod keys;
pub mod outcome;
pub mod routes;
pub mod runtime;
mod start;
pub mod uplink;
pub mod walls;

pub use config::Config;
pub use start::{StartError, admission, run};
