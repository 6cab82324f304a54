//! The readers' connections: made when they are needed, kept for the next, never more than a few.

use crate::connect::Connector;
use crate::connection::Connection;
use crate::error::StoreError;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a reader waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// Connections for reading. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

/// A connection out of the pool. It goes back when it is dropped.
pub(crate) struct Pooled {
    /// Present until it is dropped.
    connection: Option<Connection>,
    pool: Pool,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(connector: Connector, most: u32) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(most.max(1)).unwrap_or(usize::MAX)));
        Self(Arc::new(Inner { connector, places, idle: Mutex::default() }))
    }

    /// Takes an idle connection or makes one.
    pub(crate) async fn take(&self) -> Result<Pooled, StoreError> {
        let waiting = tokio::time::timeout(ACQUIRE, Arc::clone(&self.0.places).acquire_owned()).await;
        let place = waiting.map_err(|_| StoreError::Unreachable("every reader is busy".to_owned()))?;
        let place = place.map_err(|_| StoreError::Closed)?;
        let connection = match self.idle().await {
            Some(connection) => connection,
            None => self.0.connector.reader().await?,
        };
        Ok(Pooled { connection: Some(connection), pool: self.clone(), _place: place })
    }

    /// Closes the idle connections now, and those in use when they come back.
    pub(crate) async fn close(&self) {
        self.0.places.close();
        let idle = core::mem::take(&mut *self.0.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            connection.close().await;
        }
    }

    /// An idle connection whose other side still answers.
    async fn idle(&self) -> Option<Connection> {
        loop {
            let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if idle.answers().await {
                return Some(idle);
            }
        }
    }
}

impl Pooled {
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or(StoreError::Closed)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if self.pool.0.places.is_closed() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            self.pool.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
