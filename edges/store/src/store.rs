//! The store: readers in a pool, one writer with group commit.

use crate::config::Config;
use crate::connect::{self, Connector};
use crate::error::{OpenError, StoreError, WriteError};
use crate::keys::{self, Keys};
use crate::reader::Reader;
use crate::sql::{self, Columns, sql};
use crate::tx::Tx;
use crate::writer::{self, Job};
use crate::{append, schema};
use core::pin::Pin;
use sqlx::AnyPool;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use vault::{Keystore, Owner};

/// Most writes that wait; further callers wait for a place. Sixteen full groups.
const QUEUE_MAX: usize = 4_096;

/// What a write's closure returns.
pub type WorkFuture<'t, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

/// The database. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    readers: AnyPool,
    keys: Keys,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the database: makes it if there is none, migrates it if it is older, refuses it otherwise.
    ///
    /// # Errors
    /// [`OpenError`], each with its next step. Nothing is ever re-initialised over existing data.
    pub async fn open(config: Config, keystore: Keystore) -> Result<Self, OpenError> {
        let (connector, engine) = Connector::new(&config.url)?;
        let mut connection = connect::preflight(&connector, &config.url).await?;
        schema::migrate(&mut connection, engine).await?;
        let keys = Keys::new(keystore);
        let mut first = Tx::new(connection, keys.clone());
        prepare(&mut first).await?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(writer::run(queue, connector.clone(), engine, first));
        Ok(Self(Arc::new(Inner { readers: connector.pool(config.readers), keys, jobs })))
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when none is free or can be made in time.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        Ok(Reader::new(self.0.readers.acquire().await?, self.0.keys.clone()))
    }

    /// Runs `work` in a transaction and answers once it is on disk. Several writes share one commit; one that
    /// fails is undone alone.
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
        answered.await.map_err(|_| WriteError::Store(StoreError::Panicked))?
    }

    /// Waits until every write that was begun is answered, and closes all connections.
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
    let failed = |error: StoreError| match error {
        StoreError::Sealed { .. } => OpenError::WrongRoot,
        StoreError::DiskFull => OpenError::DiskFull,
        other => OpenError::Database(other.to_string()),
    };
    match keys::of(tx, Owner::Platform).await {
        Ok(_) => return Ok(()),
        Err(StoreError::KeyDestroyed) => {}
        Err(error) => return Err(failed(error)),
    }
    let row = sql::one(tx, sql("SELECT count(*) FROM tenants")).await.map_err(failed)?;
    let tenants = row.map_or(Ok(0), |row| Columns::of(&row).integer()).map_err(failed)?;
    if tenants > 0 {
        return Err(OpenError::Database("the platform's keys are missing: restore a backup".to_owned()));
    }
    sql::run(tx, sql("BEGIN")).await.map_err(failed)?;
    keys::create(tx, Owner::Platform).await.map_err(failed)?;
    append::create_head(tx).await.map_err(failed)?;
    sql::run(tx, sql("COMMIT")).await.map_err(failed)?;
    Ok(())
}
