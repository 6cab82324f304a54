//! Heartbeats, kept as they came; and the usage that they add up to.

use crate::append::{sizes, values};
use crate::error::StoreError;
use crate::page::Page;
use crate::permit::reach;
use crate::repositories::Heartbeats;
use crate::sql::{self, Columns, Row, Source, count, ms, sql};
use crate::tx::Tx;
use terms::{Digest, Permit, SidecarId, TenantId, Timestamp};
use wire::heartbeat::Totals;

/// Most hours that one answer holds: ten years.
const HOURS_MAX: i64 = 90_000;

const HOUR_MS: i64 = 3_600_000;

/// A heartbeat, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBeat {
    /// Whose.
    pub sidecar: SidecarId,
    /// Its counter.
    pub counter: u64,
    /// SHA-256 of its payload.
    pub payload_digest: Digest,
    /// The envelope's JSON.
    pub envelope: Vec<u8>,
    /// When it came.
    pub received_at: Timestamp,
    /// Whether it counts.
    pub accepted: bool,
    /// Whether it has its counter's place in the chain.
    pub in_chain: bool,
    /// A stable reason code.
    pub reason: String,
}

/// A tenant's usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Over all time.
    pub totals: Totals,
    /// When a heartbeat was last accepted.
    pub as_of: Option<Timestamp>,
    /// Accepted heartbeats.
    pub heartbeats: u64,
    /// By hour of receipt.
    pub hours: Vec<UsageHour>,
}

/// Usage that was accepted within one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageHour {
    /// The hour's begin.
    pub hour: Timestamp,
    /// What was added.
    pub added: Totals,
}

impl<S: Source> Heartbeats<'_, S> {
    /// The digest and reason of the heartbeat that has a counter's place in the chain.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn in_chain(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        sidecar: SidecarId,
        counter: u64,
    ) -> Result<Option<(Digest, String)>, StoreError> {
        reach(permit, tenant)?;
        let statement = sql("SELECT payload_digest, reason FROM heartbeats \
                             WHERE tenant_id = $1 AND sidecar_id = $2 AND counter = $3 AND in_chain = 1")
        .bind(tenant.to_string())
        .bind(sidecar.to_string())
        .bind(count(counter, "counter")?);
        let Some(row) = sql::one(self.0, statement).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        Ok(Some((columns.digest("heartbeats.payload_digest")?, columns.text()?)))
    }

    /// Lists a tenant's heartbeats, newest first by sidecar and counter.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        page: &Page,
    ) -> Result<(Vec<StoredBeat>, Option<String>), StoreError> {
        reach(permit, tenant)?;
        let Place { sidecar, counter, digest } = page.start(Place::LAST)?;
        let statement = sql("SELECT sidecar_id, counter, payload_digest, envelope, received_at, accepted, \
             in_chain, reason FROM heartbeats \
             WHERE tenant_id = $1 AND (sidecar_id, counter, payload_digest) < ($2, $3, $4) \
             ORDER BY sidecar_id DESC, counter DESC, payload_digest DESC LIMIT $5")
        .bind(tenant.to_string())
        .bind(sidecar.to_string())
        .bind(count(counter, "counter")?)
        .bind(digest.as_bytes().to_vec())
        .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |beat| format!("{}.{}.{}", beat.sidecar, beat.counter, beat.payload_digest)))
    }

    /// A tenant's usage, with the hours from `from` up to `to`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Usage, StoreError> {
        reach(permit, tenant)?;
        let mut usage = Usage { totals: Totals::default(), as_of: None, heartbeats: 0, hours: Vec::new() };
        let statement =
            sql("SELECT totals, last_received, accepted FROM sidecars WHERE tenant_id = $1 LIMIT 1000");
        for row in sql::all(self.0, statement.bind(tenant.to_string())).await? {
            let mut columns = Columns::of(&row);
            usage.totals = usage.totals.zip(columns.json("sidecars.totals")?, u64::saturating_add);
            usage.as_of = usage.as_of.max(columns.time_or_none()?);
            usage.heartbeats = usage.heartbeats.saturating_add(columns.count("sidecars.accepted")?);
        }
        let statement =
            sql("SELECT hour, executions, outcomes, steps, http_calls, wall_time_ms, cpu_time_us, \
             output_bytes, egress_bytes, ingress_bytes FROM usage_hours \
             WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour LIMIT $4")
            .bind(tenant.to_string())
            .bind(ms(from))
            .bind(ms(to))
            .bind(HOURS_MAX);
        for row in sql::all(self.0, statement).await? {
            usage.hours.push(read_hour(&row)?);
        }
        Ok(usage)
    }
}

impl Heartbeats<'_, Tx> {
    /// Keeps heartbeats as they came. One that is kept already stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_batch(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        beats: &[StoredBeat],
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let mut rows = beats.iter();
        for size in sizes(beats.len()) {
            let mut text = values(
                "INSERT INTO heartbeats (tenant_id, sidecar_id, counter, payload_digest, envelope, received_at, accepted, \
                 in_chain, reason) VALUES ",
                9,
                size,
            );
            text.push_str(" ON CONFLICT (tenant_id, sidecar_id, counter, payload_digest) DO NOTHING");
            let mut statement = sql(text);
            for beat in rows.by_ref().take(size) {
                statement = statement
                    .bind(tenant.to_string())
                    .bind(beat.sidecar.to_string())
                    .bind(count(beat.counter, "counter")?)
                    .bind(beat.payload_digest.as_bytes().to_vec())
                    .bind(beat.envelope.clone())
                    .bind(ms(beat.received_at))
                    .bind(i64::from(beat.accepted))
                    .bind(i64::from(beat.in_chain))
                    .bind(beat.reason.clone());
            }
            sql::run(self.0, statement).await?;
        }
        Ok(())
    }

    /// Adds to the usage of the hour.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_usage(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        now: Timestamp,
        added: &Totals,
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        if *added == Totals::default() {
            return Ok(());
        }
        let hour = now.unix_ms() - now.unix_ms().rem_euclid(HOUR_MS);
        let mut statement = sql("INSERT INTO usage_hours (tenant_id, hour, executions, outcomes, steps, http_calls, \
             wall_time_ms, cpu_time_us, output_bytes, egress_bytes, ingress_bytes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (tenant_id, hour) DO UPDATE SET \
             executions = usage_hours.executions + excluded.executions, \
             outcomes = usage_hours.outcomes + excluded.outcomes, steps = usage_hours.steps + excluded.steps, \
             http_calls = usage_hours.http_calls + excluded.http_calls, \
             wall_time_ms = usage_hours.wall_time_ms + excluded.wall_time_ms, \
             cpu_time_us = usage_hours.cpu_time_us + excluded.cpu_time_us, \
             output_bytes = usage_hours.output_bytes + excluded.output_bytes, \
             egress_bytes = usage_hours.egress_bytes + excluded.egress_bytes, \
             ingress_bytes = usage_hours.ingress_bytes + excluded.ingress_bytes")
            .bind(tenant.to_string())
            .bind(hour);
        for (unit, of) in Totals::UNITS {
            statement = statement.bind(count(of(added), unit)?);
        }
        sql::run(self.0, statement).await.map(drop)
    }
}

/// A place in the list of heartbeats.
struct Place {
    sidecar: SidecarId,
    counter: u64,
    digest: Digest,
}

impl Place {
    const LAST: Self =
        Self { sidecar: SidecarId::from_bytes([0xff; 16]), counter: 0, digest: Digest::from_bytes([0; 32]) };
}

impl core::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(());
        let (sidecar, counter, digest) = (next()?, next()?, next()?);
        let sidecar = sidecar.parse().map_err(|_| ())?;
        let digest = digest.parse().map_err(|_| ())?;
        Ok(Self { sidecar, counter: counter.parse().map_err(|_| ())?, digest })
    }
}

fn read(row: &Row) -> Result<StoredBeat, StoreError> {
    let mut columns = Columns::of(row);
    Ok(StoredBeat {
        sidecar: columns.parsed("heartbeats.sidecar_id")?,
        counter: columns.count("heartbeats.counter")?,
        payload_digest: columns.digest("heartbeats.payload_digest")?,
        envelope: columns.bytes()?,
        received_at: columns.time()?,
        accepted: columns.flag()?,
        in_chain: columns.flag()?,
        reason: columns.text()?,
    })
}

fn read_hour(row: &Row) -> Result<UsageHour, StoreError> {
    let mut columns = Columns::of(row);
    let hour = columns.time()?;
    let mut next = || columns.count("usage_hours");
    let added = Totals {
        executions: next()?,
        outcomes: next()?,
        steps: next()?,
        http_calls: next()?,
        wall_time_ms: next()?,
        cpu_time_us: next()?,
        output_bytes: next()?,
        egress_bytes: next()?,
        ingress_bytes: next()?,
    };
    Ok(UsageHour { hour, added })
}
