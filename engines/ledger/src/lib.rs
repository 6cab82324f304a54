//! The tamper-evident log: append, checkpoint, prove.
//!
//! The tree is RFC 6962's; it is stored as C2SP `tlog-tiles` of height 8, so that any client of that format can
//! read it. A leaf is over an entry's sealed bytes: proofs survive the destruction of the key under them.

mod append;
mod check;
mod frontier;
mod hash;
mod proof;
mod subtree;
mod tile;

pub use append::{Batch, Log};
pub use check::{LogFault, check_log};
pub use frontier::{Frontier, NewNode};
pub use hash::{empty_root, leaf_hash, node_hash};
pub use proof::{
    InclusionError, PROOF_MAX, ProofError, consistency, consistency_tiles, inclusion, inclusion_tiles,
    verify_consistency, verify_inclusion,
};
pub use subtree::{SourceError, TileSource};
pub use tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileError, TileId};
