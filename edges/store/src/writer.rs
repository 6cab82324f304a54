//! The writer: takes what is there, runs it in one transaction, answers when it is on disk.

use crate::append;
use crate::connect::{Connector, Engine};
use crate::error::{StoreError, WriteError};
use crate::sql::{self, Source as _, sql};
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
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Waiting<T, E, F> {
    work: Option<F>,
    result: Option<Result<T, E>>,
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
            let result = work(tx).await;
            let kept = result.is_ok();
            self.result = Some(result);
            kept
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            // What the closure said no to was undone, whatever became of the others.
            (Some(Err(error)), _) => Err(WriteError::Work(error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Ok(_)), Err(error)) => Err(WriteError::Store(error)),
            (None, Err(error)) => Err(WriteError::Store(error)),
            (None, Ok(())) => Err(WriteError::Store(StoreError::Panicked)),
        };
        // Whoever asked may have gone.
        let _gone = self.answer.send(answer);
    }
}

/// Runs the writer until it is told to stop.
pub(crate) async fn run(mut queue: mpsc::Receiver<Job>, connector: Connector, engine: Engine, first: Tx) {
    let mut tx = Some(first);
    let keys = tx.as_ref().map(|tx| tx.keys().clone());
    while let Some(job) = queue.recv().await {
        let (mut group, stop) = gather(job, &mut queue);
        if tx.is_none() {
            tx = match (connector.connect().await, &keys) {
                (Ok(connection), Some(keys)) => Some(Tx::new(connection, keys.clone())),
                (Err(error), _) => {
                    let error = StoreError::from(error);
                    answer(group, &Err(error));
                    tokio::time::sleep(RECONNECT).await;
                    continue;
                }
                (Ok(_), None) => return,
            };
        }
        if let Some(mut current) = tx.take() {
            let committed = commit(&mut current, engine, &mut group).await;
            let lost = committed.is_err() && !recover(&mut current).await;
            answer(group, &committed);
            tx = if lost { None } else { Some(current) };
        }
        if let Some(done) = stop {
            if let Some(current) = tx.take() {
                let _closed = current.into_connection().close().await;
            }
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

async fn commit(tx: &mut Tx, engine: Engine, group: &mut [Box<dyn Work>]) -> Result<(), StoreError> {
    let begin = match engine {
        Engine::SqlCipher => "BEGIN IMMEDIATE",
        Engine::Postgres => "BEGIN",
    };
    sql::run(tx, sql(begin)).await?;
    let head = append::lock_head(tx).await?;
    let alone = group.len() == 1;
    for work in group {
        let mark = tx.mark();
        if !alone {
            sql::run(tx, sql("SAVEPOINT work")).await?;
        }
        let kept = AssertUnwindSafe(work.run(tx)).catch_unwind().await.unwrap_or(false);
        match (kept, alone) {
            (true, true) => {}
            (true, false) => drop(sql::run(tx, sql("RELEASE SAVEPOINT work")).await?),
            (false, true) => {
                tx.reset(mark);
                sql::run(tx, sql("ROLLBACK")).await?;
                return Ok(());
            }
            (false, false) => {
                tx.reset(mark);
                sql::run(tx, sql("ROLLBACK TO SAVEPOINT work")).await?;
                sql::run(tx, sql("RELEASE SAVEPOINT work")).await?;
            }
        }
    }
    append::flush(tx, head).await?;
    sql::run(tx, sql("COMMIT")).await?;
    Ok(())
}

/// Leaves a transaction that failed; says whether the connection can go on.
async fn recover(tx: &mut Tx) -> bool {
    tx.reset(Default::default());
    // There may be no transaction any more: SQLite ends it by itself on a full disk.
    let _none_open = sql::run(tx, sql("ROLLBACK")).await;
    sql::one(tx, sql("SELECT 1")).await.is_ok()
}
