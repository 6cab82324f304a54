//! TLS 1.3 listeners and clients, accept loop, request context, problem+json.
//!
//! Every connection of the system, in or out, is made here: [`tls`] is the only room that builds a TLS
//! configuration, [`listener`] the only accept loop, [`client`] the only connector.

pub mod ca;
pub mod client;
pub mod identity;
pub mod listener;
pub mod metrics;
pub mod outbox;
pub mod problem;
pub mod rate;
pub mod tls;

pub use ca::{leaf_not_after, peer_spiffe};
pub use client::{CallError, Client, ClientError, ClientOptions};
pub use listener::{Listener, ListenerLimits, Peer};
pub use problem::Problem;
