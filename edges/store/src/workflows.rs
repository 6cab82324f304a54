//! Workflows and their versions.

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::page::Page;
use crate::permit::reach;
use crate::repositories::Workflows;
use crate::sql::{self, Columns, Row, Source, json_text, ms, sql};
use crate::tx::Tx;
use terms::{Digest, Name, Permit, TenantId, Timestamp, WorkflowId};
use vault::Owner;

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// The id.
    pub id: WorkflowId,
    /// Whose.
    pub tenant: TenantId,
    /// The name, unique for its tenant.
    pub name: Name,
    /// Whether it may be run.
    pub state: WorkflowState,
    /// The latest version.
    pub latest: u32,
    /// When it was first applied.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Whether a workflow may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowState {
    /// It may.
    Enabled,
    /// It may not.
    Disabled,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentFormat {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
}

/// A document that is to become a version.
#[derive(Debug, Clone)]
pub struct NewDocument {
    /// The text, as applied.
    pub document: Vec<u8>,
    /// Its SHA-256.
    pub digest: Digest,
    /// How it is written.
    pub format: DocumentFormat,
    /// The hosts that it calls.
    pub hosts: Vec<String>,
    /// When it is applied.
    pub applied_at: Timestamp,
}

/// A version's document.
#[derive(Debug, Clone)]
pub struct WorkflowDocument {
    /// Which version.
    pub version: u32,
    /// The text, as applied.
    pub document: zeroize::Zeroizing<Vec<u8>>,
    /// Its SHA-256.
    pub digest: Digest,
    /// The hosts that it calls.
    pub hosts: Vec<String>,
    /// When it was applied.
    pub applied_at: Timestamp,
}

/// What applying did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The workflow after it.
    pub workflow: Workflow,
    /// Whether anything changed.
    pub changed: bool,
}

const TABLE: &str = "workflow_versions";

impl<S: Source> Workflows<'_, S> {
    /// Finds a tenant's workflow by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        name: &Name,
    ) -> Result<Option<Workflow>, StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("SELECT id, tenant_id, name, state, latest, created_at, updated_at FROM workflows \
                             WHERE tenant_id = $1 AND name = $2")
            .bind(tenant.to_string())
            .bind(name.as_str().to_owned());
        sql::one(self.0, statement).await?.map(|row| read(&row)).transpose()
    }

    /// Lists a tenant's workflows by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        page: &Page,
    ) -> Result<(Vec<Workflow>, Option<String>), StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("SELECT id, tenant_id, name, state, latest, created_at, updated_at FROM workflows \
                             WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3")
            .bind(tenant.to_string())
            .bind(page.start(String::new())?)
            .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |workflow| workflow.name.to_string()))
    }

    /// Reads one version's document.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such version.
    pub async fn document(
        &mut self,
        permit: &Permit,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<WorkflowDocument, StoreError> {
        let statement = sql("SELECT tenant_id, document, digest, hosts, applied_at FROM workflow_versions \
                             WHERE workflow_id = $1 AND version = $2")
        .bind(workflow.to_string())
        .bind(i64::from(version));
        let row = sql::one(self.0, statement).await?.ok_or(StoreError::NotFound("workflow version"))?;
        let mut columns = Columns::of(&row);
        let tenant: TenantId = columns.parsed("workflow_versions.tenant_id")?;
        reach(permit, tenant)?;
        let keys = keys::of(self.0, Owner::Tenant(tenant)).await?;
        let row_id = version_row(workflow, version);
        let document = keys.open(place("document", &row_id), &columns.bytes()?)?;
        let digest = columns.digest("workflow_versions.digest")?;
        let hosts = keys.open(place("hosts", &row_id), &columns.bytes()?)?;
        let hosts =
            serde_json::from_slice(&hosts).map_err(|_| StoreError::Corrupt("workflow_versions.hosts"))?;
        Ok(WorkflowDocument { version, document, digest, hosts, applied_at: columns.time()? })
    }
}

impl Workflows<'_, Tx> {
    /// Applies a document: a new workflow under `new_id`, a new version, or nothing if it is the latest already.
    /// It enables a disabled workflow.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn apply(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        name: &Name,
        new_id: WorkflowId,
        fresh: &NewDocument,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let Some(current) = self.find(permit, tenant, name).await? else {
            let state = WorkflowState::Enabled;
            let (name, created_at) = (name.clone(), now);
            let workflow =
                Workflow { id: new_id, tenant, name, state, latest: 1, created_at, updated_at: now };
            self.insert(&workflow).await?;
            self.insert_version(&workflow, fresh).await?;
            return Ok(Applied { workflow, changed: true });
        };
        let same = self.digest(current.id, current.latest).await? == fresh.digest;
        if same && current.state == WorkflowState::Enabled {
            return Ok(Applied { workflow: current, changed: false });
        }
        let latest = if same { current.latest } else { current.latest.saturating_add(1) };
        let next = Workflow { latest, state: WorkflowState::Enabled, updated_at: now, ..current };
        if !same {
            self.insert_version(&next, fresh).await?;
        }
        let statement = sql("UPDATE workflows SET latest = $1, state = $2, updated_at = $3 WHERE id = $4")
            .bind(i64::from(next.latest))
            .bind(next.state.as_str())
            .bind(ms(now))
            .bind(next.id.to_string());
        sql::run(self.0, statement).await?;
        Ok(Applied { workflow: next, changed: true })
    }

    /// Enables or disables a workflow.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn set_state(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        id: WorkflowId,
        state: WorkflowState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        reach(permit, tenant)?;
        let statement =
            sql("UPDATE workflows SET state = $1, updated_at = $2 WHERE id = $3 AND tenant_id = $4")
                .bind(state.as_str())
                .bind(ms(now))
                .bind(id.to_string())
                .bind(tenant.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("workflow")),
            _ => Ok(()),
        }
    }

    async fn digest(&mut self, workflow: WorkflowId, version: u32) -> Result<Digest, StoreError> {
        let statement = sql("SELECT digest FROM workflow_versions WHERE workflow_id = $1 AND version = $2");
        let row = sql::one(self.0, statement.bind(workflow.to_string()).bind(i64::from(version))).await?;
        let row = row.ok_or(StoreError::NotFound("workflow version"))?;
        Columns::of(&row).digest("workflow_versions.digest")
    }

    async fn insert(&mut self, workflow: &Workflow) -> Result<(), StoreError> {
        let statement =
            sql("INSERT INTO workflows (id, tenant_id, name, state, latest, created_at, updated_at) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(workflow.id.to_string())
            .bind(workflow.tenant.to_string())
            .bind(workflow.name.as_str().to_owned())
            .bind(workflow.state.as_str())
            .bind(i64::from(workflow.latest))
            .bind(ms(workflow.created_at))
            .bind(ms(workflow.updated_at));
        sql::run(self.0, statement).await.map(drop)
    }

    async fn insert_version(&mut self, workflow: &Workflow, fresh: &NewDocument) -> Result<(), StoreError> {
        let keys = keys::of(self.0, Owner::Tenant(workflow.tenant)).await?;
        let row = version_row(workflow.id, workflow.latest);
        let document = keys.seal(place("document", &row), &fresh.document)?;
        let hosts = json_text(&fresh.hosts, "hosts")?;
        let hosts = keys.seal(place("hosts", &row), hosts.as_bytes())?;
        let format = match fresh.format {
            DocumentFormat::Yaml => "yaml",
            DocumentFormat::Json => "json",
        };
        let statement = sql("INSERT INTO workflow_versions \
                             (workflow_id, version, tenant_id, document, digest, format, hosts, applied_at) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(workflow.id.to_string())
        .bind(i64::from(workflow.latest))
        .bind(workflow.tenant.to_string())
        .bind(document)
        .bind(fresh.digest.as_bytes().to_vec())
        .bind(format)
        .bind(hosts)
        .bind(ms(fresh.applied_at));
        sql::run(self.0, statement).await.map(drop)
    }
}

impl WorkflowState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

impl core::str::FromStr for WorkflowState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Enabled, Self::Disabled].into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

fn version_row(workflow: WorkflowId, version: u32) -> Vec<u8> {
    [workflow.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

const fn place<'a>(column: &'static str, row: &'a [u8]) -> Place<'a> {
    Place { table: TABLE, column, row }
}

fn read(row: &Row) -> Result<Workflow, StoreError> {
    let mut columns = Columns::of(row);
    Ok(Workflow {
        id: columns.parsed("workflows.id")?,
        tenant: columns.parsed("workflows.tenant_id")?,
        name: columns.parsed("workflows.name")?,
        state: columns.parsed("workflows.state")?,
        latest: columns.small("workflows.latest")?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}
