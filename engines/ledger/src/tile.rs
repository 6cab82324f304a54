//! Tiles: 256 neighbouring hashes of one height, stored as one object (C2SP `tlog-tiles`).

use terms::Digest;

/// How many levels of the tree one tile spans.
pub const TILE_HEIGHT: u8 = 8;

/// How many hashes a full tile holds.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;

/// Which tile: its hashes are nodes of height `8 * level`, from number `256 * index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// The tile's level; leaves are in level 0.
    pub level: u8,
    /// The tile's position in its level.
    pub index: u64,
}

/// A tile with 1 to 256 hashes. A tile that is not full is overwritten as it grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    id: TileId,
    hashes: Vec<Digest>,
}

/// Says why bytes are not a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tile holds 1 to 256 hashes of 32 bytes, not {0} bytes")]
pub struct TileError(usize);

// === impl TileId ===

impl TileId {
    /// The path of the full tile: `tile/0/x001/x234/067`.
    #[must_use]
    pub fn tile_path(self) -> String {
        let mut groups = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1_000);
            rest /= 1_000;
        }
        format!("tile/{}/{groups}", self.level)
    }
}

// === impl Tile ===

impl Tile {
    /// Takes hashes for a tile; `None` unless there are 1 to 256.
    #[must_use]
    pub fn new(id: TileId, hashes: Vec<Digest>) -> Option<Self> {
        let whole = (1..=usize::from(TILE_WIDTH)).contains(&hashes.len());
        whole.then_some(Self { id, hashes })
    }

    /// Reads a stored tile.
    ///
    /// # Errors
    /// [`TileError`] unless the bytes are 1 to 256 whole hashes.
    pub fn read(id: TileId, bytes: &[u8]) -> Result<Self, TileError> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let hashes = hashes.iter().map(|h| Digest::from_bytes(*h)).collect();
        match Self::new(id, hashes) {
            Some(tile) if rest.is_empty() => Ok(tile),
            Some(_) | None => Err(TileError(bytes.len())),
        }
    }

    /// Which tile it is.
    #[must_use]
    pub const fn id(&self) -> TileId {
        self.id
    }

    /// How many hashes it holds, 1 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        u16::try_from(self.hashes.len()).unwrap_or(TILE_WIDTH)
    }

    /// Its hashes.
    #[must_use]
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// The bytes to store: the hashes, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(Digest::as_bytes).copied().collect()
    }

    /// The path under which the tile is served: `tile/0/x001/x234/067`, with `.p/5` if it holds five hashes.
    #[must_use]
    pub fn tile_path(&self) -> String {
        let path = self.id.tile_path();
        match self.width() {
            TILE_WIDTH => path,
            width => format!("{path}.p/{width}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index| TileId { level, index }.tile_path();
        assert_eq!(path(0, 0), "tile/0/000");
        assert_eq!(path(3, 999), "tile/3/999");
        assert_eq!(path(0, 1_000), "tile/0/x001/000");
        assert_eq!(path(0, 1_234_067), "tile/0/x001/x234/067");
        let partial =
            Tile::new(TileId { level: 1, index: 1_234_067 }, vec![Digest::sha256(b"x"); 5]).unwrap();
        assert_eq!(partial.tile_path(), "tile/1/x001/x234/067.p/5");
        let full = Tile::new(TileId { level: 1, index: 7 }, vec![Digest::sha256(b"x"); 256]).unwrap();
        assert_eq!(full.tile_path(), "tile/1/007");
    }

    #[test]
    fn bytes_that_are_not_whole_hashes_are_no_tile() {
        let id = TileId { level: 0, index: 0 };
        for length in [0, 31, 33, 32 * 257] {
            assert_eq!(Tile::read(id, &vec![0; length]), Err(TileError(length)), "{length}");
        }
        let tile = Tile::read(id, &[7; 64]).unwrap();
        assert_eq!((tile.width(), tile.to_bytes()), (2, vec![7; 64]));
    }
}
