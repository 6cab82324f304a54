//! The audit log in process: appends that are sealed, hashed and synced; and the way to a signed checkpoint.

use crate::limits::{percentile, syncs_per_second};
use crate::report::{Reached, Report};
use anyhow::{Result, anyhow};
use notary::NoteSigner;
use std::time::Instant;
use store::{Config, Database, Store, StoreError};
use terms::{KeyBytes, Timestamp};
use vault::{Keystore, RootKey};
use wire::audit::AuditEntry;
use wire::checkpoint::Checkpoint;
use wire::event::EventOutcome;

/// Entries of one batch.
const BATCH: usize = 256;

/// Batches that are measured.
const BATCHES: usize = 1_200;

/// Appends to a checkpoint that are measured, one at a time.
const CHECKPOINTS: usize = 200;

/// Measures both.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keystore = Keystore::new(RootKey::new(KeyBytes::new([7; 32])));
    let database = Database::File { path: folder.path().join("bench.db"), key: keystore.page_key() };
    let store = Store::open(Config::new(database), keystore).await?;
    let syncs = syncs_per_second()?;

    append(&store, BATCH).await?;
    let begin = Instant::now();
    let mut running = Vec::new();
    for _ in 0..BATCHES {
        let store = store.clone();
        running.push(tokio::spawn(async move { append(&store, BATCH).await }));
    }
    for one in running {
        one.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let rate = (BATCH * BATCHES) as f64 / begin.elapsed().as_secs_f64();
    let against = format!("raw fdatasync {syncs:.0}/s");
    report.line(
        "audit appends, synced, batch 256",
        format!("{rate:.0}/s"),
        against,
        ">= 100 000/s",
        rate >= 100_000.0,
    );

    let (signer, _) = NoteSigner::generate("bench/audit")?;
    let mut times = Vec::with_capacity(CHECKPOINTS);
    for _ in 0..CHECKPOINTS {
        let begin = Instant::now();
        append(&store, 1).await?;
        let head = store.read().await?.audit_log().head().await?;
        let body = Checkpoint { origin: "bench/audit".to_owned(), size: head.size, root: head.root };
        let note = signer.sign(&body.to_text())?.to_text();
        store
            .write(move |tx| Box::pin(async move { tx.checkpoints().insert(head.size, &note).await }))
            .await
            .map_err(|e| anyhow!("{e}"))?;
        times.push(begin.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    let p99 = percentile(&times, 0.99);
    let two_syncs = 2_000.0 / syncs;
    report.line(
        "append to signed, durable checkpoint, p99",
        format!("{p99:.2} ms"),
        format!("two raw syncs {two_syncs:.2} ms"),
        "<= 20 ms",
        p99 <= 20.0,
    );
    report.line("... p50", format!("{:.2} ms", percentile(&times, 0.5)), "", "", Reached::Context);
    store.close().await;
    Ok(())
}

async fn append(store: &Store, entries: usize) -> Result<()> {
    store
        .write(move |tx| {
            Box::pin(async move {
                for _ in 0..entries {
                    tx.audit(entry());
                }
                Ok::<_, StoreError>(())
            })
        })
        .await
        .map_err(|error| anyhow!("{error}"))
}

fn entry() -> AuditEntry {
    AuditEntry {
        time: Timestamp::from_unix_s(1_795_507_200),
        actor: "operator/0190a000-0000-7000-8000-000000000000".to_owned(),
        action: "execution.start".to_owned(),
        resource: "execution/0190a000-0000-7000-8000-000000000000".to_owned(),
        tenant: None,
        outcome: EventOutcome::Success,
        reason: "ok".to_owned(),
        request_digest: None,
    }
}
