//! This machine: configuration, clock, entropy, logs, signals, files, processes, networks.
//!
//! Everything that engines must not touch is reached through here, so that a search for the crate's name finds
//! every place where the outside world can differ between two runs.

pub mod clock;
pub mod config;
pub mod confine;
pub mod entropy;
pub mod files;
mod lock;
pub mod logs;
pub mod network;
pub mod peer;
pub mod process;
pub mod resolv_conf;
pub mod secrets;
pub mod signals;
pub mod usage;
