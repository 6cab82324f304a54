//! Hosts' networks: what nodes report, what they were told to have, what their probes found, what passed.

use crate::error::StoreError;
use crate::nodes::NODES_MAX;
use crate::page::Page;
use crate::permit::{reach, reach_platform};
use crate::placements::Placed;
use crate::repositories::{Networks, Placements};
use crate::sql::{self, Columns, Row, Source, count, ms, sql};
use crate::tx::Tx;
use std::net::Ipv4Addr;
use terms::{Digest, KeyId, NodeId, Permit, TenantId, Timestamp};

/// What a node reported of its host's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetworksRow {
    /// The node.
    pub node: NodeId,
    /// What keeps tenants apart there.
    pub driver: String,
    /// Where the control plane is, as seen from there.
    pub place: String,
    /// Where a control plane elsewhere reaches forwarded ports.
    pub address: Option<Ipv4Addr>,
    /// The host's own routes, JSON.
    pub routes: String,
    /// The version that the host has.
    pub applied: u64,
    /// When its counts were read, by the host's clock.
    pub counted_at: Option<Timestamp>,
    /// When it was reported.
    pub reported_at: Timestamp,
    /// Where it differs from what it should be, JSON.
    pub drift: String,
    /// Walls that its kernel lacks, JSON.
    pub missing: String,
}

/// The networks that a node was told to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredNetworksRow {
    /// The node.
    pub node: NodeId,
    /// The version; it only rises.
    pub version: u64,
    /// The digest of what they say, version and time aside.
    pub content_digest: Digest,
    /// The key that signed.
    pub kid: KeyId,
    /// The signed envelope, as it is served.
    pub envelope: Vec<u8>,
    /// When it was signed.
    pub issued_at: Timestamp,
}

/// A question to a node to probe its networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRow {
    /// The node.
    pub node: NodeId,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What it found, JSON; none before it answered.
    pub report: Option<String>,
}

/// How far a tenant's metering was compared with what kernels counted, and what else explains their counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelCheckRow {
    /// Bytes of plans that the control plane sent.
    pub pushed_bytes: u64,
    /// Bytes of outputs that the control plane fetched.
    pub streamed_bytes: u64,
    /// How far it got, JSON.
    pub state: Option<String>,
}

/// A tenant's port on a host that forwards to its data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forwarded {
    /// The host's address.
    pub address: Ipv4Addr,
    /// The tenant's number there.
    pub number: u8,
}

/// All that goes into what a host should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedNetworks {
    /// What its node reported last.
    pub host: HostNetworksRow,
    /// The tenants on it.
    pub tenants: Vec<Placed>,
    /// The forwarded ports of other hosts.
    pub forwarded: Vec<Forwarded>,
    /// What was signed last.
    pub signed: Option<DesiredNetworksRow>,
}

const HOST: &str = "SELECT node_id, driver, place, address, routes, applied, counted_at, reported_at, drift, \
    missing FROM host_networks";

const DESIRED: &str =
    "SELECT node_id, version, content_digest, kid, envelope, issued_at FROM desired_networks";

impl<S: Source> Networks<'_, S> {
    /// What a node reported last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn host(
        &mut self,
        permit: &Permit,
        node: NodeId,
    ) -> Result<Option<HostNetworksRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql(format!("{HOST} WHERE node_id = $1")).bind(node.to_string());
        let row = sql::one(self.0, statement).await?;
        row.map(|row| read_host(&row)).transpose()
    }

    /// Lists what nodes reported last, by node.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list_hosts(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<HostNetworksRow>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let after = page.start(NodeId::from_bytes([0; 16]))?;
        let statement = sql(format!("{HOST} WHERE node_id > $1 ORDER BY node_id LIMIT $2"))
            .bind(after.to_string())
            .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read_host).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |row| row.node.to_string()))
    }

    /// The forwarded ports of all hosts that do not run the control plane, `but` aside, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forwarded(
        &mut self,
        permit: &Permit,
        but: NodeId,
        limit: u32,
    ) -> Result<Vec<Forwarded>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT h.address, n.number FROM host_networks h \
                             JOIN network_numbers n ON n.node_id = h.node_id AND n.state = 'held' \
                             WHERE h.node_id <> $1 AND h.driver = 'linux' AND h.place = 'elsewhere' \
                             AND h.address IS NOT NULL ORDER BY h.node_id, n.number LIMIT $2")
        .bind(but.to_string())
        .bind(i64::from(limit));
        let rows = sql::all(self.0, statement).await?;
        rows.iter().map(read_forwarded).collect()
    }

    /// All that goes into what a node's host should have, with at most `limit` forwarded ports of other hosts; none
    /// before its first report.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wanted(
        &mut self,
        permit: &Permit,
        node: NodeId,
        limit: u32,
    ) -> Result<Option<WantedNetworks>, StoreError> {
        let Some(host) = self.host(permit, node).await? else { return Ok(None) };
        let tenants = Placements(&mut *self.0).on(permit, node).await?;
        let forwarded = self.forwarded(permit, node, limit).await?;
        let signed = self.desired(permit, node).await?;
        Ok(Some(WantedNetworks { host, tenants, forwarded, signed }))
    }

    /// What a node was told to have, if it was told anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn desired(
        &mut self,
        permit: &Permit,
        node: NodeId,
    ) -> Result<Option<DesiredNetworksRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql(format!("{DESIRED} WHERE node_id = $1")).bind(node.to_string());
        let row = sql::one(self.0, statement).await?;
        row.map(|row| read_desired(&row)).transpose()
    }

    /// What a node was asked to probe, if it was asked anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn probe(&mut self, permit: &Permit, node: NodeId) -> Result<Option<ProbeRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT node_id, asked_at, report FROM network_probes WHERE node_id = $1");
        let row = sql::one(self.0, statement.bind(node.to_string())).await?;
        row.map(|row| read_probe(&row)).transpose()
    }

    /// Every question to probe and its answer, by node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn probes(&mut self, permit: &Permit) -> Result<Vec<ProbeRow>, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT node_id, asked_at, report FROM network_probes ORDER BY node_id LIMIT $1");
        let rows = sql::all(self.0, statement.bind(i64::from(NODES_MAX))).await?;
        rows.iter().map(read_probe).collect()
    }

    /// What kernels counted for a tenant, JSON, by node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tallies(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
    ) -> Result<Vec<(NodeId, String)>, StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("SELECT node_id, tally FROM network_traffic WHERE tenant_id = $1 ORDER BY node_id LIMIT $2");
        let statement = statement.bind(tenant.to_string()).bind(i64::from(NODES_MAX));
        let mut tallies = Vec::new();
        for row in sql::all(self.0, statement).await? {
            let mut columns = Columns::of(&row);
            tallies.push((columns.parsed("network_traffic.node_id")?, columns.text()?));
        }
        Ok(tallies)
    }

    /// How far a tenant's metering was compared with what kernels counted, if it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn kernel_check(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
    ) -> Result<KernelCheckRow, StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("SELECT pushed_bytes, streamed_bytes, state FROM kernel_checks WHERE tenant_id = $1");
        let Some(row) = sql::one(self.0, statement.bind(tenant.to_string())).await? else {
            return Ok(KernelCheckRow::default());
        };
        let mut columns = Columns::of(&row);
        Ok(KernelCheckRow {
            pushed_bytes: columns.count("kernel_checks.pushed_bytes")?,
            streamed_bytes: columns.count("kernel_checks.streamed_bytes")?,
            state: columns.text_or_none()?,
        })
    }
}

impl Networks<'_, Tx> {
    /// Keeps what a node reported, in place of what it reported before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_host(&mut self, permit: &Permit, row: &HostNetworksRow) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("INSERT INTO host_networks (node_id, driver, place, address, routes, applied, \
                             counted_at, reported_at, drift, missing) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                             ON CONFLICT (node_id) DO UPDATE SET driver = excluded.driver, \
                             place = excluded.place, address = excluded.address, routes = excluded.routes, \
                             applied = excluded.applied, counted_at = excluded.counted_at, \
                             reported_at = excluded.reported_at, drift = excluded.drift, \
                             missing = excluded.missing")
        .bind(row.node.to_string())
        .bind(row.driver.clone())
        .bind(row.place.clone())
        .bind(row.address.map(|address| address.to_string()))
        .bind(row.routes.clone())
        .bind(count(row.applied, "applied")?)
        .bind(row.counted_at.map(ms))
        .bind(ms(row.reported_at))
        .bind(row.drift.clone())
        .bind(row.missing.clone());
        sql::run(self.0, statement).await.map(drop)
    }

    /// Keeps what a node is told to have. What it was told before is kept if it is not older.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for a version that does not rise.
    pub async fn put_desired(&mut self, permit: &Permit, row: &DesiredNetworksRow) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("INSERT INTO desired_networks (node_id, version, content_digest, kid, envelope, \
                             issued_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node_id) DO UPDATE SET \
                             version = excluded.version, content_digest = excluded.content_digest, \
                             kid = excluded.kid, envelope = excluded.envelope, issued_at = excluded.issued_at \
                             WHERE desired_networks.version < excluded.version")
        .bind(row.node.to_string())
        .bind(count(row.version, "version")?)
        .bind(row.content_digest.as_bytes().to_vec())
        .bind(row.kid.as_str().to_owned())
        .bind(row.envelope.clone())
        .bind(ms(row.issued_at));
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::Conflict("version")),
            _ => Ok(()),
        }
    }

    /// Asks a node to probe its networks; what it found before is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_probe(
        &mut self,
        permit: &Permit,
        node: NodeId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement = sql("INSERT INTO network_probes (node_id, asked_at, report) VALUES ($1, $2, NULL) \
                             ON CONFLICT (node_id) DO UPDATE SET asked_at = excluded.asked_at, report = NULL")
        .bind(node.to_string())
        .bind(ms(now));
        sql::run(self.0, statement).await.map(drop)
    }

    /// Forgets every question to probe and its answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_probes(&mut self, permit: &Permit) -> Result<(), StoreError> {
        reach_platform(permit)?;
        sql::run(self.0, sql("DELETE FROM network_probes")).await.map(drop)
    }

    /// Keeps a node's answer. Says whether it was to the question that is open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn answer_probe(
        &mut self,
        permit: &Permit,
        node: NodeId,
        asked_at: Timestamp,
        report: String,
    ) -> Result<bool, StoreError> {
        reach_platform(permit)?;
        let statement = sql("UPDATE network_probes SET report = $1 \
                             WHERE node_id = $2 AND asked_at = $3 AND report IS NULL")
        .bind(report)
        .bind(node.to_string())
        .bind(ms(asked_at));
        Ok(sql::run(self.0, statement).await? > 0)
    }

    /// Keeps what a node's kernel counted for a tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_tally(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        node: NodeId,
        tally: String,
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement = sql("INSERT INTO network_traffic (tenant_id, node_id, tally) VALUES ($1, $2, $3) \
                             ON CONFLICT (tenant_id, node_id) DO UPDATE SET tally = excluded.tally")
        .bind(tenant.to_string())
        .bind(node.to_string())
        .bind(tally);
        sql::run(self.0, statement).await.map(drop)
    }

    /// Keeps how far a tenant's metering was compared with what kernels counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_kernel_check(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        state: String,
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement = sql("INSERT INTO kernel_checks (tenant_id, pushed_bytes, streamed_bytes, state) \
                             VALUES ($1, 0, 0, $2) \
                             ON CONFLICT (tenant_id) DO UPDATE SET state = excluded.state")
        .bind(tenant.to_string())
        .bind(state);
        sql::run(self.0, statement).await.map(drop)
    }

    /// Adds to what the control plane itself moved to and from a tenant. One that was deleted is passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_moved(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        pushed_bytes: u64,
        streamed_bytes: u64,
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement = sql("INSERT INTO kernel_checks (tenant_id, pushed_bytes, streamed_bytes, state) \
                             SELECT id, $2, $3, NULL FROM tenants WHERE id = $1 \
                             ON CONFLICT (tenant_id) DO UPDATE SET \
                             pushed_bytes = kernel_checks.pushed_bytes + excluded.pushed_bytes, \
                             streamed_bytes = kernel_checks.streamed_bytes + excluded.streamed_bytes")
        .bind(tenant.to_string())
        .bind(count(pushed_bytes, "pushed_bytes")?)
        .bind(count(streamed_bytes, "streamed_bytes")?);
        sql::run(self.0, statement).await.map(drop)
    }
}

fn read_host(row: &Row) -> Result<HostNetworksRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(HostNetworksRow {
        node: columns.parsed("host_networks.node_id")?,
        driver: columns.text()?,
        place: columns.text()?,
        address: columns.parsed_or_none("host_networks.address")?,
        routes: columns.text()?,
        applied: columns.count("host_networks.applied")?,
        counted_at: columns.time_or_none()?,
        reported_at: columns.time()?,
        drift: columns.text()?,
        missing: columns.text()?,
    })
}

fn read_desired(row: &Row) -> Result<DesiredNetworksRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(DesiredNetworksRow {
        node: columns.parsed("desired_networks.node_id")?,
        version: columns.count("desired_networks.version")?,
        content_digest: columns.digest("desired_networks.content_digest")?,
        kid: columns.parsed("desired_networks.kid")?,
        envelope: columns.bytes()?,
        issued_at: columns.time()?,
    })
}

fn read_probe(row: &Row) -> Result<ProbeRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(ProbeRow {
        node: columns.parsed("network_probes.node_id")?,
        asked_at: columns.time()?,
        report: columns.text_or_none()?,
    })
}

fn read_forwarded(row: &Row) -> Result<Forwarded, StoreError> {
    let mut columns = Columns::of(row);
    let address = columns.parsed("host_networks.address")?;
    let number = columns.byte_or_none("network_numbers.number")?.ok_or(StoreError::Corrupt("a number"))?;
    Ok(Forwarded { address, number })
}
