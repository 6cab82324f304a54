//! Alarms.

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::page::Page;
use crate::permit::reach_platform;
use crate::repositories::Alarms;
use crate::sql::{self, Columns, Source, ms, sql};
use crate::tx::Tx;
use terms::{AlarmId, Permit, TenantId, Timestamp};

/// Most open alarms that one look gives.
const OPEN_MAX: i64 = 1_000;

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The id.
    pub id: AlarmId,
    /// What kind, a stable text.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// When.
    pub time: Timestamp,
    /// For which tenant.
    pub tenant: Option<TenantId>,
    /// On which resource.
    pub resource: String,
    /// What was seen, JSON.
    pub evidence: Vec<u8>,
    /// Whether somebody still has to look.
    pub state: AlarmState,
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Answer within 15 minutes.
    Critical,
    /// Within 1 hour.
    High,
    /// Within 4 hours.
    Medium,
    /// Within 24 hours.
    Low,
}

/// Whether somebody still has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    /// Somebody has to.
    Open,
    /// It is over.
    Closed,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl core::str::FromStr for Severity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Critical, Self::High, Self::Medium, Self::Low];
        all.into_iter().find(|severity| severity.as_str() == text).ok_or(())
    }
}

impl AlarmState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl core::str::FromStr for AlarmState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Open, Self::Closed].into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

impl<S: Source> Alarms<'_, S> {
    /// Lists alarms, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<Alarm>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let before = page.start(AlarmId::from_bytes([0xff; 16]))?;
        let statement =
            sql("SELECT id, kind, severity, time, tenant_id, resource, evidence, state FROM alarms \
                             WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before.to_string())
            .bind(i64::from(page.fetch()));
        let (rows, next) =
            page.cut(sql::all(self.0, statement).await?, |row| Columns::of(row).text().unwrap_or_default());
        let mut alarms = Vec::with_capacity(rows.len());
        for row in rows {
            let mut columns = Columns::of(&row);
            let id: AlarmId = columns.parsed("alarms.id")?;
            let (kind, severity, time) =
                (columns.text()?, columns.parsed("alarms.severity")?, columns.time()?);
            let tenant: Option<TenantId> = columns.parsed_or_none("alarms.tenant_id")?;
            let (resource, sealed) = (columns.text()?, columns.bytes()?);
            let state = columns.parsed("alarms.state")?;
            // The tenant may have been deleted since its row was read.
            let Some(keys) = keys::find(self.0, keys::owner(tenant)).await? else { continue };
            let evidence = keys.open(place(&id), &sealed)?.to_vec();
            alarms.push(Alarm { id, kind, severity, time, tenant, resource, evidence, state });
        }
        Ok((alarms, next))
    }
}

impl<S: Source> Alarms<'_, S> {
    /// The resources below `place`, such as `node/1`, on which an alarm of a kind is open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_below(
        &mut self,
        permit: &Permit,
        kind: &str,
        place: &str,
    ) -> Result<Vec<String>, StoreError> {
        reach_platform(permit)?;
        // `0` is the byte after `/`.
        let statement = sql("SELECT resource FROM alarms WHERE kind = $1 AND state = 'open' \
                             AND resource > $2 AND resource < $3 ORDER BY resource LIMIT $4")
        .bind(kind.to_owned())
        .bind(format!("{place}/"))
        .bind(format!("{place}0"))
        .bind(OPEN_MAX);
        sql::all(self.0, statement).await?.iter().map(|row| Columns::of(row).text()).collect()
    }
}

impl Alarms<'_, Tx> {
    /// Closes the alarm of a kind that is open on a resource. Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close(&mut self, permit: &Permit, kind: &str, resource: &str) -> Result<bool, StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("UPDATE alarms SET state = 'closed' WHERE kind = $1 AND resource = $2 AND state = 'open'")
                .bind(kind.to_owned())
                .bind(resource.to_owned());
        Ok(sql::run(self.0, statement).await? > 0)
    }

    /// Raises an alarm, unless one of its kind is open on its resource. Says whether it was raised.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&mut self, alarm: &Alarm) -> Result<bool, StoreError> {
        let sealed =
            keys::of(self.0, keys::owner(alarm.tenant)).await?.seal(place(&alarm.id), &alarm.evidence)?;
        let statement =
            sql("INSERT INTO alarms (id, kind, severity, time, tenant_id, resource, evidence, state) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING")
            .bind(alarm.id.to_string())
            .bind(alarm.kind.clone())
            .bind(alarm.severity.as_str())
            .bind(ms(alarm.time))
            .bind(alarm.tenant.map(|tenant| tenant.to_string()))
            .bind(alarm.resource.clone())
            .bind(sealed)
            .bind(alarm.state.as_str());
        Ok(sql::run(self.0, statement).await? > 0)
    }
}

const fn place(id: &AlarmId) -> Place<'_> {
    Place { table: "alarms", column: "evidence", row: id.as_bytes() }
}
