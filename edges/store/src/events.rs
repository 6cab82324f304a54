//! Security events that were kept, and the outbox from which others take them over.

use crate::append::open_event;
use crate::error::StoreError;
use crate::page::{LIMIT_MAX, Page};
use crate::permit::{reach_either, reach_platform};
use crate::repositories::{Events, Outbox};
use crate::sql::{self, Columns, Source, count, sql};
use crate::tx::Tx;
use std::collections::BTreeSet;
use terms::{EventId, Permit, TenantId};
use wire::event::{EventKind, SecurityEvent};

/// An event that waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place; places grow without gaps.
    pub seq: u64,
    /// The event.
    pub event: SecurityEvent,
}

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
        self.open_page(page, statement).await
    }

    /// Lists events of one kind, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list_of(
        &mut self,
        permit: &Permit,
        kind: EventKind,
        page: &Page,
    ) -> Result<(Vec<SecurityEvent>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let before = page.start(EventId::from_bytes([0xff; 16]))?;
        let statement = sql("SELECT id, tenant_id, sealed FROM security_events \
                             WHERE kind = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
        .bind(kind.as_str())
        .bind(before.to_string())
        .bind(i64::from(page.fetch()));
        self.open_page(page, statement).await
    }

    async fn open_page(
        &mut self,
        page: &Page,
        statement: sql::Statement,
    ) -> Result<(Vec<SecurityEvent>, Option<String>), StoreError> {
        let mut sealed = Vec::new();
        for row in sql::all(self.0, statement).await? {
            let mut columns = Columns::of(&row);
            let id: EventId = columns.parsed("security_events.id")?;
            let tenant: Option<TenantId> = columns.parsed_or_none("security_events.tenant_id")?;
            sealed.push((id, tenant, columns.bytes()?));
        }
        let (sealed, next) = page.cut(sealed, |(id, ..)| id.to_string());
        let mut events = Vec::with_capacity(sealed.len());
        for (id, tenant, sealed) in sealed {
            events.extend(open_event(self.0, tenant, id, &sealed).await?);
        }
        Ok((events, next))
    }
}

impl<S: Source> Outbox<'_, S> {
    /// The events that nobody has taken over yet, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next(&mut self, permit: &Permit, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT o.seq, e.id, e.tenant_id, e.sealed FROM outbox o \
                             JOIN security_events e ON e.id = o.event_id ORDER BY o.seq LIMIT $1");
        let mut waiting = Vec::new();
        for row in sql::all(self.0, statement.bind(i64::from(limit.min(LIMIT_MAX)))).await? {
            let mut columns = Columns::of(&row);
            let seq = columns.count("outbox.seq")?;
            let id: EventId = columns.parsed("security_events.id")?;
            let tenant: Option<TenantId> = columns.parsed_or_none("security_events.tenant_id")?;
            let event = open_event(self.0, tenant, id, &columns.bytes()?).await?;
            waiting.extend(event.map(|event| OutboxRow { seq, event }));
        }
        Ok(waiting)
    }
}

impl Outbox<'_, Tx> {
    /// Lets go of the events up to `seq`, which somebody has taken over. The events themselves stay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ack(&mut self, permit: &Permit, seq: u64) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("DELETE FROM outbox WHERE seq <= $1").bind(count(seq, "seq")?);
        sql::run(self.0, statement).await.map(drop)
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
            let mut statement = sql(text);
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
