//! The audit log's writing side: entries sealed, hashed and numbered with the commit that they belong to.

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::sql::{self, Columns, Source, count, json_text, ms, sql};
use crate::tx::Tx;
use ledger::{Frontier, leaf_hash};
use sqlx::AssertSqlSafe;
use terms::Digest;
use vault::Owner;
use wire::audit::AuditEntry;
use wire::event::SecurityEvent;

/// Rows of one insert: few sizes, so that each statement is prepared once.
const CHUNKS: [usize; 4] = [128, 32, 8, 1];

/// Binary levels between two levels of tiles (C2SP tlog-tiles: height 8).
const TILE_HEIGHT: u8 = 8;

/// The only row of the head.
const HEAD: i64 = 1;

/// Where the log and the outbox end. Its row is locked: writers take turns, over replicas too.
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

pub(crate) async fn lock_head(tx: &mut Tx) -> Result<Head, StoreError> {
    let statement =
        sql("UPDATE write_head SET id = id WHERE id = $1 RETURNING log_size, log_frontier, outbox_seq");
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
    let entries = core::mem::take(&mut tx.entries);
    let events = core::mem::take(&mut tx.events);
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

async fn write_entries(
    tx: &mut Tx,
    frontier: &mut Frontier,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(entries.len());
    let mut nodes = Vec::new();
    for entry in entries {
        let index = frontier.size();
        let text = json_text(entry, "audit entry")?;
        let row = index.to_be_bytes();
        let place = Place { table: "audit_entries", column: "sealed", row: &row };
        // What is said of a tenant whose keys are destroyed is the platform's to keep.
        let (keys, tenant) = match keys::of(tx, keys::owner(entry.tenant)).await {
            Ok(keys) => (keys, entry.tenant),
            Err(StoreError::KeyDestroyed) => (keys::of(tx, Owner::Platform).await?, None),
            Err(error) => return Err(error),
        };
        let sealed = keys.seal_entry(place, text.as_bytes())?;
        let leaf = leaf_hash(&sealed);
        frontier.append_with(leaf, |node| {
            if node.level > 0 && node.level % TILE_HEIGHT == 0 {
                nodes.push(node);
            }
        });
        let tenant = tenant.map(|tenant| tenant.to_string());
        rows.push(SealedEntry {
            index: count(index, "log_size")?,
            tenant,
            time: ms(entry.time),
            sealed,
            leaf,
        });
    }
    for chunk in chunks(&rows) {
        let text =
            values("INSERT INTO audit_entries (idx, tenant_id, time, sealed, leaf) VALUES ", 5, chunk.len());
        let mut statement = sqlx::query(AssertSqlSafe(text));
        for row in chunk {
            statement = statement
                .bind(row.index)
                .bind(row.tenant.clone())
                .bind(row.time)
                .bind(row.sealed.clone())
                .bind(row.leaf.as_bytes().to_vec());
        }
        sql::run(tx, statement).await?;
    }
    for node in nodes {
        let statement = sql("INSERT INTO audit_nodes (level, idx, hash) VALUES ($1, $2, $3)")
            .bind(i64::from(node.level / TILE_HEIGHT))
            .bind(count(node.index, "node")?)
            .bind(node.hash.as_bytes().to_vec());
        sql::run(tx, statement).await?;
    }
    Ok(())
}

async fn write_events(tx: &mut Tx, events: &[SecurityEvent], outbox_seq: &mut u64) -> Result<(), StoreError> {
    for event in events {
        write_event(tx, event, outbox_seq).await?;
    }
    Ok(())
}

async fn write_event(tx: &mut Tx, event: &SecurityEvent, outbox_seq: &mut u64) -> Result<(), StoreError> {
    let text = json_text(event, "event")?;
    let id = event.id.to_string();
    let place = Place { table: "security_events", column: "sealed", row: event.id.as_bytes() };
    let (keys, tenant) = match keys::of(tx, keys::owner(event.tenant)).await {
        Ok(keys) => (keys, event.tenant),
        Err(StoreError::KeyDestroyed) => (keys::of(tx, Owner::Platform).await?, None),
        Err(error) => return Err(error),
    };
    let sealed = keys.seal(place, text.as_bytes())?;
    let statement = sql("INSERT INTO security_events (id, kind, tenant_id, time, sealed) \
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING")
    .bind(id.clone())
    .bind(event.kind.as_str())
    .bind(tenant.map(|tenant| tenant.to_string()))
    .bind(ms(event.time))
    .bind(sealed);
    if sql::run(tx, statement).await? == 0 {
        return Ok(());
    }
    *outbox_seq += 1;
    let statement = sql("INSERT INTO outbox (seq, event_id) VALUES ($1, $2)")
        .bind(count(*outbox_seq, "outbox_seq")?)
        .bind(id);
    sql::run(tx, statement).await.map(drop)
}

/// Cuts rows into pieces of the few sizes.
pub(crate) fn chunks<T>(mut rows: &[T]) -> Vec<&[T]> {
    let mut cut = Vec::new();
    while let Some(size) = CHUNKS.iter().copied().find(|size| *size <= rows.len()) {
        let (chunk, rest) = rows.split_at(size);
        cut.push(chunk);
        rows = rest;
    }
    cut
}

/// An insert of `rows` rows of `columns` columns.
pub(crate) fn values(insert: &str, columns: usize, rows: usize) -> String {
    let mut text = String::from(insert);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let number = row * columns + column + 1;
            text.push_str(&if column == 0 { format!("${number}") } else { format!(", ${number}") });
        }
        text.push(')');
    }
    text
}

/// Reads one event.
pub(crate) async fn open_event<S: Source>(
    source: &mut S,
    tenant: Option<terms::TenantId>,
    id: terms::EventId,
    sealed: &[u8],
) -> Result<SecurityEvent, StoreError> {
    let place = Place { table: "security_events", column: "sealed", row: id.as_bytes() };
    let text = keys::of(source, keys::owner(tenant)).await?.open(place, sealed)?;
    serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt("security_events.sealed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes_and_none_is_lost() {
        let rows: Vec<usize> = (0..300).collect();
        let cut = chunks(&rows);
        assert_eq!(cut.concat(), rows);
        assert!(cut.iter().all(|chunk| CHUNKS.contains(&chunk.len())));
        assert_eq!(values("INSERT ", 2, 2), "INSERT ($1, $2), ($3, $4)");
    }
}
