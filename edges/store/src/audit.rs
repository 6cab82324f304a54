//! The audit log's reading side: entries, sealed leaves, proofs.

use crate::append::read_frontier;
use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::page::Page;
use crate::permit::{reach, reach_platform};
use crate::repositories::{Audit, Checkpoints};
use crate::sql::{self, Columns, Row, Source, count, sql};
use crate::tx::Tx;
use ledger::{InclusionError, Tile, TileId};
use std::collections::{BTreeMap, BTreeSet};
use terms::{Digest, Permit, TenantId};
use wire::audit::AuditEntry;

/// Hashes of a full tile (C2SP tlog-tiles).
const TILE_WIDTH: u64 = 256;

/// How far the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// How many leaves.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: Digest,
}

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its leaf's index.
    pub index: u64,
    /// The entry; absent once its key is destroyed.
    pub entry: Option<AuditEntry>,
    /// Its leaf.
    pub leaf: Digest,
}

impl<S: Source> Audit<'_, S> {
    /// How far the log reaches.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn head(&mut self) -> Result<LogHead, StoreError> {
        let row = sql::one(self.0, sql("SELECT log_size, log_frontier FROM write_head")).await?;
        let row = row.ok_or(StoreError::Corrupt("write_head"))?;
        let mut columns = Columns::of(&row);
        let size = columns.count("log_size")?;
        Ok(LogHead { size, root: read_frontier(size, &columns.bytes()?)?.root() })
    }

    /// Lists entries, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<AuditRow>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let before: i64 = page.start(i64::MAX)?;
        let statement = sql("SELECT idx, tenant_id, sealed, leaf FROM audit_entries WHERE idx < $1 \
                             ORDER BY idx DESC LIMIT $2")
        .bind(before)
        .bind(i64::from(page.fetch()));
        self.open_page(page, statement).await
    }

    /// Lists what is said of one tenant, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list_of(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        page: &Page,
    ) -> Result<(Vec<AuditRow>, Option<String>), StoreError> {
        reach(permit, tenant)?;
        let before: i64 = page.start(i64::MAX)?;
        let statement = sql("SELECT idx, tenant_id, sealed, leaf FROM audit_entries \
                             WHERE tenant_id = $1 AND idx < $2 ORDER BY idx DESC LIMIT $3")
        .bind(tenant.to_string())
        .bind(before)
        .bind(i64::from(page.fetch()));
        self.open_page(page, statement).await
    }

    async fn open_page(
        &mut self,
        page: &Page,
        statement: sql::Statement,
    ) -> Result<(Vec<AuditRow>, Option<String>), StoreError> {
        let mut rows = Vec::new();
        for row in sql::all(self.0, statement).await? {
            rows.push(self.open(&row).await?);
        }
        Ok(page.cut(rows, |row| row.index.to_string()))
    }

    async fn open(&mut self, row: &Row) -> Result<AuditRow, StoreError> {
        let mut columns = Columns::of(row);
        let index = columns.count("audit_entries.idx")?;
        let tenant: Option<TenantId> = columns.parsed_or_none("audit_entries.tenant_id")?;
        let (sealed, leaf) = (columns.bytes()?, columns.digest("audit_entries.leaf")?);
        let row = index.to_be_bytes();
        let place = Place { table: "audit_entries", column: "sealed", row: &row };
        let entry = match keys::find(self.0, keys::owner(tenant)).await? {
            Some(keys) => {
                let text = keys.open_entry(place, &sealed)?;
                let entry =
                    serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt("audit_entries.sealed"))?;
                Some(entry)
            }
            None => None,
        };
        Ok(AuditRow { index, entry, leaf })
    }

    /// The sealed bytes of the leaves from `start` up to `end`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raw(&mut self, permit: &Permit, start: u64, end: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("SELECT sealed FROM audit_entries WHERE idx >= $1 AND idx < $2 ORDER BY idx LIMIT 1000")
                .bind(count(start, "start")?)
                .bind(count(end, "end")?);
        let rows = sql::all(self.0, statement).await?;
        rows.iter().map(|row| Columns::of(row).bytes()).collect()
    }

    /// Proves that leaf `index` is in the log of `size` leaves.
    ///
    /// # Errors
    /// [`StoreError::Range`] if it is not.
    pub async fn inclusion(
        &mut self,
        permit: &Permit,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, StoreError> {
        reach_platform(permit)?;
        count(size, "log")?;
        let wanted = ledger::inclusion_tiles(index, size);
        let tiles = self.tiles(wanted, size).await?;
        ledger::inclusion(index, size, &tiles).map_err(refused)
    }

    /// Proves that the log of `new` leaves extends the one of `old` leaves.
    ///
    /// # Errors
    /// [`StoreError::Range`] if there are no such logs.
    pub async fn consistency(
        &mut self,
        permit: &Permit,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, StoreError> {
        reach_platform(permit)?;
        count(new, "log")?;
        let wanted = ledger::consistency_tiles(old, new);
        let tiles = self.tiles(wanted, new).await?;
        ledger::consistency(old, new, &tiles).map_err(refused)
    }

    async fn tiles(
        &mut self,
        wanted: BTreeSet<TileId>,
        size: u64,
    ) -> Result<BTreeMap<TileId, Tile>, StoreError> {
        let mut tiles = BTreeMap::new();
        for id in wanted {
            let first = id.index * TILE_WIDTH;
            let complete = size >> (8 * u32::from(id.level)).min(63);
            let end = complete.min(first + TILE_WIDTH);
            let statement = if id.level == 0 {
                sql("SELECT leaf FROM audit_entries WHERE idx >= $1 AND idx < $2 AND $3 = 0 ORDER BY idx")
            } else {
                sql("SELECT hash FROM audit_nodes WHERE idx >= $1 AND idx < $2 AND level = $3 ORDER BY idx")
            };
            let statement =
                statement.bind(count(first, "tile")?).bind(count(end, "tile")?).bind(i64::from(id.level));
            let rows = sql::all(self.0, statement).await?;
            let hashes =
                rows.iter().map(|row| Columns::of(row).digest("tile")).collect::<Result<Vec<_>, _>>()?;
            if let Some(tile) = Tile::new(id, hashes) {
                tiles.insert(id, tile);
            }
        }
        Ok(tiles)
    }
}

fn refused(_: InclusionError) -> StoreError {
    StoreError::Range("log")
}

impl<S: Source> Checkpoints<'_, S> {
    /// The latest checkpoint's note.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest(&mut self) -> Result<Option<String>, StoreError> {
        let row = sql::one(self.0, sql("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")).await?;
        row.map(|row| Columns::of(&row).text()).transpose()
    }
}

impl Checkpoints<'_, Tx> {
    /// Keeps a checkpoint; the first of a size stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&mut self, size: u64, note: &str) -> Result<(), StoreError> {
        let statement =
            sql("INSERT INTO checkpoints (size, note) VALUES ($1, $2) ON CONFLICT (size) DO NOTHING")
                .bind(count(size, "size")?)
                .bind(note.to_owned());
        sql::run(self.0, statement).await.map(drop)
    }
}
