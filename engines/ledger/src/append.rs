//! The appending side: entries in, tiles to store and a new root out.

use crate::frontier::Frontier;
use crate::hash::leaf_hash;
use crate::subtree::{SourceError, TileSource, perfect_subtrees, tiles_under};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile, TileId};
use std::collections::{BTreeMap, BTreeSet};
use terms::Digest;
use wire::checkpoint::Checkpoint;

/// A log that is appended to: its right edge, nothing more.
///
/// It is a value. Whoever fails to store a [`Batch`] goes on with a copy from before it, or restores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    frontier: Frontier,
    /// The tile at the right edge of each level, not yet full, perhaps empty.
    edge: Vec<Vec<Digest>>,
}

/// What one append changed: all of it is stored in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of the first new leaf; the first of a log is 0.
    pub first: u64,
    /// The new leaves.
    pub leaves: Vec<Digest>,
    /// The tiles to write or overwrite, in order of level and index.
    pub tiles: Vec<Tile>,
    /// How many leaves the log has now.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

// === impl Log ===

impl Log {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { frontier: Frontier::new(), edge: Vec::new() }
    }

    /// The stored tiles that [`restore`](Self::restore) reads for a log of `size` leaves.
    #[must_use]
    pub fn restore_tiles(size: u64) -> BTreeSet<TileId> {
        tiles_under(core::iter::once(0..size))
    }

    /// Takes up a stored log.
    ///
    /// # Errors
    /// [`SourceError`] names the first tile that is missing or too short.
    pub fn restore(size: u64, source: &impl TileSource) -> Result<Self, SourceError> {
        let hashes = perfect_subtrees(0..size).map(|subtree| subtree.hash(source));
        let hashes = hashes.collect::<Result<Vec<_>, _>>()?;
        let frontier = Frontier::restore(size, hashes).unwrap_or_default();
        let mut edge = Vec::new();
        let mut nodes = size;
        for level in 0.. {
            if nodes == 0 {
                break;
            }
            edge.push(edge_tile(level, nodes, source)?);
            nodes >>= TILE_HEIGHT;
        }
        Ok(Self { frontier, edge })
    }

    /// How many leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// The checkpoint to sign.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: self.size(), root: self.root() }
    }

    /// Appends entries' sealed bytes, in order.
    pub fn append<E: AsRef<[u8]>>(&mut self, entries: impl IntoIterator<Item = E>) -> Batch {
        self.append_leaves(entries.into_iter().map(|entry| leaf_hash(entry.as_ref())).collect())
    }

    /// Appends leaves whose hashes are known.
    pub fn append_leaves(&mut self, leaves: Vec<Digest>) -> Batch {
        let first = self.size();
        let mut tiles = BTreeMap::new();
        for leaf in &leaves {
            let edge = &mut self.edge;
            self.frontier.append_with(*leaf, |node| {
                if node.level % TILE_HEIGHT == 0 {
                    push(edge, node.level / TILE_HEIGHT, node.index, node.hash, &mut tiles);
                }
            });
        }
        self.collect_partial(first, &mut tiles);
        let tiles = tiles.into_iter().filter_map(|(id, hashes)| Tile::new(id, hashes)).collect();
        Batch { first, leaves, tiles, size: self.size(), root: self.root() }
    }

    /// Adds the tiles at the edge that grew since the log had `before` leaves.
    fn collect_partial(&self, before: u64, tiles: &mut BTreeMap<TileId, Vec<Digest>>) {
        let (mut before, mut now) = (before, self.size());
        for (level, hashes) in (0..).zip(&self.edge) {
            if now > before && !hashes.is_empty() {
                tiles.insert(TileId { level, index: now / u64::from(TILE_WIDTH) }, hashes.clone());
            }
            (before, now) = (before >> TILE_HEIGHT, now >> TILE_HEIGHT);
        }
    }
}

/// Puts a hash at the edge of its level; a tile that becomes full leaves the edge.
fn push(
    edge: &mut Vec<Vec<Digest>>,
    level: u8,
    index: u64,
    hash: Digest,
    full: &mut BTreeMap<TileId, Vec<Digest>>,
) {
    if edge.len() <= usize::from(level) {
        edge.push(Vec::with_capacity(usize::from(TILE_WIDTH)));
    }
    let Some(hashes) = edge.get_mut(usize::from(level)) else { return };
    hashes.push(hash);
    if hashes.len() == usize::from(TILE_WIDTH) {
        full.insert(TileId { level, index: index / u64::from(TILE_WIDTH) }, hashes.clone());
        hashes.clear();
    }
}

/// The hashes of the tile at the edge of a level that has `nodes` nodes.
fn edge_tile(level: u8, nodes: u64, source: &impl TileSource) -> Result<Vec<Digest>, SourceError> {
    let width = usize::try_from(nodes % u64::from(TILE_WIDTH)).unwrap_or_default();
    let mut hashes = Vec::with_capacity(usize::from(TILE_WIDTH));
    if width > 0 {
        let id = TileId { level, index: nodes / u64::from(TILE_WIDTH) };
        let stored = source.tile(id).and_then(|tile| tile.hashes().get(..width)).ok_or(SourceError(id))?;
        hashes.extend_from_slice(stored);
    }
    Ok(hashes)
}
