//! The control plane: who the tenants are, what they may run, what ran, what it used.
//!
//! A request goes one way: [`gate`] (who asks, how fast) -> a handler named after its resource -> `guard`
//! (permit) -> one engine (decision) -> `store` (change, audit entry and event in one commit) -> answer.

mod app;
mod assurance;
mod audit;
mod body;
mod caller;
mod carried;
mod certificate;
mod config;
mod ctx;
mod data_plane;
mod delivery;
mod endings;
mod enrolment;
mod event;
mod execution;
mod gate;
mod health;
mod heartbeat;
mod host_search;
mod identity;
mod key;
mod key_ring;
mod metrics;
mod names;
mod networks;
mod node;
mod outcome;
mod placement;
mod rates;
mod refusal;
mod router;
mod sampler;
mod start;
mod tenant;
mod timers;
mod usage;
mod workflow;
mod workflow_cache;

pub use config::{Config, ConfigFault};
pub use start::{StartError, run};
