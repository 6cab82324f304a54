//! Documents that cross planes, as types and exact bytes.
//!
//! Signatures and hashes cover bytes, never re-serialised values: each document is written once, and
//! read from the very bytes that were checked.

pub mod audit;
pub mod checkpoint;
pub mod counters;
pub mod dsse;
pub mod event;
pub mod heartbeat;
pub mod json;
pub mod jwks;
pub mod networks;
pub mod outcome;
pub mod plan;
pub mod plan_token;
