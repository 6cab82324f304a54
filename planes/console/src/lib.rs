//! The command line: speaks the API only.
//!
//! Each noun of `palisade --help` is one file here. A noun parses its own arguments, calls the API through
//! [`client`], and hands what came back to [`output`]; what goes wrong is a [`failure::Failure`] with an exit
//! code and a next step. [`up`] alone starts processes, and even it talks to them through the API.

mod alarm;
mod assure;
mod audit;
mod cli;
mod client;
mod completions;
mod config;
mod connection;
mod data_plane;
mod event;
mod execution;
mod failure;
#[cfg(test)]
mod fake_api;
mod heartbeat;
mod key;
mod network;
mod node;
mod output;
mod program;
mod progress;
mod run;
mod sidecar;
mod state_dir;
mod tenant;
#[cfg(test)]
mod tests;
mod token;
mod up;
mod usage;
mod verify;
mod workflow;

pub use cli::invoke;
