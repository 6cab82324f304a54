//! The writer: takes what is there, runs it in one transaction, answers when it is on disk.

use crate::append;
use crate::connect::Connector;
use crate::error::{StoreError, WriteError};
use crate::sql::Source as _;
use crate::store::WorkFuture;
use crate::tx::Tx;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::time::Duration;
use futures_util::FutureExt as _;
use sqlx::Connection as _;
use tokio::sync::{mpsc, oneshot};

/// Most writes in one commit.
const GROUP_MAX: usize = 256;

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

/// Runs the writer until it is told to stop or every store is gone.
pub(crate) async fn run(mut queue: mpsc::Receiver<Job>, connector: Connector, first: Tx) {
    let keys = first.keys().clone();
    let mut tx = Some(first);
    while let Some(job) = queue.recv().await {
        let (mut group, stop) = gather(job, &mut queue);
        if stop.is_some() {
            // What comes after is refused at once, not left waiting.
            queue.close();
        }
        if tx.is_none() && !group.is_empty() {
            match connector.connect().await {
                Ok(connection) => tx = Some(Tx::new(connection, connector.engine(), keys.clone())),
                Err(error) => {
                    answer(group, &Err(StoreError::from(error)));
                    group = Vec::new();
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
        if let Some(mut current) = tx.take() {
            let committed = commit(&mut current, &mut group).await;
            let lost = committed.is_err() && !current.give_up().await;
            answer(group, &committed);
            tx = if lost { None } else { Some(current) };
        }
        if let Some(done) = stop {
            if let Some(current) = tx.take() {
                let _closed = current.into_connection().close().await;
            }
            // Whoever asked may have gone.
            let _gone = done.send(());
            return;
        }
    }
}

/// The job and what waits behind it, up to a group.
fn gather(job: Job, queue: &mut mpsc::Receiver<Job>) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<()>>) {
    let mut group = Vec::new();
    let mut next = Some(job);
    while let Some(job) = next {
        match job {
            Job::Work(work) => group.push(work),
            Job::Stop(done) => return (group, Some(done)),
        }
        next = if group.len() < GROUP_MAX { queue.try_recv().ok() } else { None };
    }
    (group, None)
}

fn answer(group: Vec<Box<dyn Work>>, committed: &Result<(), StoreError>) {
    for work in group {
        work.answer(committed.clone());
    }
}

/// Runs a group in one transaction. An error means that nothing of the group was kept.
async fn commit(tx: &mut Tx, group: &mut [Box<dyn Work>]) -> Result<(), StoreError> {
    if group.is_empty() {
        return Ok(());
    }
    tx.begin().await?;
    let head = append::lock_head(tx).await?;
    let alone = group.len() == 1;
    for work in group {
        tx.enter(alone);
        // Whoever asked is told; the others of the group must not suffer from its defect.
        let said_yes = AssertUnwindSafe(work.run(tx)).catch_unwind().await.unwrap_or(false);
        match tx.spoilt() {
            None if said_yes => tx.keep_work().await?,
            None => tx.undo_work().await?,
            Some(failure) => {
                tx.undo_work().await?;
                work.spoil(failure);
            }
        }
        if tx.is_over() {
            return Ok(());
        }
    }
    append::flush(tx, head).await?;
    tx.commit().await
}
