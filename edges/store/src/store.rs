//! The store: readers in a pool, one writer with group commit.

use crate::config::Config;
use crate::connect::{self, Connector};
use crate::error::{OpenError, StoreError, WriteError};
use crate::keys::{self, Keys};
use crate::pool::Pool;
use crate::reader::Reader;
use crate::sql::{self, Columns, sql};
use crate::tx::Tx;
use crate::writer::{self, Job};
use crate::{append, schema};
use core::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use vault::{Keystore, Owner};

/// Most writes that wait; further callers wait for a place. Four full groups: more would only add to the wait.
const QUEUE_MAX: usize = 1_024;

/// What a write's closure returns.
pub type WorkFuture<'t, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    readers: Pool,
    keys: Keys,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the database: makes it if there is none, migrates it if it is older, refuses it otherwise.
    ///
    /// # Errors
    /// [`OpenError`], each with its next step. Nothing is ever re-initialised over existing data.
    pub async fn open(config: Config, keystore: Keystore) -> Result<Self, OpenError> {
        let connector = Connector::new(&config.url)?;
        let mut connection = connect::preflight(&connector, &config.url).await?;
        schema::migrate(&mut connection, connector.engine()).await?;
        let keys = Keys::new(keystore);
        let mut first = Tx::new(connection, connector.engine(), keys.clone());
        prepare(&mut first).await?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let readers = Pool::new(connector.clone(), config.readers);
        writer::start(queue, connector, first)?;
        Ok(Self(Arc::new(Inner { readers, keys, jobs })))
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when none is free or can be made in time.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        Ok(Reader::new(self.0.readers.take().await?, self.0.keys.clone()))
    }

    /// Runs `work` in a transaction and answers once it is on disk. Several writes share one commit; one that
    /// fails or panics is undone alone, and so is one of whose statements the engine refused any, whatever it
    /// answers. All writers wait while `work` runs: it awaits nothing but its `Tx`. Once
    /// queued it runs, whether or not its caller still waits.
    ///
    /// # Errors
    /// [`WriteError::Work`] is the closure's own error, [`WriteError::Store`] the store's.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> WorkFuture<'t, T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.0.jobs.send(Job::new(work, answer)).await.map_err(|_| WriteError::Store(StoreError::Closed))?;
        answered.await.map_err(|_| WriteError::Store(StoreError::Closed))?
    }

    /// Waits until every write that was begun is answered, and closes all connections. To be called before the
    /// process ends: a writer at work would use a cipher that its library takes down at exit.
    pub async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.0.jobs.send(Job::stop(done)).await.is_ok() {
            // The writer ends with or without telling.
            let _ended = finished.await;
        }
        self.0.readers.close().await;
    }
}

/// Makes what every database has: the platform's keys and the write head.
async fn prepare(tx: &mut Tx) -> Result<(), OpenError> {
    tx.begin_first().await?;
    match keys::of(tx, Owner::Platform).await {
        Ok(_) => {}
        Err(StoreError::KeyDestroyed) => make_first(tx).await?,
        Err(StoreError::Sealed { .. }) => return Err(OpenError::WrongRoot),
        Err(error) => return Err(error.into()),
    }
    Ok(tx.commit().await?)
}

async fn make_first(tx: &mut Tx) -> Result<(), StoreError> {
    let row = sql::one(tx, sql("SELECT count(*) FROM tenants")).await?;
    let tenants = row.map_or(Ok(0), |row| Columns::of(&row).integer())?;
    if tenants > 0 {
        return Err(StoreError::Database("the platform's keys are missing: restore a backup".to_owned()));
    }
    keys::create(tx, Owner::Platform).await?;
    append::create_head(tx).await
}
