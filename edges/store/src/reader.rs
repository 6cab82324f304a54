//! Reading.

use crate::keys::Keys;
use crate::sql::Source;
use sqlx::Any;
use sqlx::AnyConnection;
use sqlx::pool::PoolConnection;

/// A connection for reading. It goes back to the pool when it is dropped.
pub struct Reader {
    connection: PoolConnection<Any>,
    keys: Keys,
}

impl Reader {
    pub(crate) const fn new(connection: PoolConnection<Any>, keys: Keys) -> Self {
        Self { connection, keys }
    }
}

impl Source for Reader {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }
}
