//! The keeper: the process that holds the router's namespace and owns its rules.
//!
//! The namespace has no name and nobody else stays in it, so it ends with its keeper: the tables, and one end of each
//! link into it, and so both ends. Its table bears the owner flag, so only the keeper's own socket can change it. The
//! keeper lives on when the node ends; the node's next start finds it by a socket that only root can open.
//!
//! A process that ends lets its sockets go a little before its namespace: the owned table is gone while links still
//! forward. The second table, which nobody owns, stays to the end, and lets through only what the first has marked.

mod client;
mod commands;
mod protocol;
mod server;

pub use client::{Keeper, KeeperError, Listing};
pub use protocol::{Code, Generation};
pub use server::{KeeperFault, run};

/// The table that the keeper owns, in the family `inet`.
pub const TABLE: &str = "palisade";

/// The table that nobody owns, in the family `inet`: it drops what the first has not marked.
pub const FLOOR_TABLE: &str = "palisade_floor";
