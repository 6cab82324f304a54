//! Nodes: the agents of hosts, and how many tenants each has.

use crate::error::StoreError;
use crate::page::Page;
use crate::permit::reach_platform;
use crate::repositories::Nodes;
use crate::sql::{self, Columns, Row, Source, ms, sql};
use crate::tx::Tx;
use terms::{NodeId, Permit, Timestamp};

/// Most nodes of one platform: what is decided for a tenant looks at each of them.
pub const NODES_MAX: u32 = 1_000;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The id.
    pub id: NodeId,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Whether tenants come to it.
    pub state: NodeState,
}

/// Whether tenants come to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// New ones do.
    Active,
    /// None does.
    Draining,
}

/// A node and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inhabited {
    /// The node.
    pub node: NodeRow,
    /// How many tenants are placed on it.
    pub tenants: u32,
    /// What keeps them apart there, as it reported last.
    pub driver: Option<String>,
}

const INHABITED: &str = "SELECT n.id, n.enrolled_at, n.last_seen, n.state, \
    (SELECT count(*) FROM placements p WHERE p.node_id = n.id), h.driver \
    FROM nodes n LEFT JOIN host_networks h ON h.node_id = n.id";

/// What is known of a node beside itself; what its tenants have goes with them.
const OWNED: [&str; 4] = [
    "DELETE FROM network_numbers WHERE node_id = $1",
    "DELETE FROM host_networks WHERE node_id = $1",
    "DELETE FROM desired_networks WHERE node_id = $1",
    "DELETE FROM network_probes WHERE node_id = $1",
];

// === impl NodeState ===

impl NodeState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
        }
    }
}

impl core::str::FromStr for NodeState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Active, Self::Draining].into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

// === impl Nodes ===

impl<S: Source> Nodes<'_, S> {
    /// A node, if it is enrolled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&mut self, id: NodeId) -> Result<Option<NodeRow>, StoreError> {
        let statement =
            sql("SELECT id, enrolled_at, last_seen, state FROM nodes WHERE id = $1").bind(id.to_string());
        let row = sql::one(self.0, statement).await?;
        row.map(|row| read(&mut Columns::of(&row))).transpose()
    }

    /// Every node with what it has, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all(&mut self, permit: &Permit) -> Result<Vec<Inhabited>, StoreError> {
        reach_platform(permit)?;
        let statement = sql(format!("{INHABITED} ORDER BY n.id LIMIT $1")).bind(i64::from(NODES_MAX));
        sql::all(self.0, statement).await?.iter().map(read_inhabited).collect()
    }

    /// Lists nodes with what they have, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<Inhabited>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let after = page.start(NodeId::from_bytes([0; 16]))?;
        let statement = sql(format!("{INHABITED} WHERE n.id > $1 ORDER BY n.id LIMIT $2"))
            .bind(after.to_string())
            .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read_inhabited).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |row| row.node.id.to_string()))
    }
}

impl Nodes<'_, Tx> {
    /// Enrols a node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&mut self, permit: &Permit, row: &NodeRow) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("INSERT INTO nodes (id, enrolled_at, last_seen, state) VALUES ($1, $2, $3, $4)")
            .bind(row.id.to_string())
            .bind(ms(row.enrolled_at))
            .bind(ms(row.last_seen))
            .bind(row.state.as_str());
        sql::run(self.0, statement).await.map(drop)
    }

    /// A node was heard of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn seen(&mut self, permit: &Permit, id: NodeId, now: Timestamp) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("UPDATE nodes SET last_seen = $1 WHERE id = $2").bind(ms(now)).bind(id.to_string());
        sql::run(self.0, statement).await.map(drop)
    }

    /// Says whether tenants come to a node from now on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such node.
    pub async fn set_state(
        &mut self,
        permit: &Permit,
        id: NodeId,
        state: NodeState,
    ) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("UPDATE nodes SET state = $1 WHERE id = $2").bind(state.as_str()).bind(id.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("node")),
            _ => Ok(()),
        }
    }

    /// Removes a node, which must have no tenants.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such node, [`StoreError::Conflict`] if it has tenants.
    pub async fn remove(&mut self, permit: &Permit, id: NodeId) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let inhabited = sql("SELECT 1 FROM placements WHERE node_id = $1 LIMIT 1").bind(id.to_string());
        if sql::one(self.0, inhabited).await?.is_some() {
            return Err(StoreError::Conflict("placement"));
        }
        for statement in OWNED {
            sql::run(self.0, sql(statement).bind(id.to_string())).await?;
        }
        match sql::run(self.0, sql("DELETE FROM nodes WHERE id = $1").bind(id.to_string())).await? {
            0 => Err(StoreError::NotFound("node")),
            _ => Ok(()),
        }
    }
}

fn read(columns: &mut Columns<'_>) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        id: columns.parsed("nodes.id")?,
        enrolled_at: columns.time()?,
        last_seen: columns.time()?,
        state: columns.parsed("nodes.state")?,
    })
}

fn read_inhabited(row: &Row) -> Result<Inhabited, StoreError> {
    let mut columns = Columns::of(row);
    Ok(Inhabited {
        node: read(&mut columns)?,
        tenants: columns.small("placements")?,
        driver: columns.text_or_none()?,
    })
}
