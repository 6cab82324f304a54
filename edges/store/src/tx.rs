//! Inside a transaction: repositories that write, and what goes with every change.

use crate::connect::{BUSY_TIMEOUT, Engine};
use crate::connection::Connection;
use crate::error::StoreError;
use crate::keys::{self, Cached, Keys, OwnerKeys};
use crate::sql::{self, Columns, Source, sql};
use std::sync::Arc;
use vault::Owner;
use wire::audit::AuditEntry;
use wire::event::SecurityEvent;

/// A transaction. Its audit entries and events are written with it, at its end.
pub struct Tx {
    connection: Connection,
    engine: Engine,
    keys: Keys,
    pending: Pending,
    /// Where `pending` stood when the closure that runs now began.
    mark: Mark,
    savepoint: Savepoint,
    /// What failed of the closure that runs now, whether or not it tells.
    spoilt: Option<StoreError>,
    /// Why the transaction as a whole cannot be kept.
    lost: Option<StoreError>,
    /// Whether SQLite's log may still hold destroyed keys.
    unshredded: bool,
}

/// What becomes real with the commit.
#[derive(Default)]
struct Pending {
    entries: Vec<AuditEntry>,
    events: Vec<SecurityEvent>,
    /// Keys that this transaction read or made: others may see them once they are committed.
    keys: Vec<(Owner, Arc<OwnerKeys>)>,
    destroyed: Vec<Destroyed>,
}

/// Keys that this transaction destroyed.
struct Destroyed {
    owner: Owner,
    keys: Arc<OwnerKeys>,
    /// What other closures had logged of the owner before it was deleted: it goes with the owner.
    before: Mark,
}

/// An audit entry on its way into the log.
pub(crate) struct Logged {
    pub(crate) entry: AuditEntry,
    /// The keys of a tenant that was deleted after this was logged: they seal it, and nobody opens it again.
    pub(crate) destroyed: Option<Arc<OwnerKeys>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    entries: usize,
    events: usize,
    keys: usize,
    destroyed: usize,
}

/// How the closure that runs now can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// With the whole transaction: it is the first.
    Whole,
    /// It has changed nothing yet. The first statement sets the savepoint, so that closures which only append
    /// to the log cost none.
    Wanted,
    /// By going back to the savepoint.
    Set,
    /// Nothing is left to undo.
    Left,
    /// There is no transaction.
    None,
}

impl Tx {
    pub(crate) fn new(connection: Connection, engine: Engine, keys: Keys) -> Self {
        let (pending, mark) = (Pending::default(), Mark::default());
        let (savepoint, spoilt, lost) = (Savepoint::None, None, None);
        // A crash may have come before it was emptied.
        let unshredded = engine == Engine::SqlCipher;
        Self { connection, engine, keys, pending, mark, savepoint, spoilt, lost, unshredded }
    }

    /// Writes an audit entry with this change.
    pub fn audit(&mut self, entry: AuditEntry) {
        self.pending.entries.push(entry);
    }

    /// Writes a security event with this change, and puts it into the outbox.
    pub fn event(&mut self, event: SecurityEvent) {
        self.pending.events.push(event);
    }

    pub(crate) fn destroyed(&mut self, owner: Owner, keys: Arc<OwnerKeys>) {
        self.pending.destroyed.push(Destroyed { owner, keys, before: self.mark });
    }

    pub(crate) const fn engine(&self) -> Engine {
        self.engine
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Begins the transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        self.savepoint = Savepoint::Whole;
        sql::run(self, sql(self.engine.begin())).await.map(drop)
    }

    /// Begins the first transaction of all, in which replicas that start together take turns.
    pub(crate) async fn begin_first(&mut self) -> Result<(), StoreError> {
        self.begin().await?;
        match self.engine {
            Engine::SqlCipher => Ok(()),
            Engine::Postgres => {
                sql::run(self, sql("LOCK TABLE vault_keys IN EXCLUSIVE MODE")).await.map(drop)
            }
        }
    }

    /// How much was collected for the log and the outbox.
    pub(crate) const fn logged(&self) -> usize {
        self.pending.entries.len() + self.pending.events.len()
    }

    /// Begins a closure; `first` says that the transaction holds nothing else yet.
    pub(crate) fn enter(&mut self, first: bool) {
        self.spoilt = None;
        self.mark = Mark {
            entries: self.pending.entries.len(),
            events: self.pending.events.len(),
            keys: self.pending.keys.len(),
            destroyed: self.pending.destroyed.len(),
        };
        self.savepoint = if first { Savepoint::Whole } else { Savepoint::Wanted };
    }

    /// The failure of a statement of the closure that ran. What it did is not kept, even if it took the failure
    /// lightly: PostgreSQL keeps nothing of a transaction in which a statement failed, and neither engine may
    /// keep what the other does not.
    pub(crate) const fn spoilt(&mut self) -> Option<StoreError> {
        self.spoilt.take()
    }

    /// Keeps what the closure did.
    pub(crate) async fn keep_work(&mut self) -> Result<(), StoreError> {
        match self.savepoint {
            Savepoint::Whole | Savepoint::Wanted | Savepoint::Left | Savepoint::None => self.check(),
            Savepoint::Set => self.leave("RELEASE SAVEPOINT work").await,
        }
    }

    /// Undoes what the closure did.
    pub(crate) async fn undo_work(&mut self) -> Result<(), StoreError> {
        self.pending.back_to(self.mark);
        match self.savepoint {
            Savepoint::Whole => {
                self.leave("ROLLBACK").await?;
                self.savepoint = Savepoint::None;
                Ok(())
            }
            Savepoint::Wanted | Savepoint::Left | Savepoint::None => self.check(),
            Savepoint::Set => {
                self.leave("ROLLBACK TO SAVEPOINT work").await?;
                self.leave("RELEASE SAVEPOINT work").await
            }
        }
    }

    /// Begins the part that belongs to no closure: what was collected is taken out and written.
    pub(crate) fn finish(&mut self) -> (Vec<Logged>, Vec<SecurityEvent>) {
        self.savepoint = Savepoint::Whole;
        let entries = core::mem::take(&mut self.pending.entries).into_iter().enumerate();
        let events = core::mem::take(&mut self.pending.events).into_iter().enumerate();
        let destroyed = &self.pending.destroyed;
        let entries = entries.map(|(at, entry)| {
            let gone =
                destroyed.iter().find(|d| at < d.before.entries && d.owner == keys::owner(entry.tenant));
            Logged { entry, destroyed: gone.map(|gone| Arc::clone(&gone.keys)) }
        });
        let events = events.filter(|(at, event)| {
            !destroyed.iter().any(|d| *at < d.before.events && d.owner == keys::owner(event.tenant))
        });
        (entries.collect(), events.map(|(_, event)| event).collect())
    }

    /// Whether the transaction ended with its first closure.
    pub(crate) fn is_over(&self) -> bool {
        self.savepoint == Savepoint::None
    }

    /// Commits; from now on others may see the keys that were made, and none those that were destroyed.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        sql::run(self, sql("COMMIT")).await?;
        self.savepoint = Savepoint::None;
        if !self.pending.destroyed.is_empty() {
            self.unshredded = self.engine == Engine::SqlCipher;
        }
        let Pending { keys, destroyed, .. } = core::mem::take(&mut self.pending);
        let destroyed: Vec<_> = destroyed.into_iter().map(|destroyed| destroyed.owner).collect();
        self.keys.forget(&destroyed);
        self.shred().await;
        for (owner, keys) in keys.into_iter().filter(|(owner, _)| !destroyed.contains(owner)) {
            if let Cached::Unknown { seen } = self.keys.cached(owner) {
                self.keys.keep(owner, keys, seen);
            }
        }
        Ok(())
    }

    /// Empties SQLite's log, in which destroyed keys would otherwise lie until they are overwritten. A reader at
    /// work prevents it: then the next commit tries again.
    async fn shred(&mut self) {
        if !self.unshredded {
            return;
        }
        // Without waiting for that reader: everybody else would wait too.
        let hurried = self.connection.batch("PRAGMA busy_timeout = 0").await;
        let emptied = self.connection.one(&sql("PRAGMA wal_checkpoint(TRUNCATE)")).await;
        let patient = self.connection.batch(BUSY_TIMEOUT).await;
        let emptied = emptied.is_ok_and(|row| row.is_some_and(|row| Columns::of(&row).integer() == Ok(0)));
        self.unshredded = !(emptied && hurried.is_ok() && patient.is_ok());
    }

    /// Gives up the transaction; says whether the connection can go on.
    pub(crate) async fn give_up(&mut self) -> bool {
        let pending = core::mem::take(&mut self.pending);
        // Whether a commit whose answer was lost took place is not known: the keys are read anew if they are there.
        self.keys.forget(&pending.destroyed.iter().map(|destroyed| destroyed.owner).collect::<Vec<_>>());
        self.lost = None;
        self.savepoint = Savepoint::None;
        // There may be no transaction any more: SQLite ends it by itself on a full disk.
        let _none_open = sql::run(self, sql("ROLLBACK")).await;
        self.lost = None;
        sql::one(self, sql("SELECT 1")).await.is_ok()
    }

    /// Ends or undoes a savepoint, without setting one.
    async fn leave(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.check()?;
        self.savepoint = Savepoint::Left;
        sql::run(self, sql(statement)).await.map(drop)
    }

    /// Fails if the transaction as a whole is lost.
    fn check(&self) -> Result<(), StoreError> {
        self.lost.clone().map_or(Ok(()), Err)
    }
}

impl Source for Tx {
    async fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.check()?;
        if self.savepoint == Savepoint::Wanted {
            self.savepoint = Savepoint::Set;
            let set = self.connection.run(&sql("SAVEPOINT work")).await.map_err(StoreError::from);
            set.inspect_err(|error| self.lost = Some(error.clone()))?;
        }
        Ok(&mut self.connection)
    }

    fn failed(&mut self, error: &StoreError) {
        if self.spoilt.is_none() {
            self.spoilt = Some(error.clone());
        }
        if error.is_fatal() && self.lost.is_none() {
            self.lost = Some(error.clone());
        }
    }

    fn cached(&self, owner: Owner) -> Cached {
        if self.pending.destroyed.iter().any(|destroyed| destroyed.owner == owner) {
            return Cached::Destroyed;
        }
        match self.pending.keys.iter().find(|(of, _)| *of == owner) {
            Some((_, keys)) => Cached::Here(Arc::clone(keys)),
            None => self.keys.cached(owner),
        }
    }

    fn keep(&mut self, owner: Owner, keys: Arc<OwnerKeys>, _: u64) {
        self.pending.keys.push((owner, keys));
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl Pending {
    fn back_to(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.events.truncate(mark.events);
        self.keys.truncate(mark.keys);
        self.destroyed.truncate(mark.destroyed);
    }
}
