//! The keeper: the process that holds the router's namespace, and owns the rules there and on the host.
//!
//! The namespace has no name and nobody else stays in it, so it ends with its keeper: the tables, and one end of each
//! link into it, and so both ends. The tables bear the owner flag, so only the keeper's own sockets can change them.
//! The keeper lives on when the node ends; the node's next start finds it by a socket that only root can open.
//!
//! A process that ends lets its sockets go a little before its namespace: the owned tables are gone while links still
//! forward. The second table of each namespace, which nobody owns, stays: the router's to its end, to let through
//! only what the first has marked; the host's until somebody deletes it, for what the host must not become.

mod clerk;
mod client;
mod commands;
mod protocol;
mod server;

pub use client::{Keeper, KeeperError, Listing};
pub use protocol::{Code, Generation, Generations, Place};
pub use server::{KeeperFault, run};

/// The table that the keeper owns, in the family `inet`.
pub const TABLE: &str = "palisade";

/// The table that nobody owns, in the family `inet`: it outlives the first.
pub const FLOOR_TABLE: &str = "palisade_floor";
