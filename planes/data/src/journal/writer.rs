//! The one writer: takes what has gathered, writes it as one batch, syncs once, answers everybody.
//!
//! Nothing is delayed to make batches larger: while one sync runs, the next batch gathers by itself.

use super::frame;
use super::index::{Entry, Index, Place, Stage};
use super::key::Sealing;
use super::record::{Accepted, Began, Ended, Head, Record};
use super::recovery::{Found, row};
use super::segment::{self, Active, Header};
use super::{AppendError, locked, place_context};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use terms::{ExecutionId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

/// Where a segment ends: few files, and little to read again when one is trimmed.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Where a batch ends, so that the first of a burst does not wait for all of it to be sealed.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How large the journal grows before executions are moved out of its oldest segment to free it.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// Executions that ended which are kept beyond what replay protection needs.
const KEPT_MAX: usize = 50_000;

/// How long they are kept at most: a day, for whoever wants an output.
const KEPT_MS: i64 = 24 * 3_600_000;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Append these records.
    Append { records: Vec<Record>, durable: Durable },
    /// Forget what is old and free segments; answers the latest token expiry that was forgotten.
    Sweep { now: Timestamp, done: oneshot::Sender<Option<Timestamp>> },
    /// Stop after everything before this.
    Stop,
}

/// Whether somebody waits until the records are durable.
#[derive(Debug)]
pub(super) enum Durable {
    /// Nobody: they are written in order, and durable with whatever is next.
    Later,
    /// Somebody.
    Now(oneshot::Sender<Result<(), AppendError>>),
}

pub(super) struct Writer {
    dir: PathBuf,
    sealing: Arc<Sealing>,
    index: Arc<Mutex<Index>>,
    active: Active,
    next_sequence: u64,
    sizes: BTreeMap<u64, u64>,
    failed: watch::Sender<bool>,
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    frames: Vec<u8>,
    placed: Vec<(Head, Place)>,
}

impl Writer {
    pub(super) fn new(
        dir: PathBuf,
        sealing: Arc<Sealing>,
        found: Found,
        failed: watch::Sender<bool>,
    ) -> (Self, Arc<Mutex<Index>>) {
        let index = Arc::new(Mutex::new(found.index));
        let Found { active, next_sequence, sizes, .. } = found;
        (Self { dir, sealing, index: Arc::clone(&index), active, next_sequence, sizes, failed }, index)
    }

    /// Serves commands until told to stop, or until a sync fails: what the kernel then still holds is unknown.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next = commands.blocking_recv();
        while let Some(command) = next.take() {
            let goes_on = match command {
                Command::Append { records, durable } => {
                    let mut waiting = vec![(records, durable)];
                    next = gather(&mut commands, &mut waiting);
                    self.append(waiting, next.is_none())
                }
                Command::Sweep { now, done } => {
                    let (forgotten, goes_on) = self.sweep(now);
                    // Whoever asked may have stopped.
                    let _ = done.send(forgotten);
                    goes_on
                }
                Command::Stop => false,
            };
            if !goes_on {
                break;
            }
            if next.is_none() {
                next = commands.blocking_recv();
            }
        }
        // Later records are durable too when the process stops in order.
        if !*self.failed.borrow() && self.active.sync().is_ok() {
            let _ = self.active.vouch();
        }
        self.failed.send_replace(true);
    }

    fn append(&mut self, waiting: Vec<(Vec<Record>, Durable)>, is_idle: bool) -> bool {
        let (records, durables): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let is_awaited = durables.iter().any(|durable| matches!(durable, Durable::Now(_)));
        let records: Vec<Record> = records.into_iter().flatten().collect();
        let written = self.commit(&records, is_awaited);
        let goes_on = !matches!(written, Err(AppendError::Stopped));
        for durable in durables {
            if let Durable::Now(done) = durable {
                // Whoever waited may have been cancelled.
                let _ = done.send(written.clone());
            }
        }
        if is_idle && is_awaited && written.is_ok() {
            self.vouch();
        }
        goes_on
    }

    /// A voucher that cannot be written costs a diagnosis, never a record.
    fn vouch(&mut self) {
        if let Err(error) = self.active.vouch() {
            tracing::warn!(%error, "the journal cannot note what is durable");
        }
    }

    /// Writes `records`, syncs if asked to, and takes them into the index.
    fn commit(&mut self, records: &[Record], sync: bool) -> Result<(), AppendError> {
        let mut batch = self.seal(records)?;
        let would_be = self.active.length().saturating_add(batch.frames.len() as u64);
        if would_be > SEGMENT_BYTES && self.active.length() > segment::HEADER_LENGTH as u64 {
            self.rotate()?;
            batch = self.seal(records)?;
        }
        self.active.append(&batch.frames).map_err(|error| not_written(&error))?;
        self.next_sequence += batch.placed.len() as u64;
        if sync {
            self.sync()?;
        }
        let mut index = locked(&self.index);
        batch.placed.iter().for_each(|(head, place)| index.apply(head, *place));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        self.active.sync().map_err(|error| {
            tracing::error!(%error, "the journal cannot be synced; stopping, because what is durable is unknown");
            self.failed.send_replace(true);
            AppendError::Stopped
        })
    }

    fn seal(&self, records: &[Record]) -> Result<Batch, AppendError> {
        seal(&self.sealing, records, self.next_sequence, &self.active_place())
    }

    fn active_place(&self) -> Start {
        Start { segment: self.active.number, offset: self.active.length(), synced: self.active.synced() }
    }

    /// Ends the active segment and begins the next.
    fn rotate(&mut self) -> Result<(), AppendError> {
        self.sync()?;
        let began = locked(&self.index).began;
        let header = Header {
            number: self.active.number + 1,
            first_sequence: self.next_sequence,
            journal: self.sealing.journal,
        };
        let (batch, next) = begin(&self.dir, &self.sealing, &header, began)?;
        self.sizes.insert(self.active.number, self.active.length());
        self.active = next;
        self.next_sequence += batch.placed.len() as u64;
        Ok(())
    }

    fn sweep(&mut self, now: Timestamp) -> (Option<Timestamp>, bool) {
        let is_old = |expires_at: Timestamp, known: usize| {
            let past_ms = now.ms_since(expires_at.plus_ms(plan::SKEW_MS));
            past_ms > KEPT_MS || (past_ms > 0 && known > KEPT_MAX)
        };
        let forgotten = locked(&self.index).forget(is_old);
        let freed = self.free_pressed_segment().and_then(|()| self.trim());
        if let Err(error) = &freed {
            tracing::warn!(%error, "old journal segments stay for now");
        }
        (forgotten, !matches!(freed, Err(AppendError::Stopped)))
    }

    /// Removes the oldest segments that nothing needs.
    fn trim(&mut self) -> Result<(), AppendError> {
        let is_free = |number: &u64| !locked(&self.index).needs(*number);
        let free: Vec<u64> = self.sizes.keys().copied().take_while(is_free).collect();
        let Some(last) = free.last() else { return Ok(()) };
        self.commit(&[Record::new(Head::Trimmed(last + 1))], true)?;
        for number in free {
            segment::remove(&self.dir, number).map_err(|error| not_written(&error))?;
            self.sizes.remove(&number);
        }
        Ok(())
    }

    /// Moves executions out of the oldest segment while the journal is larger than it should be.
    fn free_pressed_segment(&mut self) -> Result<(), AppendError> {
        let total = self.sizes.values().sum::<u64>().saturating_add(self.active.length());
        let Some(oldest) = self.sizes.keys().next().copied().filter(|_| total > DISK_BYTES) else {
            return Ok(());
        };
        let ids = locked(&self.index).needing(oldest);
        for id in ids {
            let entry = locked(&self.index).entry(id).cloned();
            let moved = entry.map(|entry| self.moved(id, &entry)).transpose()?;
            self.commit(&moved.unwrap_or_default(), false)?;
        }
        self.sync()
    }

    /// The records that stand for an execution from now on.
    fn moved(&self, id: ExecutionId, entry: &Entry) -> Result<Vec<Record>, AppendError> {
        match &entry.stage {
            Stage::Live { records, .. } => {
                let mut moved = Vec::with_capacity(records.len() + 1);
                for place in records {
                    let Record { head, body } = self.read(*place)?;
                    // What was moved before is moved as what it is.
                    let head = match head {
                        Head::Moved(head) => head,
                        other => Box::new(other),
                    };
                    moved.push(Record { head: Head::Moved(head), body });
                }
                moved.push(Record::new(Head::MoveEnded(id)));
                Ok(moved)
            }
            Stage::Ended { accepted, ended, acknowledged } => {
                let (accepted, _) = self.accepted(*accepted)?;
                let Record { head, body } = self.read(*ended)?;
                let (Head::Ended(ended) | Head::Kept(_, ended, _)) = head else {
                    return Err(AppendError::NotWritten("an end is not where it was".to_owned()));
                };
                Ok(vec![Record { head: Head::Kept(accepted, ended, *acknowledged), body }])
            }
        }
    }

    fn accepted(&self, place: Place) -> Result<(Accepted, Option<Ended>), AppendError> {
        match self.read(place)?.head {
            Head::Accepted(accepted) => Ok((accepted, None)),
            Head::Kept(accepted, ended, _) => Ok((accepted, Some(ended))),
            Head::Moved(head) => match *head {
                Head::Accepted(accepted) => Ok((accepted, None)),
                other => Err(AppendError::NotWritten(format!("no acceptance but {other:?}"))),
            },
            other => Err(AppendError::NotWritten(format!("no acceptance but {other:?}"))),
        }
    }

    fn read(&self, place: Place) -> Result<Record, AppendError> {
        super::read_record(&self.dir, &self.sealing, place)
            .map_err(|e| AppendError::NotWritten(e.to_string()))
    }
}

/// Takes what has gathered, up to a batch; returns a command that is no append.
fn gather(
    commands: &mut mpsc::Receiver<Command>,
    waiting: &mut Vec<(Vec<Record>, Durable)>,
) -> Option<Command> {
    let mut bytes = 0_usize;
    while bytes < BATCH_BYTES {
        match commands.try_recv() {
            Ok(Command::Append { records, durable }) => {
                bytes += records.iter().map(|record| record.body.len()).sum::<usize>();
                waiting.push((records, durable));
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}

/// Where a batch begins.
struct Start {
    segment: u64,
    offset: u64,
    synced: u64,
}

/// Begins the segment of `header` with `began`, durable when this returns.
pub(super) fn begin_journal(
    dir: &std::path::Path,
    sealing: &Sealing,
    began: Began,
) -> Result<Found, AppendError> {
    let header = Header { number: began.oldest, first_sequence: 1, journal: sealing.journal };
    let (batch, active) = begin(dir, sealing, &header, began)?;
    let mut index = Index::new(began);
    batch.placed.iter().for_each(|(head, place)| index.apply(head, *place));
    let next_sequence = header.first_sequence + batch.placed.len() as u64;
    Ok(Found { index, tickets: Vec::new(), active, next_sequence, sizes: BTreeMap::new(), cut_bytes: 0 })
}

fn begin(
    dir: &std::path::Path,
    sealing: &Sealing,
    header: &Header,
    began: Began,
) -> Result<(Batch, Active), AppendError> {
    let start = Start { segment: header.number, offset: segment::HEADER_LENGTH as u64, synced: 0 };
    let batch = seal(sealing, &[Record::new(Head::Began(began))], header.first_sequence, &start)?;
    let active = Active::create(dir, header, &batch.frames).map_err(|error| not_written(&error))?;
    Ok((batch, active))
}

fn seal(sealing: &Sealing, records: &[Record], first: u64, start: &Start) -> Result<Batch, AppendError> {
    let unsealed = |error: &dyn core::fmt::Display| AppendError::NotWritten(error.to_string());
    let mut batch = Batch::default();
    for (sequence, record) in (first..).zip(records) {
        let plain = zeroize::Zeroizing::new(record.encode().map_err(|error| unsealed(&error))?);
        let nonce = host::entropy::bytes().map_err(|error| unsealed(&error))?;
        let sealed = sealing.key.seal(&place_context(sealing, &row(sealing, sequence)), nonce, &plain);
        if sealed.len() > frame::SEALED_MAX {
            return Err(AppendError::NotWritten(format!("a record of {} bytes is too large", sealed.len())));
        }
        let offset = start.offset.saturating_add(batch.frames.len() as u64);
        let offset = u32::try_from(offset).map_err(|error| unsealed(&error))?;
        let length = u32::try_from(sealed.len()).map_err(|error| unsealed(&error))?;
        frame::write(&mut batch.frames, start.synced, &sealed);
        batch.placed.push((record.head.clone(), Place { segment: start.segment, offset, length, sequence }));
    }
    Ok(batch)
}

fn not_written(error: &std::io::Error) -> AppendError {
    AppendError::NotWritten(error.to_string())
}
