//! Hashes of runs of leaves, read out of tiles.

use crate::frontier::{Frontier, fold};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileId};
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use terms::Digest;

/// Where stored tiles come from.
pub trait TileSource {
    /// The tile as it is stored now, whatever its width; `None` if there is none.
    fn tile(&self, id: TileId) -> Option<&Tile>;
}

impl TileSource for BTreeMap<TileId, Tile> {
    fn tile(&self, id: TileId) -> Option<&Tile> {
        self.get(&id)
    }
}

/// Says that the source lacks what the log's size says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tile `{}` is missing or too short", .0.tile_path())]
pub struct SourceError(pub TileId);

/// A perfect subtree: `2^level` leaves from `index * 2^level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Perfect {
    level: u8,
    index: u64,
}

/// The perfect subtrees that a run of leaves is made of, the largest first.
///
/// The run must begin where a subtree of its size may begin, as all runs in proofs do.
pub(crate) fn perfect_subtrees(leaves: Range<u64>) -> impl Iterator<Item = Perfect> {
    let mut start = leaves.start;
    core::iter::from_fn(move || {
        let level = (leaves.end - start).checked_ilog2()?;
        let subtree = Perfect { level: u8::try_from(level).ok()?, index: start >> level };
        start += 1 << level;
        Some(subtree)
    })
}

/// The tiles that hold the hashes under these runs of leaves.
pub(crate) fn tiles_under(runs: impl IntoIterator<Item = Range<u64>>) -> BTreeSet<TileId> {
    runs.into_iter().flat_map(perfect_subtrees).map(|subtree| subtree.place().0).collect()
}

/// The hash of a run of leaves: RFC 6962's MTH over them.
pub(crate) fn hash_of(leaves: Range<u64>, source: &impl TileSource) -> Result<Digest, SourceError> {
    let subtrees = perfect_subtrees(leaves).map(|subtree| subtree.hash(source));
    Ok(fold(&subtrees.collect::<Result<Vec<_>, _>>()?))
}

impl Perfect {
    /// The tile that holds it, and where in the tile the hashes under it stand.
    fn place(self) -> (TileId, Range<usize>) {
        let depth = self.level % TILE_HEIGHT;
        let first = self.index << depth;
        let width = u64::from(TILE_WIDTH);
        let id = TileId { level: self.level / TILE_HEIGHT, index: first / width };
        let offset = usize::try_from(first % width).unwrap_or_default();
        (id, offset..offset + (1 << depth))
    }

    pub(crate) fn hash(self, source: &impl TileSource) -> Result<Digest, SourceError> {
        let (id, hashes) = self.place();
        let hashes = source.tile(id).and_then(|tile| tile.hashes().get(hashes)).ok_or(SourceError(id))?;
        let mut subtree = Frontier::new();
        hashes.iter().for_each(|hash| subtree.append(*hash));
        Ok(subtree.root())
    }
}
