//! A host's agent: runs the data planes and sidecars that the control plane places here, each as its own user.
//!
//! [`supervise`] decides what to start, stop and remove; [`run`](mod@run) carries it out, one task for each process;
//! [`networks`] has the host's networks, and [`desired`] judges which ones they have to be.

pub mod config;
pub mod desired;
mod folders;
mod known;
mod networking;
pub mod networks;
mod process;
pub mod reset;
pub mod run;
mod search;
mod seat;
pub mod supervise;
mod uplink;
pub mod walls;

pub use config::NodeConfig;
pub use run::{End, RunError, run};
