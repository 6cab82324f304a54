//! The audit log's writing side: entries sealed, hashed and numbered with the commit that they belong to.

use crate::connect::Engine;
use crate::error::StoreError;
use crate::keys::{self, Nonces, OwnerKeys, Place};
use crate::sql::{self, Columns, Source, count, json_text, ms, sql};
use crate::tx::{Logged, Tx};
use core::fmt::Write as _;
use ledger::{Frontier, leaf_hash};
use std::sync::Arc;
use terms::{Digest, TenantId};
use vault::Owner;
use wire::event::SecurityEvent;

/// Rows of one insert: few sizes, so that each statement is prepared once. SQLite looks for the name of each
/// parameter among all of a statement (sqlite.org/c3ref/bind_parameter_name.html): larger ones cost more per row.
const CHUNKS: [usize; 3] = [32, 8, 1];

/// Binary levels between two levels of tiles (C2SP tlog-tiles: height 8).
const TILE_HEIGHT: u8 = 8;

/// The only row of the head.
const HEAD: i64 = 1;

/// Where the log and the outbox end. Writers take turns at its row, over replicas too.
pub(crate) struct Head {
    frontier: Frontier,
    outbox_seq: u64,
}

pub(crate) async fn create_head(tx: &mut Tx) -> Result<(), StoreError> {
    let statement =
        sql("INSERT INTO write_head (id, log_size, log_frontier, outbox_seq) VALUES ($1, 0, $2, 0)")
            .bind(HEAD)
            .bind(Vec::<u8>::new());
    sql::run(tx, statement).await.map(drop)
}

/// Reads the head; until the transaction ends, no other writer gets past this line.
pub(crate) async fn lock_head(tx: &mut Tx) -> Result<Head, StoreError> {
    let statement = match tx.engine() {
        // `BEGIN IMMEDIATE` has locked the file.
        Engine::SqlCipher => sql("SELECT log_size, log_frontier, outbox_seq FROM write_head WHERE id = $1"),
        Engine::Postgres => {
            sql("SELECT log_size, log_frontier, outbox_seq FROM write_head WHERE id = $1 FOR UPDATE")
        }
    };
    let row = sql::one(tx, statement.bind(HEAD)).await?.ok_or(StoreError::Corrupt("write_head"))?;
    let mut columns = Columns::of(&row);
    let size = columns.count("log_size")?;
    let frontier = read_frontier(size, &columns.bytes()?)?;
    Ok(Head { frontier, outbox_seq: columns.count("outbox_seq")? })
}

/// Reads the log's right edge.
pub(crate) fn read_frontier(size: u64, bytes: &[u8]) -> Result<Frontier, StoreError> {
    let corrupt = StoreError::Corrupt("log_frontier");
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(corrupt);
    }
    Frontier::restore(size, hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect()).ok_or(corrupt)
}

/// Writes the transaction's entries and events, right before its commit.
pub(crate) async fn flush(tx: &mut Tx, mut head: Head) -> Result<(), StoreError> {
    let (entries, events) = tx.finish();
    if entries.is_empty() && events.is_empty() {
        return Ok(());
    }
    write_entries(tx, &mut head.frontier, &entries).await?;
    write_events(tx, &events, &mut head.outbox_seq).await?;
    let hashes: Vec<u8> = head.frontier.hashes().iter().flat_map(|hash| *hash.as_bytes()).collect();
    let statement =
        sql("UPDATE write_head SET log_size = $1, log_frontier = $2, outbox_seq = $3 WHERE id = $4")
            .bind(count(head.frontier.size(), "log_size")?)
            .bind(hashes)
            .bind(count(head.outbox_seq, "outbox_seq")?)
            .bind(HEAD);
    sql::run(tx, statement).await.map(drop)
}

struct SealedEntry {
    index: i64,
    tenant: Option<String>,
    time: i64,
    sealed: Vec<u8>,
    leaf: Digest,
}

async fn write_entries(tx: &mut Tx, frontier: &mut Frontier, entries: &[Logged]) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(entries.len());
    let mut nodes = Vec::new();
    let mut nonces = Nonces::default();
    for Logged { entry, destroyed } in entries {
        let index = frontier.size();
        let text = json_text(entry, "audit entry")?;
        let row = index.to_be_bytes();
        let place = Place { table: "audit_entries", column: "sealed", row: &row };
        let (keys, tenant) = match destroyed {
            Some(keys) => (Arc::clone(keys), entry.tenant),
            None => keys_or_platforms(tx, entry.tenant).await?,
        };
        let sealed = keys.seal_entry(place, nonces.next()?, text.as_bytes());
        let leaf = leaf_hash(&sealed);
        frontier.append_with(leaf, |node| {
            if node.level > 0 && node.level % TILE_HEIGHT == 0 {
                nodes.push(node);
            }
        });
        let tenant = tenant.map(|tenant| tenant.to_string());
        let (index, time) = (count(index, "log_size")?, ms(entry.time));
        rows.push(SealedEntry { index, tenant, time, sealed, leaf });
    }
    insert_entries(tx, rows).await?;
    for node in nodes {
        let statement = sql("INSERT INTO audit_nodes (level, idx, hash) VALUES ($1, $2, $3)")
            .bind(i64::from(node.level / TILE_HEIGHT))
            .bind(count(node.index, "node")?)
            .bind(node.hash.as_bytes().to_vec());
        sql::run(tx, statement).await?;
    }
    Ok(())
}

async fn insert_entries(tx: &mut Tx, rows: Vec<SealedEntry>) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    for size in sizes(rows.len()) {
        let text = values("INSERT INTO audit_entries (idx, tenant_id, time, sealed, leaf) VALUES ", 5, size);
        let mut statement = sql(text);
        for row in rows.by_ref().take(size) {
            let leaf = row.leaf.as_bytes().to_vec();
            statement = statement.bind(row.index).bind(row.tenant).bind(row.time).bind(row.sealed).bind(leaf);
        }
        sql::run(tx, statement).await?;
    }
    Ok(())
}

struct SealedEvent {
    id: String,
    kind: &'static str,
    tenant: Option<String>,
    time: i64,
    sealed: Vec<u8>,
}

async fn write_events(tx: &mut Tx, events: &[SecurityEvent], outbox_seq: &mut u64) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let text = json_text(event, "event")?;
        let place = Place { table: "security_events", column: "sealed", row: event.id.as_bytes() };
        let (keys, tenant) = keys_or_platforms(tx, event.tenant).await?;
        let sealed = keys.seal(place, text.as_bytes())?;
        let (id, tenant) = (event.id.to_string(), tenant.map(|tenant| tenant.to_string()));
        rows.push(SealedEvent { id, kind: event.kind.as_str(), tenant, time: ms(event.time), sealed });
    }
    let new = insert_events(tx, rows).await?;
    let mut new = new.into_iter();
    for size in sizes(new.len()) {
        let text = values("INSERT INTO outbox (seq, event_id) VALUES ", 2, size);
        let mut statement = sql(text);
        for id in new.by_ref().take(size) {
            *outbox_seq += 1;
            statement = statement.bind(count(*outbox_seq, "outbox_seq")?).bind(id);
        }
        sql::run(tx, statement).await?;
    }
    Ok(())
}

/// Inserts events that are not known yet; returns their ids.
async fn insert_events(tx: &mut Tx, rows: Vec<SealedEvent>) -> Result<Vec<String>, StoreError> {
    let mut new = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    for size in sizes(rows.len()) {
        let mut text =
            values("INSERT INTO security_events (id, kind, tenant_id, time, sealed) VALUES ", 5, size);
        text.push_str(" ON CONFLICT (id) DO NOTHING RETURNING id");
        let mut statement = sql(text);
        for row in rows.by_ref().take(size) {
            statement =
                statement.bind(row.id).bind(row.kind).bind(row.tenant).bind(row.time).bind(row.sealed);
        }
        for row in sql::all(tx, statement).await? {
            new.push(Columns::of(&row).text()?);
        }
    }
    Ok(new)
}

/// A tenant's keys; the platform's where there are none. What is said of a tenant whose keys are destroyed is the
/// platform's to keep.
async fn keys_or_platforms(
    tx: &mut Tx,
    tenant: Option<TenantId>,
) -> Result<(Arc<OwnerKeys>, Option<TenantId>), StoreError> {
    match keys::find(tx, keys::owner(tenant)).await? {
        Some(keys) => Ok((keys, tenant)),
        None => Ok((keys::of(tx, Owner::Platform).await?, None)),
    }
}

/// How `rows` rows are cut into inserts of the few sizes.
pub(crate) fn sizes(mut rows: usize) -> Vec<usize> {
    let mut cut = Vec::new();
    while let Some(size) = CHUNKS.into_iter().find(|size| *size <= rows) {
        cut.push(size);
        rows -= size;
    }
    cut
}

/// An insert of `rows` rows of `columns` columns.
pub(crate) fn values(insert: &str, columns: usize, rows: usize) -> String {
    let mut text = String::from(insert);
    for row in 0..rows {
        for column in 0..columns {
            text.push_str(match (row, column) {
                (0, 0) => "($",
                (_, 0) => "), ($",
                (_, _) => ", $",
            });
            // A string takes whatever is written to it.
            let _taken = write!(text, "{}", row * columns + column + 1);
        }
    }
    text.push(')');
    text
}

/// Reads one event; none if its tenant was deleted since its row was read.
pub(crate) async fn open_event<S: Source>(
    source: &mut S,
    tenant: Option<TenantId>,
    id: terms::EventId,
    sealed: &[u8],
) -> Result<Option<SecurityEvent>, StoreError> {
    let place = Place { table: "security_events", column: "sealed", row: id.as_bytes() };
    let Some(keys) = keys::find(source, keys::owner(tenant)).await? else { return Ok(None) };
    let text = keys.open(place, sealed)?;
    serde_json::from_slice(&text).map(Some).map_err(|_| StoreError::Corrupt("security_events.sealed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes_and_none_is_lost() {
        for rows in [0, 1, 7, 8, 300, 1_000] {
            let cut = sizes(rows);
            assert_eq!(cut.iter().sum::<usize>(), rows);
            assert!(cut.iter().all(|size| CHUNKS.contains(size)));
        }
        assert_eq!(values("INSERT ", 2, 2), "INSERT ($1, $2), ($3, $4)");
    }
}
