//! Metering sidecars: their public keys and where their chains stand.

use crate::error::StoreError;
use crate::permit::reach;
use crate::repositories::Sidecars;
use crate::sql::{self, Columns, Row, Source, count, json_text, ms, sql};
use crate::tx::Tx;
use terms::{Digest, Permit, SidecarId, TenantId, Timestamp};
use wire::heartbeat::Totals;

/// Most sidecars of one tenant that are listed: each enrolment makes one, so a list this long is a fault.
const LISTED_MAX: i64 = 1_000;

/// A sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarRow {
    /// The id.
    pub id: SidecarId,
    /// Whose.
    pub tenant: TenantId,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// Whether its heartbeats count.
    pub state: SidecarState,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// The highest epoch; 0 before the first heartbeat.
    pub epoch: u64,
    /// The last counter with a place in the chain; 0 before the first.
    pub counter: u64,
    /// That heartbeat's payload digest; zeros before the first.
    pub prev: Digest,
    /// The latest time that a heartbeat swore to.
    pub time: Timestamp,
    /// What counts.
    pub totals: Totals,
    /// What was sworn to, in heartbeats that do not count for their time too.
    pub sworn: Totals,
    /// When a heartbeat was last accepted.
    pub last_received: Option<Timestamp>,
    /// Accepted heartbeats.
    pub accepted: u64,
    /// Metering anomalies seen.
    pub anomalies: u64,
}

/// Whether a sidecar's heartbeats count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidecarState {
    /// They do.
    Active,
    /// They do not.
    Revoked,
}

const COLUMNS: &str = "id, tenant_id, public_key, state, enrolled_at, epoch, counter, prev, time, totals, sworn, \
    last_received, accepted, anomalies";

impl SidecarRow {
    /// A sidecar that has just enrolled.
    #[must_use]
    pub fn enrolled(id: SidecarId, tenant: TenantId, public_key: [u8; 32], now: Timestamp) -> Self {
        Self {
            id,
            tenant,
            public_key,
            state: SidecarState::Active,
            enrolled_at: now,
            epoch: 0,
            counter: 0,
            prev: Digest::from_bytes([0; 32]),
            time: Timestamp::EPOCH,
            totals: Totals::default(),
            sworn: Totals::default(),
            last_received: None,
            accepted: 0,
            anomalies: 0,
        }
    }
}

impl<S: Source> Sidecars<'_, S> {
    /// Loads a sidecar.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none that the permit reaches.
    pub async fn load(&mut self, permit: &Permit, id: SidecarId) -> Result<SidecarRow, StoreError> {
        let row = sql::one(self.0, select("WHERE id = $1").bind(id.to_string())).await?;
        let found = read(&row.ok_or(StoreError::NotFound("sidecar"))?)?;
        if permit.covers(found.tenant) { Ok(found) } else { Err(StoreError::NotFound("sidecar")) }
    }

    /// Lists a tenant's sidecars, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self, permit: &Permit, tenant: TenantId) -> Result<Vec<SidecarRow>, StoreError> {
        reach(permit, tenant)?;
        let statement = select("WHERE tenant_id = $1 ORDER BY id LIMIT $2");
        let rows = sql::all(self.0, statement.bind(tenant.to_string()).bind(LISTED_MAX)).await?;
        rows.iter().map(read).collect()
    }

    /// What a tenant's other sidecars swore to: together with `but`'s totals, all that it used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals_of_others(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        but: SidecarId,
    ) -> Result<Totals, StoreError> {
        let all = self.list(permit, tenant).await?;
        let others = all.into_iter().filter(|row| row.id != but);
        Ok(others.fold(Totals::default(), |sum, row| sum.zip(row.totals, u64::saturating_add)))
    }
}

impl Sidecars<'_, Tx> {
    /// Enrols a sidecar.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&mut self, permit: &Permit, row: &SidecarRow) -> Result<(), StoreError> {
        reach(permit, row.tenant)?;
        let statement =
            sql("INSERT INTO sidecars (id, tenant_id, public_key, state, enrolled_at, epoch, counter, \
             prev, time, totals, sworn, last_received, accepted, anomalies) \
             VALUES ($1, $2, $3, 'active', $4, 0, 0, $5, 0, $6, $6, NULL, 0, 0)")
            .bind(row.id.to_string())
            .bind(row.tenant.to_string())
            .bind(row.public_key.to_vec())
            .bind(ms(row.enrolled_at))
            .bind(row.prev.as_bytes().to_vec())
            .bind(json_text(&row.totals, "totals")?);
        sql::run(self.0, statement).await.map(drop)
    }

    /// Saves where a sidecar's chain stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn save_state(&mut self, permit: &Permit, row: &SidecarRow) -> Result<(), StoreError> {
        reach(permit, row.tenant)?;
        let statement =
            sql("UPDATE sidecars SET epoch = $1, counter = $2, prev = $3, time = $4, totals = $5, \
             sworn = $6, last_received = $7, accepted = $8, anomalies = $9 WHERE id = $10 AND tenant_id = $11")
            .bind(count(row.epoch, "epoch")?)
            .bind(count(row.counter, "counter")?)
            .bind(row.prev.as_bytes().to_vec())
            .bind(ms(row.time))
            .bind(json_text(&row.totals, "totals")?)
            .bind(json_text(&row.sworn, "totals")?)
            .bind(row.last_received.map(ms))
            .bind(count(row.accepted, "accepted")?)
            .bind(count(row.anomalies, "anomalies")?)
            .bind(row.id.to_string())
            .bind(row.tenant.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("sidecar")),
            _ => Ok(()),
        }
    }
}

/// A query for whole rows; `tail` is one of this file's texts.
fn select(tail: &'static str) -> sql::Statement {
    sql(format!("SELECT {COLUMNS} FROM sidecars {tail}"))
}

fn read(row: &Row) -> Result<SidecarRow, StoreError> {
    let mut columns = Columns::of(row);
    let (id, tenant) = (columns.parsed("sidecars.id")?, columns.parsed("sidecars.tenant_id")?);
    let public_key = columns.bytes()?.try_into().map_err(|_| StoreError::Corrupt("sidecars.public_key"))?;
    let state = match columns.text()?.as_str() {
        "active" => SidecarState::Active,
        "revoked" => SidecarState::Revoked,
        _ => return Err(StoreError::Corrupt("sidecars.state")),
    };
    Ok(SidecarRow {
        id,
        tenant,
        public_key,
        state,
        enrolled_at: columns.time()?,
        epoch: columns.count("sidecars.epoch")?,
        counter: columns.count("sidecars.counter")?,
        prev: columns.digest("sidecars.prev")?,
        time: columns.time()?,
        totals: columns.json("sidecars.totals")?,
        sworn: columns.json("sidecars.sworn")?,
        last_received: columns.time_or_none()?,
        accepted: columns.count("sidecars.accepted")?,
        anomalies: columns.count("sidecars.anomalies")?,
    })
}
