//! What is said between the node and the keeper: one line of JSON in, one out, on a connection of its own.

use crate::network::library::{OUTPUT_MAX, TEXT_MAX};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest request: a ruleset with every byte escaped, and what stands around it.
pub(super) const REQUEST_MAX: usize = 2 * TEXT_MAX + 1_024;

/// Longest answer: a listing with every byte escaped, and what stands around it.
pub(super) const ANSWER_MAX: usize = 2 * OUTPUT_MAX + 1_024;

/// Longest wait for a part of a line: both ends are on this machine, and no one else's turn comes before it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What the node asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Run this ruleset, all of it or nothing.
    Load {
        /// Where.
        place: Place,
        /// Its text.
        ruleset: String,
    },
    /// List every table.
    List {
        /// Where.
        place: Place,
    },
    /// Say both generations.
    Generations {},
    /// Hand over the router's namespace.
    Namespace {},
}

/// Where the keeper owns a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the router's namespace, which is the keeper's own.
    Router,
    /// In the host's namespace, in which the keeper was started.
    Host,
}

/// How often things changed in both namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// In the router's.
    pub router: Generation,
    /// In the host's.
    pub host: Generation,
}

/// How often things changed in a namespace. Two equal ones mean that nothing did between, not even a change that was
/// undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The number of the last change of any table.
    pub tables: u32,
    /// How many changes of links, addresses, routes and switches there were.
    pub stack: u64,
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is done.
    Done {
        /// The generation after it.
        generation: Generation,
    },
    /// Both generations.
    Generations(Generations),
    /// Every table.
    Listing {
        /// The generation that it shows.
        generation: Generation,
        /// The library's JSON.
        json: String,
    },
    /// The router's namespace comes with this line.
    Namespace,
    /// It is not done, and nothing changed.
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        detail: String,
    },
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It is no request, or longer than one may be.
    Malformed,
    /// The text touches something beside the keeper's tables.
    NotARuleset,
    /// The library or the kernel refuses the text.
    Nftables,
    /// The table would belong to nobody: the text lacks `flags owner`.
    NotOwned,
    /// The kernel refuses.
    Kernel,
}
