//! Metering: samples in, sworn heartbeats out, answers in. All of it survives a crash at any moment.
//!
//! Nothing here waits or calls: the shell in `run` reads sockets and clocks and carries heartbeats away.

use crate::disk::Disk;
use crate::journal::{Damage, Journal, JournalError};
use crate::record::{Record, Runtime, State};
use api::heartbeat::{Receipt, ReceiptStatus};
use meter::{Accumulator, Chain, ChainError, Made, SampleFault, Spool, Waiting};
use notary::{SidecarKey, SignError};
use terms::{SidecarId, TenantId, Timestamp};
use wire::counters::Sample;
use wire::dsse::Envelope;
use wire::heartbeat::{Heartbeat, Integrity, PAYLOAD_TYPE, Totals};

/// Most counters in one record, so that a record keeps its bound however many heartbeats expired at once.
const SETTLED_MAX: usize = 1_000;

/// Fewer bytes than any heartbeat's record has: a bound of how many a damaged end of the journal may have held.
const RECORD_MIN: u64 = 1_000;

/// This sidecar's release, as it is sworn.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Says why metering cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MeteringError {
    /// The journal cannot be used. What was not synced was not sent; the next try may succeed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No heartbeat can be made.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// No heartbeat can be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The control plane found that this sidecar's chain has a second branch, or another key.
    #[error(
        "the control plane refused this sidecar's heartbeats for good (`{0}`): somebody else holds its key or state, or its state was rolled back; metering stops until an operator enrols a new sidecar"
    )]
    Forked(String),
}

/// Something that others should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The journal was cut back to its last whole record, or spoilt records were passed over.
    Recovered {
        /// Whether whole records stood behind what was spoilt.
        within: bool,
        /// How many bytes were no record.
        bytes: u64,
    },
    /// Another sidecar id's undelivered heartbeats were given up, with what they swore to taken over.
    TakenOver {
        /// How many.
        heartbeats: u64,
    },
    /// Heartbeats were dropped undelivered: too old or too many.
    Expired {
        /// How many.
        heartbeats: u64,
    },
    /// The clock stood before the previous heartbeat.
    ClockBehind {
        /// By how many seconds.
        seconds: u64,
    },
    /// The runtime's counters cannot be right.
    Sample(SampleFault),
    /// Somebody else than the data plane answers on the metering socket.
    ForeignPeer {
        /// Who.
        uid: u32,
    },
    /// The control plane refused a heartbeat.
    Refused {
        /// Its counter.
        counter: u64,
        /// The stable reason code.
        code: String,
    },
}

/// A heartbeat on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its counter.
    pub counter: u64,
    /// The signed bytes.
    pub envelope: Envelope,
}

/// One sidecar's metering.
#[derive(Debug)]
pub struct Metering<D> {
    journal: Journal<D>,
    spool: Spool,
    state: State,
    accumulator: Accumulator,
    key: SidecarKey,
    nonce: Option<String>,
}

impl<D: Disk> Metering<D> {
    /// Takes up where the journal on `disk` ends, as one more start of the sidecar.
    ///
    /// # Errors
    /// When the journal cannot be read, or the control plane refused this sidecar for good.
    pub fn open(
        disk: D,
        key: SidecarKey,
        sidecar: SidecarId,
        tenant: TenantId,
    ) -> Result<(Self, Vec<Notice>), MeteringError> {
        let (journal, found) = Journal::open(disk)?;
        let mut notices = Vec::new();
        let state = found.state.unwrap_or_else(|| State::enrolled(sidecar, tenant));
        let spool = Spool::restore(found.waiting);
        let accumulator = Accumulator::restore(state.runtime.clone().into());
        let mut metering = Self { journal, spool, state, accumulator, key, nonce: None };
        metering.note_damage(found.damage, &mut notices);
        if metering.state.sidecar != sidecar {
            metering.take_over(sidecar, tenant, &mut notices);
        }
        if let Some(code) = &metering.state.stopped {
            return Err(MeteringError::Forked(code.clone()));
        }
        metering.state = metering.state.clone().with_chain(&metering.state.chain().restarted());
        Ok((metering, notices))
    }

    fn note_damage(&mut self, damage: Option<Damage>, notices: &mut Vec<Notice>) {
        match damage {
            None => {}
            Some(Damage::Middle { bytes }) => notices.push(Notice::Recovered { within: true, bytes }),
            Some(Damage::Tail { bytes }) => {
                notices.push(Notice::Recovered { within: false, bytes });
                // What is lost may have been heartbeats that were synced, sent, and spoilt since. Their counters
                // are passed over, and one more, so that nothing seems to follow from what is lost: a gap is a
                // question, a second content or a broken chain would be an accusation.
                let passed_over = (bytes / RECORD_MIN).saturating_add(2);
                self.state.counter = self.state.counter.saturating_add(passed_over);
                self.state.unsure = true;
            }
        }
    }

    /// Begins the chain of a new id, which swears only to what the old one was not credited with.
    fn take_over(&mut self, sidecar: SidecarId, tenant: TenantId, notices: &mut Vec<Notice>) {
        let carried = self.state.carried.zip(self.state.counted, u64::saturating_add);
        let runtime = self.state.runtime.clone();
        self.state = State { runtime, carried, ..State::enrolled(sidecar, tenant) };
        self.spool = Spool::default();
        notices.push(Notice::TakenOver { heartbeats: self.journal.give_up_all() });
    }

    /// Takes a sample in.
    pub fn observe(&mut self, sample: &Sample) -> Vec<Notice> {
        let (_, faults) = self.accumulator.observe(sample);
        self.state.unsure = false;
        faults.into_iter().map(Notice::Sample).collect()
    }

    /// Makes the next heartbeat, signs it and syncs it. After a damaged journal it first needs a sample: until
    /// then nothing is sworn.
    ///
    /// # Errors
    /// [`MeteringError`]. Nothing was sworn then, and the chain stands where it stood.
    pub fn beat(&mut self, now: Timestamp, integrity: Integrity) -> Result<Vec<Notice>, MeteringError> {
        let mut notices: Vec<Notice> = self.expire(now).into_iter().collect();
        if self.state.unsure {
            return Ok(notices);
        }
        let made = Made {
            now,
            totals: self.totals(),
            release: RELEASE.to_owned(),
            integrity,
            nonce: self.nonce.clone(),
            spooled: self.spool.next_is_spooled(),
        };
        let link = self.state.chain().next(made)?;
        let envelope = self.key.sign(PAYLOAD_TYPE, &link.payload)?;
        let runtime = Runtime::from(self.accumulator.state());
        let state = State { runtime, ..self.state.clone() }.with_chain(&link.next);
        let record = Record::Beat { state, envelope };
        self.journal.append_synced(&record, &self.state)?;
        self.state = record.into_state();
        self.spool.push(Waiting { counter: link.next.counter, time_s: link.next.time_s });
        if link.clock_behind_s > 0 {
            notices.push(Notice::ClockBehind { seconds: link.clock_behind_s });
        }
        Ok(notices)
    }

    /// What this sidecar swears to: the runtime's counters, less what other ids were credited with.
    fn totals(&self) -> Totals {
        self.accumulator.totals().zip(self.state.carried, u64::saturating_sub)
    }

    fn expire(&mut self, now: Timestamp) -> Option<Notice> {
        let expired: Vec<u64> = self.spool.drop_expired(now).iter().map(|beat| beat.counter).collect();
        self.forget(&expired);
        let heartbeats = u64::try_from(expired.len()).unwrap_or(u64::MAX);
        (heartbeats > 0).then_some(Notice::Expired { heartbeats })
    }

    /// Whether nothing waits for an answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.spool.is_empty()
    }

    /// The next delivery, at most `max` heartbeats, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn batch(&self, max: usize) -> Result<Vec<Outgoing>, MeteringError> {
        let outgoing = |beat: Waiting| {
            let envelope = self.journal.envelope(beat.counter)?;
            Ok(Outgoing { counter: beat.counter, envelope })
        };
        self.spool.batch().take(max).map(outgoing).collect()
    }

    /// Notes that a delivery got no answer.
    pub fn not_delivered(&mut self) {
        self.spool.delivery_failed();
    }

    /// Takes the control plane's answer to a delivery.
    ///
    /// # Errors
    /// [`MeteringError::Forked`] when the chain is refused for good; the delivery then stays as evidence.
    pub fn settle(
        &mut self,
        delivered: &[Outgoing],
        receipts: &[Receipt],
        nonce: &str,
    ) -> Result<Vec<Notice>, MeteringError> {
        let nonce_fits = !nonce.is_empty() && nonce.len() <= Heartbeat::NONCE_MAX;
        self.nonce = nonce_fits.then(|| nonce.to_owned());
        let (mut notices, mut settled) = (Vec::new(), Vec::new());
        for (outgoing, receipt) in delivered.iter().zip(receipts) {
            let answer = Answer::to(receipt);
            if answer == Answer::Forked {
                self.forget(&settled);
                return Err(self.stop(&receipt.code));
            }
            self.apply(answer, outgoing);
            settled.push(outgoing.counter);
            if receipt.status == ReceiptStatus::Refused {
                notices.push(Notice::Refused { counter: outgoing.counter, code: receipt.code.clone() });
            }
        }
        self.forget(&settled);
        Ok(notices)
    }

    /// Never swears again, also after a restart.
    fn stop(&mut self, code: &str) -> MeteringError {
        let stopped = State { stopped: Some(code.to_owned()), ..self.state.clone() };
        let record = Record::State(stopped);
        if let Err(error) = self.journal.append_synced(&record, &self.state) {
            // After a restart the same delivery gets the same answer.
            tracing::warn!(%error, "the refusal cannot be kept");
        }
        self.state = record.into_state();
        MeteringError::Forked(code.to_owned())
    }

    /// Gives up one heartbeat that the control plane does not read at all. Its totals are in the next one.
    pub fn give_up(&mut self, outgoing: &Outgoing, code: &str) -> Notice {
        self.spool.settle_untimely(outgoing.counter);
        self.forget(&[outgoing.counter]);
        Notice::Refused { counter: outgoing.counter, code: code.to_owned() }
    }

    fn apply(&mut self, answer: Answer, outgoing: &Outgoing) {
        let Some(beat) = sworn(outgoing) else {
            self.spool.settle(outgoing.counter);
            return;
        };
        let chain = self.state.chain();
        let next: Chain = match answer {
            Answer::Counts => {
                self.spool.settle(outgoing.counter);
                self.state.counted = self.state.counted.zip(beat.totals, u64::max);
                chain.settled(beat.time)
            }
            Answer::TooLate => {
                self.spool.settle_untimely(outgoing.counter);
                chain.settled(beat.time)
            }
            Answer::TooEarly => {
                self.spool.settle_untimely(outgoing.counter);
                chain.clock_corrected()
            }
            Answer::TimeWentBack => {
                self.spool.settle_untimely(outgoing.counter);
                chain
            }
            // A fork never comes here: `settle` stops at it.
            Answer::Refused | Answer::Forked => {
                self.spool.settle(outgoing.counter);
                chain
            }
        };
        self.state = self.state.clone().with_chain(&next);
    }

    /// Records that heartbeats wait no more. If the disk refuses, they are delivered once more after a restart.
    fn forget(&mut self, counters: &[u64]) {
        self.state.runtime = Runtime::from(self.accumulator.state());
        for counters in counters.chunks(SETTLED_MAX) {
            let record = Record::Settled { state: self.state.clone(), counters: counters.to_vec() };
            self.journal.settle(&record);
        }
    }
}

/// What an answer means for the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Counts,
    TooLate,
    TooEarly,
    TimeWentBack,
    Refused,
    Forked,
}

impl Answer {
    fn to(receipt: &Receipt) -> Self {
        match receipt.status {
            ReceiptStatus::Accepted | ReceiptStatus::Duplicate => Self::Counts,
            ReceiptStatus::Refused => match receipt.code.as_str() {
                "stale" | "too_old" => Self::TooLate,
                "from_the_future" => Self::TooEarly,
                "time_went_back" => Self::TimeWentBack,
                "equivocation"
                | "chain_broken"
                | "epoch_went_back"
                | "totals_went_back"
                | "envelope.bad_signature" => Self::Forked,
                _ => Self::Refused,
            },
        }
    }
}

/// What a heartbeat of our own swore to.
fn sworn(outgoing: &Outgoing) -> Option<Heartbeat> {
    let decoded = outgoing.envelope.decode(PAYLOAD_TYPE).ok()?;
    Heartbeat::read(&decoded.payload).ok()
}
