//! The journal: what was let through, what it did, how it ended; durable before anybody is told.
//!
//! ```text
//! callers --records--> writer thread: seal, frame, write, sync once per batch --> index (places, totals)
//! start   <-- recovery: read every segment, cut a torn tail, refuse damage
//! ```
//! Each record is sealed under the journal's own key (AES-256-GCM-SIV) for its place: the journal's id and the
//! record's number. Nothing that was changed, left out, moved or brought from elsewhere opens. Memory holds
//! places and totals only; plans and outputs stay on disk.

mod frame;
mod index;
mod key;
pub mod record;
mod recovery;
mod segment;
mod writer;

use bytes::Bytes;
use index::{Entry, Index, Place, Stage};
use key::Sealing;
use plan::Ticket;
use record::{Began, Head, Record, RecordError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use terms::{ExecutionId, TenantId, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use vault::Context;
use wire::counters::Sample;
use wire::outcome::Outcome;
use writer::{Command, Durable, Writer};

/// The journal's folder in the data plane's own.
const FOLDER: &str = "journal";

/// Appends that wait for the writer; more callers wait in line.
const QUEUE_MAX: usize = 4_096;

/// Says why a data plane cannot start with its journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A record that was durable is not what it was.
    #[error("the journal is damaged at byte {offset} of `{}`; {REPAIR}", .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A segment is not there.
    #[error("the journal's segment `{}` is missing; {REPAIR}", .0.display())]
    Missing(PathBuf),
    /// There are segments, but not what says which journal they are.
    #[error("`{}` is missing beside the journal's segments; {REPAIR}", .0.display())]
    NoManifest(PathBuf),
    /// The manifest is no manifest.
    #[error("`{}` is damaged: {reason}; {REPAIR}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is missing.
    #[error("the journal's key `{}` is missing; {REPAIR}", .0.display())]
    NoKey(PathBuf),
    /// The key is another one.
    #[error("`{}` is not the key that the journal was sealed with; {REPAIR}", .0.display())]
    WrongKey(PathBuf),
    /// It is another tenant's.
    #[error("the journal belongs to tenant `{found}`, not to `{expected}`; check `tenant` and `state_dir`")]
    Tenant {
        /// Whose it is.
        found: TenantId,
        /// Who was configured.
        expected: TenantId,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] host::files::FileError),
    /// The system refused.
    #[error("cannot {deed} `{}`: {source}", .path.display())]
    System {
        /// What was tried.
        deed: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no entropy for a key.
    #[error(transparent)]
    Entropy(#[from] host::entropy::EntropyError),
    /// The first record could not be written.
    #[error("the journal cannot be begun: {0}")]
    Begin(#[from] AppendError),
}

/// The next step for whoever finds a journal that cannot be read.
const REPAIR: &str = "restore the data plane's folder from a backup, or move its `journal` folder away: \
     it then begins anew, and refuses every plan that may have run already";

/// Says why records are not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// They were not written; the journal is as it was, and another try may succeed.
    #[error("the journal was not written: {0}")]
    NotWritten(String),
    /// The journal takes no more records: a sync failed, or the process stops.
    #[error("the journal takes no more records")]
    Stopped,
}

/// Says why a record cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such record any more.
    #[error("the record is gone")]
    Gone,
    /// The system refused.
    #[error("the record cannot be read: {0}")]
    System(#[from] io::Error),
    /// Its bytes are not what was written.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

impl From<RecordError> for ReadError {
    fn from(error: RecordError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// How a journal was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The data plane never ran before.
    New,
    /// Whole.
    Whole,
    /// A crash had torn its last write, which nobody had been told of; so many bytes were cut off.
    CutBack(u64),
    /// It was gone, and began anew.
    Lost,
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It runs.
    Live,
    /// It ended.
    Ended,
}

/// What the journal says at the start.
#[derive(Debug)]
pub struct Recovered {
    /// How it was found.
    pub fate: Fate,
    /// When it began.
    pub began_at: Timestamp,
    /// Plans issued before this are refused.
    pub issued_from: Timestamp,
    /// What was let through, in order.
    pub tickets: Vec<Ticket>,
    /// Executions to go on with, in order.
    pub live: Vec<ExecutionId>,
    /// Outcomes that the control plane may not have, in order.
    pub outcomes: Vec<Outcome>,
}

/// An open journal; clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: Arc<Path>,
    sealing: Arc<Sealing>,
    index: Arc<Mutex<Index>>,
    commands: mpsc::Sender<Command>,
    failed: watch::Receiver<bool>,
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in `state_dir`, or begins it.
    ///
    /// `ran_before` says whether the data plane has run: a journal that is gone was lost then, and whatever it
    /// may have let through is refused from now on.
    ///
    /// # Errors
    /// [`JournalError`], each with its next step.
    pub fn open(
        state_dir: &Path,
        tenant: TenantId,
        ran_before: bool,
        now: Timestamp,
    ) -> Result<(Self, Recovered), JournalError> {
        let dir = state_dir.join(FOLDER);
        host::files::create_private_dir(&dir)?;
        let has_segments = !segment::list(&dir)?.is_empty();
        let opened = has_segments.then(|| key::open(state_dir, &dir, tenant)).transpose()?;
        let found = opened.as_ref().map(|sealing| recovery::recover(&dir, sealing)).transpose()?.flatten();
        let (sealing, mut found, fate) = match (opened, found) {
            (Some(sealing), Some(found)) => {
                let fate = if found.cut_bytes == 0 { Fate::Whole } else { Fate::CutBack(found.cut_bytes) };
                (sealing, found, fate)
            }
            (None | Some(_), None) | (None, Some(_)) => {
                let sealing = key::create(state_dir, &dir, tenant, now)?;
                let found = writer::begin_journal(&dir, &sealing, began(now, ran_before))?;
                (sealing, found, if ran_before { Fate::Lost } else { Fate::New })
            }
        };
        let sealing = Arc::new(sealing);
        let recovered = Recovered {
            fate,
            began_at: found.index.began.at,
            issued_from: found.index.began.issued_from,
            tickets: core::mem::take(&mut found.tickets),
            live: found.index.live(),
            outcomes: outcomes(&dir, &sealing, &found.index)?,
        };
        Ok((Self::start(dir, sealing, found)?, recovered))
    }

    fn start(dir: PathBuf, sealing: Arc<Sealing>, found: recovery::Found) -> Result<Self, JournalError> {
        let (commands, received) = mpsc::channel(QUEUE_MAX);
        let (failing, failed) = watch::channel(false);
        let (writer, index) = Writer::new(dir.clone(), Arc::clone(&sealing), found, failing);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(received))
            .map_err(|source| JournalError::system("start a writer for", &dir, source))?;
        Ok(Self { dir: dir.into(), sealing, index, commands, failed })
    }

    /// Appends `records` in one piece; they are durable when this returns.
    ///
    /// # Errors
    /// [`AppendError`]; whether they are durable is then open, except after [`AppendError::NotWritten`].
    pub async fn append(&self, records: Vec<Record>) -> Result<(), AppendError> {
        let (done, durable) = oneshot::channel();
        self.send(Command::Append { records, durable: Durable::Now(done) }).await?;
        durable.await.map_err(|_| AppendError::Stopped)?
    }

    /// Appends a record that is durable with whatever durable one comes next.
    ///
    /// # Errors
    /// [`AppendError::Stopped`].
    pub async fn note(&self, record: Record) -> Result<(), AppendError> {
        self.send(Command::Append { records: vec![record], durable: Durable::Later }).await
    }

    /// Forgets what is old and frees disk. Returns the latest token expiry that was forgotten.
    ///
    /// # Errors
    /// [`AppendError::Stopped`].
    pub async fn sweep(&self, now: Timestamp) -> Result<Option<Timestamp>, AppendError> {
        let (done, swept) = oneshot::channel();
        self.send(Command::Sweep { now, done }).await?;
        swept.await.map_err(|_| AppendError::Stopped)
    }

    /// Writes everything that was appended, and closes the journal.
    pub async fn close(&self) {
        let mut failed = self.failed.clone();
        if self.send(Command::Stop).await.is_ok() {
            // The writer says so when it is done; its end says so too.
            let _ = failed.wait_for(|failed| *failed).await;
        }
    }

    /// Resolves when the journal takes no more records.
    pub async fn stopped(&self) {
        let mut failed = self.failed.clone();
        let _ = failed.wait_for(|failed| *failed).await;
    }

    /// How far an execution is; none if it is not known, or was forgotten.
    #[must_use]
    pub fn known(&self, id: ExecutionId) -> Option<Known> {
        locked(&self.index).entry(id).map(|entry| match entry.stage {
            Stage::Live { .. } => Known::Live,
            Stage::Ended { .. } => Known::Ended,
        })
    }

    /// Whether an execution that runs shall be stopped.
    #[must_use]
    pub fn is_cancelled(&self, id: ExecutionId) -> bool {
        locked(&self.index).entry(id).is_some_and(|entry| match entry.stage {
            Stage::Live { cancelled, .. } => cancelled,
            Stage::Ended { .. } => false,
        })
    }

    /// The counters.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let index = locked(&self.index);
        Sample { epoch: index.began.epoch, totals: index.totals() }
    }

    /// How many executions are known.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.index).len()
    }

    /// Whether no execution is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads back all records of an execution that runs, from its acceptance on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn run(&self, id: ExecutionId) -> Result<Vec<Record>, ReadError> {
        let places = match locked(&self.index).entry(id) {
            Some(Entry { stage: Stage::Live { records, .. }, .. }) => records.clone(),
            Some(_) | None => return Err(ReadError::Gone),
        };
        let mut records = self.read(places).await?;
        for record in &mut records {
            if let Head::Moved(head) = &record.head {
                record.head = head.as_ref().clone();
            }
        }
        Ok(records)
    }

    /// Reads back how an execution ended, and its output.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ended(&self, id: ExecutionId) -> Result<(Outcome, Bytes), ReadError> {
        let place = match locked(&self.index).entry(id) {
            Some(Entry { stage: Stage::Ended { ended, .. }, .. }) => *ended,
            Some(_) | None => return Err(ReadError::Gone),
        };
        let record = self.read(vec![place]).await?.pop().ok_or(ReadError::Gone)?;
        match record.head {
            Head::Ended(ended) | Head::Kept(_, ended, _) => Ok((ended.outcome, record.body)),
            other => Err(ReadError::Damaged(format!("no end but {other:?}"))),
        }
    }

    async fn read(&self, places: Vec<Place>) -> Result<Vec<Record>, ReadError> {
        let (dir, sealing) = (Arc::clone(&self.dir), Arc::clone(&self.sealing));
        let read = move || places.into_iter().map(|place| read_record(&dir, &sealing, place)).collect();
        tokio::task::spawn_blocking(read).await.map_err(|error| ReadError::Damaged(error.to_string()))?
    }

    async fn send(&self, command: Command) -> Result<(), AppendError> {
        self.commands.send(command).await.map_err(|_| AppendError::Stopped)
    }
}

impl JournalError {
    fn system(deed: &'static str, path: &Path, source: io::Error) -> Self {
        Self::System { deed, path: path.to_owned(), source }
    }
}

/// The state of a journal that begins now.
fn began(now: Timestamp, ran_before: bool) -> Began {
    // A token's `iat` has whole seconds; one that was issued in this very second is let through when no other
    // journal can have seen it.
    let this_second = Timestamp::from_unix_s(now.unix_s());
    Began {
        at: now,
        issued_from: if ran_before { now.plus_ms(plan::SKEW_MS) } else { this_second },
        epoch: now.unix_ms_unsigned(),
        totals: wire::heartbeat::Totals::default(),
        oldest: 1,
    }
}

fn outcomes(dir: &Path, sealing: &Sealing, index: &Index) -> Result<Vec<Outcome>, JournalError> {
    let mut outcomes = Vec::new();
    for (_, place) in index.unacknowledged() {
        let record = read_record(dir, sealing, place).map_err(|_| JournalError::Damaged {
            path: segment::path(dir, place.segment),
            offset: u64::from(place.offset),
        })?;
        if let Head::Ended(ended) | Head::Kept(_, ended, _) = record.head {
            outcomes.push(ended.outcome);
        }
    }
    Ok(outcomes)
}

/// Reads one record back from its place.
fn read_record(dir: &Path, sealing: &Sealing, place: Place) -> Result<Record, ReadError> {
    let offset = u64::from(place.offset) + frame::HEADER_LENGTH as u64;
    let length = usize::try_from(place.length).map_err(|error| ReadError::Damaged(error.to_string()))?;
    let sealed = segment::read(dir, place.segment, offset, length).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Gone,
        _ => ReadError::System(error),
    })?;
    let row = recovery::row(sealing, place.sequence);
    let plain = sealing.key.open(&place_context(sealing, &row), &sealed);
    Ok(Record::decode(&plain.map_err(|error| ReadError::Damaged(error.to_string()))?)?)
}

fn place_context<'a>(sealing: &Sealing, row: &'a [u8]) -> Context<'a> {
    Context { owner: sealing.owner, kind: "journal", column: "record", row }
}

/// The index; a panic in between two of its fields cannot happen, so a poisoned lock is as good as any.
fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}
