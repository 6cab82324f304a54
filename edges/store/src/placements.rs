//! Placements: which node runs a tenant, and which network numbers of its host are not free.

use crate::error::StoreError;
use crate::page::Page;
use crate::permit::{reach, reach_platform};
use crate::repositories::Placements;
use crate::sql::{self, Columns, Row, Source, ms, sql};
use crate::tenants::{self, Tenant};
use crate::tx::Tx;
use terms::{NodeId, Permit, TenantId, Timestamp};

/// Most tenants that one look gives: far more than a host holds, and a bound.
const TENANTS_MAX: i64 = 1_000;

/// Where a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacementRow {
    /// Who.
    pub tenant: TenantId,
    /// On which node.
    pub node: NodeId,
    /// The node that it came from, which may run it for a moment yet.
    pub former_node: Option<NodeId>,
    /// Since when.
    pub since: Timestamp,
}

/// A tenant on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The tenant.
    pub tenant: Tenant,
    /// Its network's number there, if the host has networks.
    pub number: Option<u8>,
}

/// A network number of a host that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberRow {
    /// The host's node.
    pub node: NodeId,
    /// The number.
    pub number: u8,
    /// Whose it is or was; forgotten with the tenant.
    pub tenant: Option<TenantId>,
    /// What it is.
    pub state: NumberState,
    /// Since when.
    pub since: Timestamp,
}

/// What a network number is that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberState {
    /// A tenant lives there.
    Held,
    /// The tenant left; its network may still stand.
    Leaving,
    /// The network is proven gone.
    Resting,
}

// === impl NumberState ===

impl NumberState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Leaving => "leaving",
            Self::Resting => "resting",
        }
    }
}

impl core::str::FromStr for NumberState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Held, Self::Leaving, Self::Resting].into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

// === impl Placements ===

impl<S: Source> Placements<'_, S> {
    /// Where a tenant is, if it is anywhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
    ) -> Result<Option<PlacementRow>, StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("SELECT tenant_id, node_id, former_node, since FROM placements WHERE tenant_id = $1");
        let row = sql::one(self.0, statement.bind(tenant.to_string())).await?;
        row.map(|row| read_placement(&row)).transpose()
    }

    /// The tenants on a node, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn on(&mut self, permit: &Permit, node: NodeId) -> Result<Vec<Placed>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT t.id, t.name, t.state, t.created_at, t.updated_at, n.number \
                             FROM placements p JOIN tenants t ON t.id = p.tenant_id \
                             LEFT JOIN network_numbers n ON n.node_id = p.node_id \
                             AND n.tenant_id = p.tenant_id AND n.state = 'held' \
                             WHERE p.node_id = $1 ORDER BY t.id LIMIT $2");
        let rows = sql::all(self.0, statement.bind(node.to_string()).bind(TENANTS_MAX)).await?;
        rows.iter().map(read_placed).collect()
    }

    /// Where each of the tenants is that have been on a node last or before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touching(&mut self, permit: &Permit, node: NodeId) -> Result<Vec<PlacementRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT tenant_id, node_id, former_node, since FROM placements \
                             WHERE node_id = $1 OR former_node = $1 ORDER BY tenant_id");
        let rows = sql::all(self.0, statement.bind(node.to_string())).await?;
        rows.iter().map(read_placement).collect()
    }

    /// Tenants that are on no node, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unplaced(&mut self, permit: &Permit) -> Result<Vec<TenantId>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT id FROM tenants t WHERE NOT EXISTS \
                             (SELECT 1 FROM placements p WHERE p.tenant_id = t.id) ORDER BY id LIMIT $1");
        let rows = sql::all(self.0, statement.bind(TENANTS_MAX)).await?;
        rows.iter().map(|row| Columns::of(row).parsed("tenants.id")).collect()
    }

    /// The numbers of a host that are not free, lowest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn numbers(&mut self, permit: &Permit, node: NodeId) -> Result<Vec<NumberRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT node_id, number, tenant_id, state, since FROM network_numbers \
                             WHERE node_id = $1 ORDER BY number");
        let rows = sql::all(self.0, statement.bind(node.to_string())).await?;
        rows.iter().map(read_number).collect()
    }

    /// Lists the numbers of all hosts that are not free, by host and number.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list_numbers(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<NumberRow>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let Place { node, number } = page.start(Place { node: NodeId::from_bytes([0; 16]), number: 0 })?;
        let statement = sql("SELECT node_id, number, tenant_id, state, since FROM network_numbers \
                             WHERE node_id > $1 OR (node_id = $1 AND number > $2) \
                             ORDER BY node_id, number LIMIT $3")
        .bind(node.to_string())
        .bind(i64::from(number))
        .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read_number).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |row| Place { node: row.node, number: row.number }.to_string()))
    }
}

impl Placements<'_, Tx> {
    /// Puts a tenant on a node, in place of where it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&mut self, permit: &Permit, row: &PlacementRow) -> Result<(), StoreError> {
        reach(permit, row.tenant)?;
        let statement = sql("INSERT INTO placements (tenant_id, node_id, former_node, since) \
                             VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id) DO UPDATE SET \
                             node_id = excluded.node_id, former_node = excluded.former_node, \
                             since = excluded.since")
        .bind(row.tenant.to_string())
        .bind(row.node.to_string())
        .bind(row.former_node.map(|node| node.to_string()))
        .bind(ms(row.since));
        sql::run(self.0, statement).await.map(drop)
    }

    /// Takes a tenant off its node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_off(&mut self, permit: &Permit, tenant: TenantId) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement = sql("DELETE FROM placements WHERE tenant_id = $1").bind(tenant.to_string());
        sql::run(self.0, statement).await.map(drop)
    }

    /// Keeps what a number is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_number(&mut self, permit: &Permit, row: &NumberRow) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("INSERT INTO network_numbers (node_id, number, tenant_id, state, since) \
                             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node_id, number) DO UPDATE SET \
                             tenant_id = excluded.tenant_id, state = excluded.state, since = excluded.since")
        .bind(row.node.to_string())
        .bind(i64::from(row.number))
        .bind(row.tenant.map(|tenant| tenant.to_string()))
        .bind(row.state.as_str())
        .bind(ms(row.since));
        sql::run(self.0, statement).await.map(drop)
    }

    /// Frees a number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn free_number(&mut self, permit: &Permit, node: NodeId, number: u8) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("DELETE FROM network_numbers WHERE node_id = $1 AND number = $2")
            .bind(node.to_string())
            .bind(i64::from(number));
        sql::run(self.0, statement).await.map(drop)
    }
}

/// A place in the list of numbers, as its cursor says it.
struct Place {
    node: NodeId,
    number: u8,
}

impl core::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (node, number) = text.split_once('/').ok_or(())?;
        Ok(Self { node: node.parse().map_err(|_| ())?, number: number.parse().map_err(|_| ())? })
    }
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.node, self.number)
    }
}

fn read_placement(row: &Row) -> Result<PlacementRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(PlacementRow {
        tenant: columns.parsed("placements.tenant_id")?,
        node: columns.parsed("placements.node_id")?,
        former_node: columns.parsed_or_none("placements.former_node")?,
        since: columns.time()?,
    })
}

fn read_placed(row: &Row) -> Result<Placed, StoreError> {
    let mut columns = Columns::of(row);
    let tenant = tenants::read_columns(&mut columns)?;
    Ok(Placed { tenant, number: columns.byte_or_none("network_numbers.number")? })
}

fn read_number(row: &Row) -> Result<NumberRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(NumberRow {
        node: columns.parsed("network_numbers.node_id")?,
        number: columns.byte_or_none("network_numbers.number")?.ok_or(StoreError::Corrupt("a number"))?,
        tenant: columns.parsed_or_none("network_numbers.tenant_id")?,
        state: columns.parsed("network_numbers.state")?,
        since: columns.time()?,
    })
}
