//! Tenants.

use crate::error::StoreError;
use crate::keys;
use crate::page::Page;
use crate::permit::{reach, reach_platform};
use crate::repositories::Tenants;
use crate::sql::{self, Columns, Row, Source, ms, sql};
use crate::tx::Tx;
use terms::{Name, Permit, TenantId, TenantRef, Timestamp};
use vault::Owner;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The id.
    pub id: TenantId,
    /// The name, unique.
    pub name: Name,
    /// Whether it may run.
    pub state: TenantState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// Whether a tenant may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantState {
    /// It may.
    Active,
    /// It may not start anything new.
    Suspended,
    /// It is being deleted.
    Deleting,
}

/// What a tenant owns, children first; audit entries stay, unreadable.
const OWNED: [&str; 18] = [
    "DELETE FROM outbox WHERE event_id IN (SELECT id FROM security_events WHERE tenant_id = $1)",
    "DELETE FROM security_events WHERE tenant_id = $1",
    "DELETE FROM alarms WHERE tenant_id = $1",
    "DELETE FROM usage_hours WHERE tenant_id = $1",
    "DELETE FROM heartbeats WHERE tenant_id = $1",
    "DELETE FROM sidecars WHERE tenant_id = $1",
    "DELETE FROM kernel_checks WHERE tenant_id = $1",
    "DELETE FROM network_traffic WHERE tenant_id = $1",
    "UPDATE network_numbers SET tenant_id = NULL WHERE tenant_id = $1",
    "DELETE FROM placements WHERE tenant_id = $1",
    "DELETE FROM data_planes WHERE tenant_id = $1",
    "DELETE FROM certificates WHERE tenant_id = $1",
    "DELETE FROM enrolments WHERE tenant_id = $1",
    "DELETE FROM execution_sums WHERE tenant_id = $1",
    "DELETE FROM execution_inputs WHERE execution_id IN (SELECT id FROM executions WHERE tenant_id = $1)",
    "DELETE FROM executions WHERE tenant_id = $1",
    "DELETE FROM workflow_versions WHERE workflow_id IN (SELECT id FROM workflows WHERE tenant_id = $1)",
    "DELETE FROM workflows WHERE tenant_id = $1",
];

impl TenantState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }
}

impl core::str::FromStr for TenantState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Active, Self::Suspended, Self::Deleting].into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

impl<S: Source> Tenants<'_, S> {
    /// Loads a tenant.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn load(&mut self, permit: &Permit, id: TenantId) -> Result<Tenant, StoreError> {
        reach(permit, id)?;
        let statement = sql("SELECT id, name, state, created_at, updated_at FROM tenants WHERE id = $1");
        let row = sql::one(self.0, statement.bind(id.to_string())).await?;
        read(&row.ok_or(StoreError::NotFound("tenant"))?)
    }

    /// Finds a tenant by id or name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&mut self, permit: &Permit, which: &TenantRef) -> Result<Option<Tenant>, StoreError> {
        let statement = match which {
            TenantRef::Id(id) => {
                sql("SELECT id, name, state, created_at, updated_at FROM tenants WHERE id = $1")
                    .bind(id.to_string())
            }
            TenantRef::Name(name) => {
                sql("SELECT id, name, state, created_at, updated_at FROM tenants WHERE name = $1")
                    .bind(name.as_str().to_owned())
            }
        };
        let Some(row) = sql::one(self.0, statement).await? else { return Ok(None) };
        let tenant = read(&row)?;
        reach(permit, tenant.id)?;
        Ok(Some(tenant))
    }

    /// Lists tenants, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<Tenant>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let after = page.start(TenantId::from_bytes([0; 16]))?;
        let statement = sql("SELECT id, name, state, created_at, updated_at FROM tenants \
                             WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.to_string())
        .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |tenant| tenant.id.to_string()))
    }
}

impl Tenants<'_, Tx> {
    /// Inserts a tenant and makes its keys.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert(&mut self, permit: &Permit, tenant: &Tenant) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("INSERT INTO tenants (id, name, state, created_at, updated_at) VALUES ($1, $2, $3, $4, $5)")
                .bind(tenant.id.to_string())
                .bind(tenant.name.as_str().to_owned())
                .bind(tenant.state.as_str())
                .bind(ms(tenant.created_at))
                .bind(ms(tenant.updated_at));
        sql::run(self.0, statement).await?;
        keys::create(self.0, Owner::Tenant(tenant.id)).await?;
        let sums = sql(
            "INSERT INTO execution_sums (tenant_id, accepted, outcomes, steps, http_calls, wall_time_ms, output_bytes) \
                        VALUES ($1, 0, 0, 0, 0, 0, 0)",
        );
        sql::run(self.0, sums.bind(tenant.id.to_string())).await.map(drop)
    }

    /// Saves a tenant's state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn save_state(
        &mut self,
        permit: &Permit,
        id: TenantId,
        state: TenantState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        reach(permit, id)?;
        let statement = sql("UPDATE tenants SET state = $1, updated_at = $2 WHERE id = $3")
            .bind(state.as_str())
            .bind(ms(now))
            .bind(id.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("tenant")),
            _ => Ok(()),
        }
    }

    /// Deletes a tenant with everything that it owns, and destroys its keys.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn delete(&mut self, permit: &Permit, id: TenantId) -> Result<(), StoreError> {
        reach(permit, id)?;
        for statement in OWNED {
            sql::run(self.0, sql(statement).bind(id.to_string())).await?;
        }
        keys::destroy(self.0, Owner::Tenant(id)).await?;
        match sql::run(self.0, sql("DELETE FROM tenants WHERE id = $1").bind(id.to_string())).await? {
            0 => Err(StoreError::NotFound("tenant")),
            _ => Ok(()),
        }
    }
}

fn read(row: &Row) -> Result<Tenant, StoreError> {
    read_columns(&mut Columns::of(row))
}

pub(crate) fn read_columns(columns: &mut Columns<'_>) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: columns.parsed("tenants.id")?,
        name: columns.parsed("tenants.name")?,
        state: columns.parsed("tenants.state")?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}
