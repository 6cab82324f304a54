//! The writer: takes what is there, runs it in one transaction, answers when it is on disk.

use crate::append::{self, Head};
use crate::connect::Connector;
use crate::error::{OpenError, StoreError, WriteError};
use crate::keys::Keys;
use crate::sql::Source as _;
use crate::store::WorkFuture;
use crate::tx::Tx;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::time::Duration;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};

/// Most writes in one commit.
const GROUP_MAX: usize = 256;

/// Most audit entries and events in one commit, but for those of its last closure: a few megabytes, and a wait
/// that is not felt.
const LOGGED_MAX: usize = 8_192;

/// How long a group may take: far longer than any disk, far shorter than a lost network is noticed by itself.
const GROUP_TIME: Duration = Duration::from_secs(60);

/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_millis(200);

/// A write on its way.
pub(crate) enum Job {
    Work(Box<dyn Work>),
    Stop(oneshot::Sender<()>),
}

/// A closure that ran or will, with the channel for its answer.
pub(crate) trait Work: Send {
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>>;
    /// Takes an answer back that says yes: a statement had failed.
    fn spoil(&mut self, failure: StoreError);
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Waiting<T, E, F> {
    work: Option<F>,
    result: Option<Result<T, WriteError<E>>>,
    answer: oneshot::Sender<Result<T, WriteError<E>>>,
}

impl Job {
    pub(crate) fn new<T, E, F>(work: F, answer: oneshot::Sender<Result<T, WriteError<E>>>) -> Self
    where
        T: Send + 'static,
        E: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> WorkFuture<'t, T, E> + Send + 'static,
    {
        Self::Work(Box::new(Waiting { work: Some(work), result: None, answer }))
    }

    pub(crate) const fn stop(done: oneshot::Sender<()>) -> Self {
        Self::Stop(done)
    }
}

impl<T, E, F> Work for Waiting<T, E, F>
where
    T: Send,
    E: Send,
    F: for<'t> FnOnce(&'t mut Tx) -> WorkFuture<'t, T, E> + Send,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let result = work(tx).await.map_err(WriteError::Work);
            let kept = result.is_ok();
            self.result = Some(result);
            kept
        })
    }

    fn spoil(&mut self, failure: StoreError) {
        if let Some(Ok(_)) = self.result {
            self.result = Some(Err(WriteError::Store(failure)));
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            // What was not kept was undone, whatever became of the others.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Ok(_)), Err(error)) => Err(WriteError::Store(error)),
            (None, Err(error)) => Err(WriteError::Store(error)),
            (None, Ok(())) => Err(WriteError::Store(StoreError::Panicked)),
        };
        // Whoever asked may have gone.
        let _gone = self.answer.send(answer);
    }
}

/// What the writer works with.
struct Writer {
    queue: mpsc::Receiver<Job>,
    connector: Connector,
    keys: Keys,
    /// The connection; absent from when it is lost until it is needed again.
    tx: Option<Tx>,
}

/// The writes that share a commit.
#[derive(Default)]
struct Group {
    works: Vec<Box<dyn Work>>,
    stop: Option<oneshot::Sender<()>>,
}

/// Starts the writer on a thread of its own: what it waits for, the disk above all, holds up nobody else.
pub(crate) fn start(queue: mpsc::Receiver<Job>, connector: Connector, first: Tx) -> Result<(), OpenError> {
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("store-writer".to_owned());
    let started = thread.spawn(move || runtime.block_on(run(queue, connector, first)));
    started.map(drop).map_err(|error| OpenError::Database(format!("no thread for the writer: {error}")))
}

/// Runs the writer until it is told to stop or every store is gone.
async fn run(queue: mpsc::Receiver<Job>, connector: Connector, first: Tx) {
    let keys = first.keys().clone();
    let mut writer = Writer { queue, connector, keys, tx: Some(first) };
    while let Some(job) = writer.queue.recv().await {
        let mut group = Group::default();
        let committed = match job {
            Job::Work(work) => writer.commit(work, &mut group).await,
            Job::Stop(done) => {
                group.stop = Some(done);
                Ok(())
            }
        };
        for work in group.works {
            work.answer(committed.clone());
        }
        if let Some(done) = group.stop {
            return writer.stop(done).await;
        }
        if writer.tx.is_none() {
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

impl Writer {
    /// Runs `first`, and what waits behind it, in one transaction. An error means that nothing of the group was
    /// kept, or that nobody knows.
    async fn commit(&mut self, first: Box<dyn Work>, group: &mut Group) -> Result<(), StoreError> {
        let (mut tx, head) = match self.begin().await {
            Ok(begun) => begun,
            Err(error) => {
                group.works.push(first);
                return Err(error);
            }
        };
        let committed = tokio::time::timeout(GROUP_TIME, self.fill(&mut tx, head, first, group)).await;
        let late = |_| Err(StoreError::Unreachable("no answer in time".to_owned()));
        let committed = committed.unwrap_or_else(late);
        if committed.is_ok() || tx.give_up().await {
            self.tx = Some(tx);
        }
        committed
    }

    /// Begins a transaction. A connection that was lost while nobody used it is replaced: nothing ran on it yet.
    async fn begin(&mut self) -> Result<(Tx, Head), StoreError> {
        if let Some(mut tx) = self.tx.take() {
            match open(&mut tx).await {
                Ok(head) => return Ok((tx, head)),
                Err(StoreError::Unreachable(why)) => tracing::warn!(why, "the writer connects anew"),
                Err(error) => {
                    if tx.give_up().await {
                        self.tx = Some(tx);
                    }
                    return Err(error);
                }
            }
        }
        let connection = self.connector.writer().await?;
        let mut tx = Tx::new(connection, self.connector.engine(), self.keys.clone());
        let head = open(&mut tx).await?;
        Ok((tx, head))
    }

    async fn fill(
        &mut self,
        tx: &mut Tx,
        head: Head,
        first: Box<dyn Work>,
        group: &mut Group,
    ) -> Result<(), StoreError> {
        let mut next = Some(Job::Work(first));
        while let Some(job) = next {
            let work = match job {
                Job::Work(work) => work,
                Job::Stop(done) => {
                    group.stop = Some(done);
                    break;
                }
            };
            // Undoing the first undoes the whole transaction: it needs no savepoint.
            tx.enter(group.works.is_empty());
            group.works.push(work);
            let Some(work) = group.works.last_mut() else { break };
            attempt(tx, work.as_mut()).await?;
            if tx.is_over() {
                return Ok(());
            }
            let full = group.works.len() >= GROUP_MAX || tx.logged() >= LOGGED_MAX;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        append::flush(tx, head).await?;
        tx.commit().await
    }

    async fn stop(mut self, done: oneshot::Sender<()>) {
        // What comes after is refused at once, not left waiting.
        self.queue.close();
        if let Some(tx) = self.tx.take() {
            tx.into_connection().close().await;
        }
        // Whoever asked may have gone.
        let _gone = done.send(());
    }
}

async fn open(tx: &mut Tx) -> Result<Head, StoreError> {
    tx.begin().await?;
    append::lock_head(tx).await
}

/// Runs one closure, and keeps or undoes what it did.
async fn attempt(tx: &mut Tx, work: &mut dyn Work) -> Result<(), StoreError> {
    // Whoever asked is told; the others of the group must not suffer from its defect.
    let said_yes = AssertUnwindSafe(work.run(tx)).catch_unwind().await.unwrap_or(false);
    match tx.spoilt() {
        None if said_yes => tx.keep_work().await,
        None => tx.undo_work().await,
        Some(failure) => {
            work.spoil(failure);
            tx.undo_work().await
        }
    }
}
