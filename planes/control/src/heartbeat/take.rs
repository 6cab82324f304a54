//! Taking heartbeats: verify, judge in order, keep, count; all of a batch in one commit.

use crate::app::App;
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use api::Code;
use api::heartbeat::{HeartbeatReceipts, Receipt, ReceiptStatus};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meter::{Anomaly, Bounds, Known, Oddity, Verdict, judge, reconcile};
use notary::EnvelopeKey;
use store::{SidecarRow, SidecarState, StoredBeat, Tx};
use terms::{Actor, Digest, Permit, Scope, SidecarId, TenantId, Timestamp, Unverified};
use wire::audit::AuditEntry;
use wire::dsse::Envelope;
use wire::event::{EventKind, EventOutcome, SecurityEvent};
use wire::heartbeat::{Heartbeat, PAYLOAD_TYPE, Totals};

/// Above this many, signatures are verified on a blocking thread: 100 take about 4 ms.
const INLINE_MAX: usize = 16;

/// A heartbeat whose signature was checked, or the code of what is wrong with it.
type Checked = Result<Signed, &'static str>;

/// A heartbeat that its sidecar swore to.
struct Signed {
    beat: Heartbeat,
    payload_digest: Digest,
    envelope: Vec<u8>,
}

/// Takes `envelopes` from the calling sidecar.
pub(super) async fn take(ctx: &Ctx, envelopes: Vec<Envelope>, request: Digest) -> Answer<HeartbeatReceipts> {
    let Actor::Sidecar(tenant, sidecar) = ctx.actor else {
        return Err(Code::Forbidden.into());
    };
    let permit = ctx.permit(tenant)?;
    let row = ctx.app.store.read().await?.sidecars().load(&permit, sidecar).await?;
    if row.state != SidecarState::Active {
        return Err(Code::Forbidden.into());
    }
    let key = EnvelopeKey::new(row.public_key).map_err(Refusal::internal)?;
    let checked = check_all(key, envelopes).await?;
    let batch = Batch::new(ctx, permit, tenant, sidecar, request)?;
    let receipts = ctx.app.store.write(move |tx| Box::pin(batch.keep(tx, checked))).await?;
    for receipt in &receipts {
        ctx.app.metrics.heartbeat(&receipt.code);
    }
    Ok(HeartbeatReceipts { receipts, nonce: STANDARD.encode(ctx.app.entropy::<16>()?) })
}

async fn check_all(key: EnvelopeKey, envelopes: Vec<Envelope>) -> Answer<Vec<Checked>> {
    let is_short = envelopes.len() <= INLINE_MAX;
    let check = move || envelopes.into_iter().map(|envelope| check(&key, envelope)).collect::<Vec<_>>();
    if is_short { Ok(check()) } else { tokio::task::spawn_blocking(check).await.map_err(Refusal::internal) }
}

/// Whether this plane would take the envelope for its sidecar's.
pub(crate) fn is_sworn(key: &EnvelopeKey, envelope: Envelope) -> bool {
    check(key, envelope).is_ok()
}

fn check(key: &EnvelopeKey, envelope: Envelope) -> Checked {
    let bytes = serde_json::to_vec(&envelope).map_err(|_| "heartbeat.malformed")?;
    let payload =
        notary::verify_envelope(key, Unverified::new(envelope), PAYLOAD_TYPE).map_err(|e| e.code())?;
    let payload_digest = Digest::sha256(&payload);
    let beat = Heartbeat::read(&payload).map_err(|_| "heartbeat.malformed")?;
    Ok(Signed { beat, payload_digest, envelope: bytes })
}

/// One delivery on its way into the store.
struct Batch {
    permit: Permit,
    tenant: TenantId,
    sidecar: SidecarId,
    now: Timestamp,
    interval_ms: u64,
    bounds: Bounds,
    entry: AuditEntry,
    /// The shape of every event of this batch.
    event: SecurityEvent,
    app: std::sync::Arc<App>,
}

impl Batch {
    fn new(ctx: &Ctx, permit: Permit, tenant: TenantId, sidecar: SidecarId, request: Digest) -> Answer<Self> {
        let resource = format!("sidecar/{sidecar}");
        let mut entry = ctx.deed(resource.clone(), Some(tenant));
        entry.request_digest = Some(request);
        let limits = ctx.app.config.limits;
        let bounds = Bounds {
            slack: SLACK,
            steps: limits.steps,
            http_calls: limits.http_calls,
            wall_time_ms: limits.wall_time_ms,
            output_bytes: limits.output_bytes,
        };
        let event = ctx.event(EventKind::HeartbeatRefused, resource, Some(tenant))?;
        let (now, interval_ms) = (ctx.now, ctx.app.config.metering.interval_ms);
        Ok(Self { permit, tenant, sidecar, now, interval_ms, bounds, entry, event, app: ctx.app.clone() })
    }

    async fn keep(self, tx: &mut Tx, checked: Vec<Checked>) -> Answer<Vec<Receipt>> {
        let mut row = tx.sidecars().load(&self.permit, self.sidecar).await?;
        let (mut receipts, mut kept) = (Vec::with_capacity(checked.len()), Vec::new());
        let mut added = Totals::default();
        let mut state = chain_of(&row);
        for checked in checked {
            let signed = match checked {
                Ok(signed) => signed,
                Err(code) => {
                    self.report(tx, EventKind::HeartbeatRefused, EventOutcome::Denied, code)?;
                    receipts.push(Receipt {
                        counter: None,
                        status: ReceiptStatus::Refused,
                        code: code.to_owned(),
                    });
                    continue;
                }
            };
            let known = self.known_at(tx, &kept, state.counter, signed.beat.counter).await?;
            let (known, first_code) = known.map_or((None, None), |(digest, code)| (Some(digest), Some(code)));
            let verdict =
                judge(&state, &signed.beat, signed.payload_digest, known, self.now, self.interval_ms);
            let receipt = self.settle(tx, &mut state, &mut added, &signed, &verdict, first_code)?;
            if !matches!(verdict, Verdict::Duplicate) {
                kept.push(self.stored(signed, &receipt, !matches!(verdict, Verdict::Refused(_))));
            }
            receipts.push(receipt);
        }
        if kept.is_empty() {
            return Ok(receipts);
        }
        move_chain(&mut row, &state, self.now, kept.iter().filter(|beat| beat.accepted).count());
        self.reconcile(tx, &mut row, state.totals).await?;
        tx.heartbeats().insert_batch(&self.permit, self.tenant, &kept).await?;
        tx.heartbeats().add_usage(&self.permit, self.tenant, self.now, &added).await?;
        tx.sidecars().save_state(&self.permit, &row).await?;
        tx.audit(self.entry.clone());
        Ok(receipts)
    }

    /// The digest and code of the heartbeat that has a counter's place in the chain already.
    async fn known_at(
        &self,
        tx: &mut Tx,
        kept: &[StoredBeat],
        last: u64,
        counter: u64,
    ) -> Answer<Option<(Digest, String)>> {
        if counter > last {
            return Ok(None);
        }
        if let Some(beat) = kept.iter().find(|beat| beat.counter == counter && beat.in_chain) {
            return Ok(Some((beat.payload_digest, beat.reason.clone())));
        }
        Ok(tx.heartbeats().in_chain(&self.permit, self.tenant, self.sidecar, counter).await?)
    }

    /// Moves the state on, reports what is odd, and writes the receipt.
    fn settle(
        &self,
        tx: &mut Tx,
        state: &mut meter::SidecarState,
        added: &mut Totals,
        signed: &Signed,
        verdict: &Verdict,
        first_code: Option<String>,
    ) -> Answer<Receipt> {
        let (status, code) = match verdict {
            Verdict::Accepted { next, delta, oddities } => {
                *state = *next;
                *added = added.zip(*delta, u64::saturating_add);
                self.report_oddities(tx, oddities)?;
                (ReceiptStatus::Accepted, "ok")
            }
            // Answered as it was the first time, which may have been a refusal for its time.
            Verdict::Duplicate => {
                let code = first_code.unwrap_or_else(|| "ok".to_owned());
                let status = if code == "ok" { ReceiptStatus::Duplicate } else { ReceiptStatus::Refused };
                return Ok(Receipt { counter: Some(signed.beat.counter), status, code });
            }
            Verdict::Untimely { next, fault, oddities } => {
                *state = *next;
                self.report_oddities(tx, oddities)?;
                self.report(tx, EventKind::ClockAnomaly, EventOutcome::Failure, fault.code())?;
                (ReceiptStatus::Refused, fault.code())
            }
            Verdict::Refused(refusal) => {
                let kind = if refusal.is_tamper() {
                    EventKind::HeartbeatEquivocation
                } else {
                    EventKind::HeartbeatRefused
                };
                self.report(tx, kind, EventOutcome::Denied, refusal.code())?;
                (ReceiptStatus::Refused, refusal.code())
            }
        };
        Ok(Receipt { counter: Some(signed.beat.counter), status, code: code.to_owned() })
    }

    fn report_oddities(&self, tx: &mut Tx, oddities: &[Oddity]) -> Answer<()> {
        for oddity in oddities {
            match oddity {
                Oddity::Gap { .. } => {
                    self.report(tx, EventKind::HeartbeatGap, EventOutcome::Failure, "gap")?
                }
                Oddity::IntegrityViolated(_) => {
                    self.report(tx, EventKind::IntegrityViolated, EventOutcome::Failure, "integrity")?;
                }
            }
        }
        Ok(())
    }

    fn report(&self, tx: &mut Tx, kind: EventKind, outcome: EventOutcome, reason: &str) -> Answer<()> {
        let id = terms::EventId::mint(self.now, self.app.entropy()?);
        tx.event(SecurityEvent { id, kind, outcome, reason: reason.to_owned(), ..self.event.clone() });
        Ok(())
    }

    fn stored(&self, signed: Signed, receipt: &Receipt, in_chain: bool) -> StoredBeat {
        StoredBeat {
            sidecar: self.sidecar,
            counter: signed.beat.counter,
            payload_digest: signed.payload_digest,
            envelope: signed.envelope,
            received_at: self.now,
            accepted: receipt.status == ReceiptStatus::Accepted,
            in_chain,
            reason: receipt.code.clone(),
        }
    }

    /// Compares what the sidecar swore to with what the control plane knows without it.
    async fn reconcile(&self, tx: &mut Tx, row: &mut SidecarRow, totals: Totals) -> Answer<()> {
        let scope = Scope::Tenant(self.tenant);
        let permit = self.app.own_permit(terms::Action::ReadExecution, scope)?;
        let counts = tx.executions().counts(&permit, self.tenant).await?;
        let metered = tx.sidecars().totals_of_others(&permit, self.tenant, self.sidecar).await?;
        let totals = totals.zip(metered, u64::saturating_add);
        let known = Known {
            accepted: counts.accepted,
            outcomes: counts.outcomes,
            steps: counts.steps,
            http_calls: counts.http_calls,
            wall_time_ms: counts.wall_time_ms,
            output_bytes: counts.output_bytes,
        };
        let anomalies = reconcile(&known, &totals, counts.in_flight, &self.bounds);
        for anomaly in &anomalies {
            self.report(tx, EventKind::MeteringAnomaly, EventOutcome::Failure, &figures(anomaly))?;
        }
        row.anomalies += anomalies.len() as u64;
        Ok(())
    }
}

/// Executions that one interval may hide: accepted or ended between a sample and its receipt. Under a load of
/// 1 000 executions a second and an interval of 10 s that is 10 000.
const SLACK: u64 = 10_000;

/// Both figures, in the reason: they are counts, not data.
pub(crate) fn figures(anomaly: &Anomaly) -> String {
    let Anomaly { unit, metered, known, bound } = anomaly;
    format!("{unit}: metered {metered}, known {known}, bound {bound}")
}

/// Where a sidecar's chain stands.
pub(crate) const fn chain_of(row: &SidecarRow) -> meter::SidecarState {
    meter::SidecarState {
        sidecar: row.id,
        tenant: row.tenant,
        epoch: row.epoch,
        counter: row.counter,
        prev_digest: row.prev,
        time: row.time,
        totals: row.totals,
        sworn: row.sworn,
    }
}

/// Moves a sidecar's row on to where its chain stands now.
fn move_chain(row: &mut SidecarRow, state: &meter::SidecarState, now: Timestamp, accepted: usize) {
    row.epoch = state.epoch;
    row.counter = state.counter;
    row.prev = state.prev_digest;
    row.time = state.time;
    row.totals = state.totals;
    row.sworn = state.sworn;
    if accepted > 0 {
        row.last_received = Some(now);
        row.accepted += accepted as u64;
    }
}
