//! Security events that were kept.

use crate::append::open_event;
use crate::error::StoreError;
use crate::page::Page;
use crate::permit::{reach_either, reach_platform};
use crate::repositories::Events;
use crate::sql::{self, Columns, Source, sql};
use crate::tx::Tx;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use terms::{EventId, Permit, TenantId};
use wire::event::SecurityEvent;

impl<S: Source> Events<'_, S> {
    /// Lists events, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<SecurityEvent>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let before = page.start(EventId::from_bytes([0xff; 16]))?;
        let statement =
            sql("SELECT id, tenant_id, sealed FROM security_events WHERE id < $1 ORDER BY id DESC LIMIT $2")
                .bind(before.to_string())
                .bind(i64::from(page.fetch()));
        let mut events = Vec::new();
        for row in sql::all(self.0, statement).await? {
            let mut columns = Columns::of(&row);
            let id: EventId = columns.parsed("security_events.id")?;
            let tenant: Option<TenantId> = columns.parsed_or_none("security_events.tenant_id")?;
            events.push(open_event(self.0, tenant, id, &columns.bytes()?).await?);
        }
        Ok(page.cut(events, |event| event.id.to_string()))
    }
}

impl Events<'_, Tx> {
    /// Keeps delivered events, each once. Says how many were new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_batch(
        &mut self,
        permit: &Permit,
        events: &[SecurityEvent],
    ) -> Result<u64, StoreError> {
        for event in events {
            reach_either(permit, event.tenant)?;
        }
        let mut known = self.known(events).await?;
        let mut new = 0;
        for event in events {
            if known.insert(event.id) {
                self.0.event(event.clone());
                new += 1;
            }
        }
        Ok(new)
    }

    async fn known(&mut self, events: &[SecurityEvent]) -> Result<BTreeSet<EventId>, StoreError> {
        let mut known = BTreeSet::new();
        for chunk in events.chunks(100) {
            let marks: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let text = format!("SELECT id FROM security_events WHERE id IN ({})", marks.join(", "));
            let mut statement = sqlx::query(AssertSqlSafe(text));
            for event in chunk {
                statement = statement.bind(event.id.to_string());
            }
            for row in sql::all(self.0, statement).await? {
                known.insert(Columns::of(&row).parsed("security_events.id")?);
            }
        }
        Ok(known)
    }
}
