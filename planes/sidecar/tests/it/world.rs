//! The world around a sidecar's memory: a runtime that consumes, and the control plane's own counter rule.

use crate::disk::FaultyDisk;
use api::heartbeat::{Receipt, ReceiptStatus};
use meter::{SidecarState, Verdict, judge};
use notary::SidecarKey;
use sidecar::metering::{Metering, MeteringError, Notice, Outgoing};
use std::collections::BTreeMap;
use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::counters::Sample;
use wire::heartbeat::{Heartbeat, Integrity, PAYLOAD_TYPE, Totals};

pub(crate) const INTERVAL_MS: u64 = 10_000;
pub(crate) const SIDECAR: SidecarId = SidecarId::from_bytes([1; 16]);
pub(crate) const TENANT: TenantId = TenantId::from_bytes([2; 16]);

/// The control plane's side.
pub(crate) struct ControlPlane {
    pub(crate) state: SidecarState,
    /// Digest and first code of each heartbeat that has its place in the chain.
    chain: BTreeMap<u64, (Digest, &'static str)>,
    /// What was ever seen under each counter, taken or not.
    seen: BTreeMap<u64, Digest>,
    pub(crate) usage: Totals,
    /// Codes that say that somebody else holds the sidecar's key or state.
    pub(crate) accusations: Vec<&'static str>,
}

impl ControlPlane {
    pub(crate) fn new(sidecar: SidecarId) -> Self {
        Self {
            state: SidecarState::enrolled(sidecar, TENANT),
            chain: BTreeMap::new(),
            seen: BTreeMap::new(),
            usage: Totals::default(),
            accusations: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, batch: &[Outgoing], now: Timestamp) -> Vec<Receipt> {
        batch.iter().map(|outgoing| self.take_one(outgoing, now)).collect()
    }

    fn take_one(&mut self, outgoing: &Outgoing, now: Timestamp) -> Receipt {
        let payload = outgoing.envelope.decode(PAYLOAD_TYPE).unwrap().payload;
        let (beat, digest) = (Heartbeat::read(&payload).unwrap(), Digest::sha256(&payload));
        assert_eq!(*self.seen.entry(beat.counter).or_insert(digest), digest, "a counter has two contents");
        let known = self.chain.get(&beat.counter).map(|(digest, _)| *digest);
        let verdict = judge(&self.state, &beat, digest, known, now, INTERVAL_MS);
        let code = match (&verdict, self.chain.get(&beat.counter)) {
            (Verdict::Duplicate, Some((_, first))) => first,
            _ => verdict.code(),
        };
        match verdict {
            Verdict::Accepted { next, delta, .. } => {
                self.usage = self.usage.zip(delta, u64::saturating_add);
                self.place(next, digest, code);
            }
            Verdict::Untimely { next, .. } => self.place(next, digest, code),
            Verdict::Duplicate => {}
            Verdict::Refused(refusal) => self.accusations.extend(refusal.is_tamper().then_some(code)),
        }
        let status = if code == "ok" { ReceiptStatus::Accepted } else { ReceiptStatus::Refused };
        Receipt { counter: Some(beat.counter), status, code: code.to_owned() }
    }

    fn place(&mut self, next: SidecarState, digest: Digest, code: &'static str) {
        self.state = next;
        self.chain.insert(next.counter, (digest, code));
    }
}

/// The runtime's side.
#[derive(Default)]
pub(crate) struct Runtime {
    epoch: u64,
    current: u64,
    pub(crate) consumed: u64,
}

impl Runtime {
    pub(crate) fn consume(&mut self, steps: u64) {
        self.current += steps;
        self.consumed += steps;
    }

    pub(crate) fn lose_journal(&mut self) {
        (self.epoch, self.current) = (self.epoch + 1, 0);
    }

    pub(crate) fn sample(&self) -> Sample {
        Sample { epoch: self.epoch, totals: steps(self.current) }
    }
}

/// A sidecar's key and disk, which outlive its process.
pub(crate) struct Host {
    pub(crate) disk: FaultyDisk,
    pkcs8: notary::Pkcs8,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (_, pkcs8) = SidecarKey::generate().unwrap();
        Self { disk: FaultyDisk::default(), pkcs8 }
    }

    pub(crate) fn start(&self) -> Metering<FaultyDisk> {
        self.open(SIDECAR).unwrap().0
    }

    pub(crate) fn open(&self, id: SidecarId) -> Result<(Metering<FaultyDisk>, Vec<Notice>), MeteringError> {
        let key = SidecarKey::from_pkcs8(&self.pkcs8).unwrap();
        Metering::open(self.disk.clone(), key, id, TENANT)
    }
}

/// Swears at `now`, as far as the disk allows.
pub(crate) fn beat(
    metering: &mut Metering<FaultyDisk>,
    now: Timestamp,
) -> Result<Vec<Notice>, MeteringError> {
    metering.beat(now, Integrity::UNCHECKED)
}

/// Delivers one batch and takes the answer in.
pub(crate) fn deliver(
    metering: &mut Metering<FaultyDisk>,
    to: &mut ControlPlane,
    now: Timestamp,
) -> Result<Vec<Notice>, MeteringError> {
    let batch = metering.batch(100)?;
    let receipts = to.take(&batch, now);
    metering.settle(&batch, &receipts, "nonce")
}

pub(crate) fn heartbeat(outgoing: &Outgoing) -> Heartbeat {
    Heartbeat::read(&outgoing.envelope.decode(PAYLOAD_TYPE).unwrap().payload).unwrap()
}

pub(crate) fn steps(steps: u64) -> Totals {
    Totals { steps, ..Totals::default() }
}

pub(crate) fn at(s: i64) -> Timestamp {
    Timestamp::from_unix_s(1_800_000_000 + s)
}
