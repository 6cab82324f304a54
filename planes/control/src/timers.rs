//! What happens by itself: due deliveries, key rotation, certificates, sampled refusals, checkpoints.
//!
//! Everything here is due by a row or a state in the store: a restart forgets nothing.

use crate::app::App;
use crate::refusal::Answer;
use crate::{audit, carried, certificate, delivery};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use terms::{Action, EventId, Scope};
use wire::event::{EventOutcome, Plane, SecurityEvent};

/// Most rows that one look takes.
const DUE_MAX: u32 = 200;

/// Milliseconds between two looks, unless something wakes the timer.
const LOOK_MS: u64 = 500;

/// Runs all timers until the process ends.
pub(crate) fn start(app: &Arc<App>) {
    tokio::spawn(deliveries(Arc::clone(app)));
    every(app, 1_000, "sampled refusals", |app| async move { flush_samples(&app).await });
    every(app, 5_000, "signing keys", |app| async move {
        let now = app.clock.now();
        app.signers.advance(&app.store, now).await.map_err(crate::refusal::Refusal::internal)
    });
    every(app, 5_000, "carried bytes", |app| async move { carried::keep(&app).await });
    every(app, 60_000, "certificates", |app| async move {
        let now = app.clock.now();
        app.identity.renew(now).map_err(crate::refusal::Refusal::internal)?;
        certificate::watch(&app, now).await
    });
    every(app, 60_000, "checkpoints", |app| async move { audit::sign_head(&app).await.map(drop) });
}

fn every<F, Fut>(app: &Arc<App>, period_ms: u64, what: &'static str, work: F)
where
    F: Fn(Arc<App>) -> Fut + Send + 'static,
    Fut: Future<Output = Answer<()>> + Send,
{
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(period_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(refusal) = work(Arc::clone(&app)).await {
                tracing::warn!(what, code = refusal.code(), "a timer failed; it tries again");
            }
        }
    });
}

async fn deliveries(app: Arc<App>) {
    loop {
        let woken = app.dispatcher.woken();
        let _woken_or_not = tokio::time::timeout(Duration::from_millis(LOOK_MS), woken).await;
        if let Err(refusal) = take_due(&app).await {
            tracing::warn!(code = refusal.code(), "due deliveries could not be taken; the timer tries again");
        }
    }
}

async fn take_due(app: &Arc<App>) -> Answer<()> {
    let now = app.clock.now();
    let permit = app.own_permit(Action::StartExecution, Scope::Platform)?;
    // Without a due row there is nothing to write.
    if !app.store.read().await?.executions().any_due(&permit, now).await? {
        return Ok(());
    }
    let lease = delivery::lease_until(now);
    let rows = app
        .store
        .write(move |tx| {
            Box::pin(async move { tx.executions().claim_due(&permit, now, lease, DUE_MAX).await })
        })
        .await?;
    for row in rows {
        app.dispatcher.drive(Arc::clone(app), row);
    }
    Ok(())
}

async fn flush_samples(app: &App) -> Answer<()> {
    let samples = app.sampler.drain();
    if samples.is_empty() {
        return Ok(());
    }
    let now = app.clock.now();
    let mut events = Vec::with_capacity(samples.len());
    for sample in samples {
        events.push(SecurityEvent {
            id: EventId::mint(now, app.entropy()?),
            time: now,
            plane: Plane::Control,
            kind: sample.kind,
            actor: "unknown".to_owned(),
            resource: "api".to_owned(),
            tenant: None,
            outcome: EventOutcome::Denied,
            reason: sample.reason,
            address: sample.address,
            count: sample.count,
        });
    }
    let count: u64 = events.iter().map(|event| event.count).sum();
    let written = app.store.write(move |tx| {
        Box::pin(async move {
            for event in events {
                tx.event(event);
            }
            Ok::<_, StoreError>(())
        })
    });
    if let Err(error) = written.await {
        app.metrics.dropped(count);
        return Err(error.into());
    }
    Ok(())
}
