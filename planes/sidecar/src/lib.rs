//! The metering sidecar: swears to what one data plane consumed.
//!
//! It runs as its own user, with its own key, and trusts neither the data plane (whose counters it adds up and
//! checks) nor the network (what it sent is kept until it is answered). [`metering`] is the whole of its memory;
//! [`run`] gives it a socket, a clock and a control plane.

pub mod config;
pub mod disk;
mod frame;
mod journal;
pub mod key;
pub mod metering;
mod record;
pub mod run;
pub mod sample;
pub mod walls;

pub use config::MeterConfig;
pub use journal::JournalError;
pub use run::{End, RunError, run};
