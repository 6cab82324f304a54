//! The journal: the sidecar's one file. What was sent is in it, synced, until it has an answer.

use crate::disk::Disk;
use crate::frame::{self, size};
use crate::record::{Record, State};
use meter::Waiting;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use wire::dsse::Envelope;

/// The file is rewritten once it holds this many bytes that nothing needs, and more of them than needed ones: so
/// each byte is copied once on average, and an idle file stays small.
const DEAD_MAX: u64 = 1 << 20;

/// Says why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("the metering journal cannot be used: {0}")]
    Disk(#[from] io::Error),
    /// A record cannot be written as JSON, or is larger than any reader takes.
    #[error("a metering record cannot be written")]
    Unwritable,
    /// A heartbeat that waits cannot be read back.
    #[error("heartbeat `{0}` cannot be read back from the metering journal")]
    Unreadable(u64),
}

/// What a crash or a broken disk left of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The end was not whole: a write that was never finished, or a last record that was spoilt.
    Tail {
        /// How many bytes were no record.
        bytes: u64,
    },
    /// Records were spoilt between whole ones.
    Middle {
        /// How many bytes were no record.
        bytes: u64,
    },
}

/// What was found in the file.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The last state; none in a new file.
    pub(crate) state: Option<State>,
    /// The heartbeats that wait for their answers.
    pub(crate) waiting: Vec<Waiting>,
    /// What was wrong with the file.
    pub(crate) damage: Option<Damage>,
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal<D> {
    disk: D,
    /// The end of the last whole record.
    end: u64,
    waiting: VecDeque<Place>,
    /// What the file has to be brought to before anything is appended.
    trouble: Trouble,
}

/// Where a waiting heartbeat lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    counter: u64,
    time_s: i64,
    range: Range<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// A write failed half-way: the file has to be cut.
    Torn,
    /// A sync failed: the file has to be written anew, for a later sync would not say what the first one lost.
    Doubtful,
}

impl<D: Disk> Journal<D> {
    /// Reads the journal. A damaged one is repaired before the first record is appended.
    pub(crate) fn open(disk: D) -> Result<(Self, Recovered), JournalError> {
        let len = disk.len()?;
        let mut journal = Self { disk, end: 0, waiting: VecDeque::new(), trouble: Trouble::None };
        let (mut state, mut at, mut spoilt): (Option<State>, u64, u64) = (None, 0, 0);
        while let Some(found) = frame::find(&journal.disk, at, len)? {
            spoilt += found.offset.saturating_sub(at);
            at = found.end();
            match serde_json::from_slice::<Record>(&found.payload) {
                Ok(record) => {
                    let other_id = |state: &State| state.sidecar != record.state().sidecar;
                    if state.as_ref().is_some_and(other_id) {
                        journal.give_up_all();
                    }
                    journal.replay(&record, found.offset..at);
                    state = Some(record.state().clone());
                }
                Err(_) => spoilt += at.saturating_sub(found.offset),
            }
        }
        journal.end = at;
        let tail = len.saturating_sub(at);
        let damage = match (tail, spoilt) {
            (0, 0) => None,
            (0, bytes) => Some(Damage::Middle { bytes }),
            (bytes, _) => Some(Damage::Tail { bytes }),
        };
        if damage.is_some() {
            journal.trouble = Trouble::Doubtful;
        }
        let waiting = journal.waiting.iter().map(Place::waiting).collect();
        Ok((journal, Recovered { state, waiting, damage }))
    }

    fn replay(&mut self, record: &Record, range: Range<u64>) {
        match record {
            Record::State(_) => {}
            Record::Beat { state, .. } => {
                self.waiting.push_back(Place { counter: state.counter, time_s: state.time_s, range });
            }
            Record::Settled { counters, .. } => self.forget(counters),
        }
    }

    /// Appends a record and syncs it. Only then may what it holds be known to anybody. `before` is the state
    /// before the record, for a file that has to be written anew first.
    pub(crate) fn append_synced(&mut self, record: &Record, before: &State) -> Result<(), JournalError> {
        let range = self.append(record, before)?;
        if let Err(error) = self.disk.sync() {
            self.trouble = Trouble::Doubtful;
            return Err(error.into());
        }
        self.end = range.end;
        self.replay(record, range);
        self.shrink(record.state());
        Ok(())
    }

    /// Appends a record whose loss only costs a delivery twice. The next synced one makes it durable.
    pub(crate) fn settle(&mut self, record: &Record) {
        match self.append(record, record.state()) {
            Ok(range) => self.end = range.end,
            Err(error) => tracing::warn!(%error, "settled heartbeats will be delivered once more"),
        }
        self.replay(record, 0..0);
        self.shrink(record.state());
    }

    /// Forgets every heartbeat that waits, and says how many did: the next record begins another id's chain.
    pub(crate) fn give_up_all(&mut self) -> u64 {
        let given_up = size(self.waiting.len());
        self.waiting.clear();
        given_up
    }

    fn append(&mut self, record: &Record, before: &State) -> Result<Range<u64>, JournalError> {
        self.repair(before)?;
        let frame = encode(record)?;
        if let Err(error) = self.disk.append(self.end, &frame) {
            self.trouble = Trouble::Torn;
            return Err(error.into());
        }
        Ok(self.end..self.end.saturating_add(size(frame.len())))
    }

    fn repair(&mut self, state: &State) -> Result<(), JournalError> {
        match self.trouble {
            Trouble::None => return Ok(()),
            Trouble::Torn => self.disk.cut(self.end)?,
            Trouble::Doubtful => self.rewrite(state)?,
        }
        self.trouble = Trouble::None;
        Ok(())
    }

    /// Rewrites the file if most of it is not needed any more.
    fn shrink(&mut self, state: &State) {
        let live: u64 = self.waiting.iter().map(|place| place.range.end - place.range.start).sum();
        let dead = self.end.saturating_sub(live);
        if dead > DEAD_MAX.max(live)
            && let Err(error) = self.rewrite(state)
        {
            tracing::warn!(%error, "the metering journal cannot be made smaller");
        }
    }

    fn rewrite(&mut self, state: &State) -> Result<(), JournalError> {
        // The last record counts, so the state stands behind the waiting heartbeats with their older ones; and
        // twice, for often it is the only record, and a spoilt byte must not cost the counter.
        let tail = encode(&Record::State(state.clone()))?.repeat(2);
        let kept: Vec<_> = self.waiting.iter().map(|place| place.range.clone()).collect();
        self.disk.replace(&kept, &tail)?;
        let mut end = 0;
        for place in &mut self.waiting {
            let length = place.range.end - place.range.start;
            place.range = end..end + length;
            end += length;
        }
        self.end = end + size(tail.len());
        Ok(())
    }

    /// The envelope of a heartbeat that waits, exactly as it was first written.
    pub(crate) fn envelope(&self, counter: u64) -> Result<Envelope, JournalError> {
        let unreadable = || JournalError::Unreadable(counter);
        let at = self.waiting.binary_search_by_key(&counter, |place| place.counter);
        let place = at.ok().and_then(|at| self.waiting.get(at)).ok_or_else(unreadable)?;
        let payload = frame::read_at(&self.disk, place.range.start, place.range.end)?;
        match payload.as_deref().map(serde_json::from_slice) {
            Some(Ok(Record::Beat { envelope, .. })) => Ok(envelope),
            _ => Err(unreadable()),
        }
    }

    fn forget(&mut self, counters: &[u64]) {
        for counter in counters {
            if let Ok(at) = self.waiting.binary_search_by_key(counter, |place| place.counter) {
                self.waiting.remove(at);
            }
        }
    }
}

impl Place {
    const fn waiting(&self) -> Waiting {
        Waiting { counter: self.counter, time_s: self.time_s }
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, JournalError> {
    let payload = serde_json::to_vec(record).map_err(|_| JournalError::Unwritable)?;
    frame::encode(&payload).ok_or(JournalError::Unwritable)
}
