//! Inside a transaction: repositories that write, and what goes with every change.

use crate::keys::Keys;
use crate::sql::Source;
use sqlx::AnyConnection;
use wire::audit::AuditEntry;
use wire::event::SecurityEvent;

/// A transaction. Its audit entries and events are written with it, at its end.
pub struct Tx {
    connection: AnyConnection,
    keys: Keys,
    pub(crate) entries: Vec<AuditEntry>,
    pub(crate) events: Vec<SecurityEvent>,
}

/// How much a transaction holds, to go back to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    entries: usize,
    events: usize,
}

impl Tx {
    pub(crate) const fn new(connection: AnyConnection, keys: Keys) -> Self {
        Self { connection, keys, entries: Vec::new(), events: Vec::new() }
    }

    pub(crate) fn into_connection(self) -> AnyConnection {
        self.connection
    }

    /// Writes an audit entry with this change.
    pub fn audit(&mut self, entry: AuditEntry) {
        self.entries.push(entry);
    }

    /// Writes a security event with this change, and puts it into the outbox.
    pub fn event(&mut self, event: SecurityEvent) {
        self.events.push(event);
    }

    pub(crate) const fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), events: self.events.len() }
    }

    pub(crate) fn reset(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.events.truncate(mark.events);
    }
}

impl Source for Tx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }
}
