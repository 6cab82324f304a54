//! Workloads: their certificates, and the data planes that nodes report.

use crate::error::StoreError;
use crate::page::Page;
use crate::permit::{reach, reach_either, reach_platform};
use crate::repositories::Workloads;
use crate::sql::{self, Columns, Row, Source, ms, sql};
use crate::tx::Tx;
use terms::{Permit, TenantId, Timestamp};

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The serial number, hex.
    pub serial: String,
    /// Whose.
    pub spiffe: String,
    /// The tenant that it belongs to.
    pub tenant: Option<TenantId>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// A data plane, as a node reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlaneRow {
    /// Whose.
    pub tenant: TenantId,
    /// Where it listens.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Its sidecar's process.
    pub sidecar_pid: u32,
    /// The driver of its network.
    pub driver: String,
    /// When it was last reported.
    pub last_seen: Timestamp,
}

impl<S: Source> Workloads<'_, S> {
    /// The latest certificate of each workload that ends before `horizon` and is still enrolled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expiring(
        &mut self,
        permit: &Permit,
        horizon: Timestamp,
    ) -> Result<Vec<Certificate>, StoreError> {
        reach_platform(permit)?;
        let statement = sql(
            "SELECT serial, spiffe, tenant_id, not_before, not_after, issued_at FROM certificates AS c \
             WHERE not_after <= $1 AND not_after = (SELECT max(not_after) FROM certificates WHERE spiffe = c.spiffe) \
             ORDER BY not_after LIMIT 1000",
        );
        let rows = sql::all(self.0, statement.bind(ms(horizon))).await?;
        rows.iter().map(read_certificate).collect()
    }

    /// A tenant's data plane, if a node has reported it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn data_plane(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
    ) -> Result<Option<DataPlaneRow>, StoreError> {
        reach(permit, tenant)?;
        let statement = sql("SELECT tenant_id, url, pid, sidecar_pid, driver, last_seen FROM data_planes \
                             WHERE tenant_id = $1");
        let row = sql::one(self.0, statement.bind(tenant.to_string())).await?;
        row.map(|row| read_data_plane(&row)).transpose()
    }

    /// Lists data planes by tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_data_planes(
        &mut self,
        permit: &Permit,
        page: &Page,
    ) -> Result<(Vec<DataPlaneRow>, Option<String>), StoreError> {
        reach_platform(permit)?;
        let after = page.start(TenantId::from_bytes([0; 16]))?;
        let statement = sql("SELECT tenant_id, url, pid, sidecar_pid, driver, last_seen FROM data_planes \
                             WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2")
        .bind(after.to_string())
        .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read_data_plane).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |row| row.tenant.to_string()))
    }
}

impl Workloads<'_, Tx> {
    /// Keeps a certificate's record, and forgets those of the same workload that ended a week ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_certificate(&mut self, permit: &Permit, row: &Certificate) -> Result<(), StoreError> {
        const KEPT_MS: i64 = 7 * 24 * 3_600_000;
        reach_either(permit, row.tenant)?;
        let old = sql("DELETE FROM certificates WHERE spiffe = $1 AND not_after < $2");
        let old = old.bind(row.spiffe.clone()).bind(ms(row.issued_at.plus_ms(-KEPT_MS)));
        sql::run(self.0, old).await?;
        let statement =
            sql("INSERT INTO certificates (serial, spiffe, tenant_id, not_before, not_after, issued_at) \
                             VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(row.serial.clone())
            .bind(row.spiffe.clone())
            .bind(row.tenant.map(|tenant| tenant.to_string()))
            .bind(ms(row.not_before))
            .bind(ms(row.not_after))
            .bind(ms(row.issued_at));
        sql::run(self.0, statement).await.map(drop)
    }

    /// Forgets where a tenant's data plane is: it moves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_data_plane(&mut self, permit: &Permit, tenant: TenantId) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement = sql("DELETE FROM data_planes WHERE tenant_id = $1").bind(tenant.to_string());
        sql::run(self.0, statement).await.map(drop)
    }

    /// Keeps what a node reported of a data plane. A tenant that was deleted meanwhile is passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upsert_data_plane(&mut self, permit: &Permit, row: &DataPlaneRow) -> Result<(), StoreError> {
        reach(permit, row.tenant)?;
        let statement = sql("INSERT INTO data_planes (tenant_id, url, pid, sidecar_pid, driver, last_seen) \
             SELECT id, $2, $3, $4, $5, $6 FROM tenants WHERE id = $1 \
             ON CONFLICT (tenant_id) DO UPDATE SET url = excluded.url, pid = excluded.pid, \
             sidecar_pid = excluded.sidecar_pid, driver = excluded.driver, last_seen = excluded.last_seen")
        .bind(row.tenant.to_string())
        .bind(row.url.clone())
        .bind(i64::from(row.pid))
        .bind(i64::from(row.sidecar_pid))
        .bind(row.driver.clone())
        .bind(ms(row.last_seen));
        sql::run(self.0, statement).await.map(drop)
    }
}

fn read_certificate(row: &Row) -> Result<Certificate, StoreError> {
    let mut columns = Columns::of(row);
    Ok(Certificate {
        serial: columns.text()?,
        spiffe: columns.text()?,
        tenant: columns.parsed_or_none("certificates.tenant_id")?,
        not_before: columns.time()?,
        not_after: columns.time()?,
        issued_at: columns.time()?,
    })
}

fn read_data_plane(row: &Row) -> Result<DataPlaneRow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(DataPlaneRow {
        tenant: columns.parsed("data_planes.tenant_id")?,
        url: columns.text()?,
        pid: columns.small("data_planes.pid")?,
        sidecar_pid: columns.small("data_planes.sidecar_pid")?,
        driver: columns.text()?,
        last_seen: columns.time()?,
    })
}
