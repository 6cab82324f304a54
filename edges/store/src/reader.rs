//! Reading.

use crate::connection::Connection;
use crate::error::StoreError;
use crate::keys::{Cached, Keys, OwnerKeys};
use crate::pool::Pooled;
use crate::sql::Source;
use std::sync::Arc;
use vault::Owner;

/// A connection for reading. It goes back to the pool when it is dropped.
pub struct Reader {
    connection: Pooled,
    keys: Keys,
}

impl Reader {
    pub(crate) const fn new(connection: Pooled, keys: Keys) -> Self {
        Self { connection, keys }
    }
}

impl Source for Reader {
    async fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.connection()
    }

    fn failed(&mut self, _: &StoreError) {}

    fn cached(&self, owner: Owner) -> Cached {
        self.keys.cached(owner)
    }

    fn keep(&mut self, owner: Owner, keys: Arc<OwnerKeys>, seen: u64) {
        self.keys.keep(owner, keys, seen);
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }
}
