//! Executions: what was asked for, how it is delivered, how it ended.

mod row;

pub use row::{
    Counts, ExecState, Execution, ExecutionFacts, ExecutionFilter, Idempotency, IssuedToken, NewDelivery,
    NewExecution,
};

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::page::Page;
use crate::permit::{reach, reach_platform};
use crate::repositories::Executions;
use crate::sql::{self, Columns, Source, count, json_text, ms, sql};
use crate::tx::Tx;
use row::{COLUMNS, read};
use terms::{Digest, ExecutionId, Permit, TenantId, Timestamp};
use vault::Owner;
use wire::outcome::Outcome;
use zeroize::Zeroizing;

impl<S: Source> Executions<'_, S> {
    /// Loads an execution.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn load(&mut self, permit: &Permit, id: ExecutionId) -> Result<Execution, StoreError> {
        self.find(permit, id).await?.ok_or(StoreError::NotFound("execution"))
    }

    /// Finds an execution. One that the permit does not reach is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&mut self, permit: &Permit, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        let statement = select("WHERE id = $1").bind(id.to_string());
        let found = sql::one(self.0, statement).await?.map(|row| read(&row)).transpose()?;
        Ok(found.filter(|execution| permit.covers(execution.tenant)))
    }

    /// Finds what an idempotency key started, with the digest of the request that it came with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by_idempotency(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        key: &str,
    ) -> Result<Option<(Execution, Digest)>, StoreError> {
        reach(permit, tenant)?;
        let index = keys::of(self.0, Owner::Tenant(tenant)).await?;
        let index = index.blind_index("executions", "idempotency", key.as_bytes());
        let statement =
            select("WHERE tenant_id = $1 AND idempotency = $2").bind(tenant.to_string()).bind(index);
        let Some(row) = sql::one(self.0, statement).await? else { return Ok(None) };
        let execution = read(&row)?;
        let digest = execution.request_digest.ok_or(StoreError::Corrupt("executions.request_digest"))?;
        Ok(Some((execution, digest)))
    }

    /// Lists a tenant's executions, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another list.
    pub async fn list(
        &mut self,
        permit: &Permit,
        tenant: TenantId,
        filter: &ExecutionFilter,
        page: &Page,
    ) -> Result<(Vec<Execution>, Option<String>), StoreError> {
        reach(permit, tenant)?;
        let before = page.start(ExecutionId::from_bytes([0xff; 16]))?;
        let statement = select(
            "WHERE tenant_id = $1 AND id < $2 AND ($3 = '' OR workflow_name = $3) AND ($4 = '' OR state = $4) \
             ORDER BY id DESC LIMIT $5",
        )
        .bind(tenant.to_string())
        .bind(before.to_string())
        .bind(filter.workflow.as_ref().map(ToString::to_string).unwrap_or_default())
        .bind(filter.state.map(ExecState::as_str).unwrap_or_default())
        .bind(i64::from(page.fetch()));
        let rows = sql::all(self.0, statement).await?;
        let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(rows, |execution| execution.id.to_string()))
    }

    /// Reads an execution's input.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn input(
        &mut self,
        permit: &Permit,
        id: ExecutionId,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let statement = sql("SELECT tenant_id, sealed FROM execution_inputs WHERE execution_id = $1");
        let row = sql::one(self.0, statement.bind(id.to_string())).await?;
        let row = row.ok_or(StoreError::NotFound("execution input"))?;
        let mut columns = Columns::of(&row);
        let tenant: TenantId = columns.parsed("execution_inputs.tenant_id")?;
        reach(permit, tenant)?;
        keys::of(self.0, Owner::Tenant(tenant)).await?.open(input_place(&id), &columns.bytes()?)
    }

    /// Reads the token of the plan that was last issued for an execution, as it went out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if none was issued.
    pub async fn plan_token(&mut self, permit: &Permit, id: ExecutionId) -> Result<String, StoreError> {
        let statement = sql("SELECT tenant_id, plan_token FROM execution_inputs \
                             WHERE execution_id = $1 AND plan_token IS NOT NULL");
        let row = sql::one(self.0, statement.bind(id.to_string())).await?;
        let row = row.ok_or(StoreError::NotFound("plan token"))?;
        let mut columns = Columns::of(&row);
        reach(permit, columns.parsed("execution_inputs.tenant_id")?)?;
        columns.text()
    }

    /// Whether any delivery is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn any_due(&mut self, permit: &Permit, now: Timestamp) -> Result<bool, StoreError> {
        reach_platform(permit)?;
        let statement = sql("SELECT id FROM executions WHERE due_at IS NOT NULL AND due_at <= $1 LIMIT 1");
        Ok(sql::one(self.0, statement.bind(ms(now))).await?.is_some())
    }

    /// What the control plane knows of a tenant's executions, for comparing with what was metered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&mut self, permit: &Permit, tenant: TenantId) -> Result<Counts, StoreError> {
        reach(permit, tenant)?;
        let statement = sql("SELECT accepted, outcomes, steps, http_calls, wall_time_ms, output_bytes \
                             FROM execution_sums WHERE tenant_id = $1");
        let row = sql::one(self.0, statement.bind(tenant.to_string())).await?;
        let row = row.ok_or(StoreError::NotFound("tenant"))?;
        let open = sql("SELECT count(*) FROM executions \
                        WHERE tenant_id = $1 AND state IN ('queued', 'sent', 'accepted')");
        let open = sql::one(self.0, open.bind(tenant.to_string())).await?;
        let in_flight = open.map_or(Ok(0), |row| Columns::of(&row).count("executions"))?;
        let mut columns = Columns::of(&row);
        let mut next = || columns.count("execution_sums");
        Ok(Counts {
            accepted: next()?,
            outcomes: next()?,
            steps: next()?,
            http_calls: next()?,
            wall_time_ms: next()?,
            output_bytes: next()?,
            in_flight,
        })
    }
}

impl Executions<'_, Tx> {
    /// Inserts an execution with its input and first delivery.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its idempotency key was used.
    pub async fn insert(
        &mut self,
        permit: &Permit,
        new: &NewExecution,
        delivery: &NewDelivery,
    ) -> Result<Execution, StoreError> {
        reach(permit, new.tenant)?;
        let keys = keys::of(self.0, Owner::Tenant(new.tenant)).await?;
        let index = |i: &Idempotency| keys.blind_index("executions", "idempotency", i.key.as_bytes());
        let statement = sql("INSERT INTO executions (id, tenant_id, workflow_id, workflow_name, workflow_version, \
             state, limits, plan_id, plan_hash, plan_issued_at, attempts, due_at, created_at, cancel_requested, \
             idempotency, request_digest, delivery, plan_key) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12, 0, $13, $14, $15, $16)")
            .bind(new.id.to_string())
            .bind(new.tenant.to_string())
            .bind(new.workflow.id.to_string())
            .bind(new.workflow.name.to_string())
            .bind(i64::from(new.workflow.version))
            .bind(delivery.state.as_str())
            .bind(json_text(&new.limits, "limits")?)
            .bind(delivery.plan_id.to_string())
            .bind(delivery.plan_hash.as_bytes().to_vec())
            .bind(ms(delivery.plan_issued_at))
            .bind(ms(delivery.due_at))
            .bind(ms(new.created_at))
            .bind(new.idempotency.as_ref().map(index))
            .bind(new.idempotency.as_ref().map(|i| i.request_digest.as_bytes().to_vec()))
            .bind(delivery.delivery.clone())
            .bind(delivery.token.key.to_string());
        sql::run(self.0, statement).await?;
        let sealed = keys.seal(input_place(&new.id), &new.input)?;
        let statement = sql("INSERT INTO execution_inputs (execution_id, tenant_id, sealed, plan_token) \
                 VALUES ($1, $2, $3, $4)")
        .bind(new.id.to_string())
        .bind(new.tenant.to_string())
        .bind(sealed)
        .bind(delivery.token.compact.clone());
        sql::run(self.0, statement).await?;
        Ok(row::inserted(new, delivery))
    }

    /// Saves how an execution's delivery stands. The first acceptance is counted.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn update_delivery(&mut self, permit: &Permit, next: &Execution) -> Result<(), StoreError> {
        reach(permit, next.tenant)?;
        if next.accepted_at.is_some() {
            let statement =
                sql("UPDATE execution_sums SET accepted = accepted + 1 WHERE tenant_id = $1 AND EXISTS \
                 (SELECT id FROM executions WHERE id = $2 AND tenant_id = $1 AND accepted_at IS NULL)");
            let statement = statement.bind(next.tenant.to_string()).bind(next.id.to_string());
            sql::run(self.0, statement).await?;
        }
        let statement =
            sql("UPDATE executions SET state = $1, plan_id = $2, plan_hash = $3, plan_issued_at = $4, \
             attempts = $5, due_at = $6, accepted_at = $7, cancel_requested = $8, delivery = $9 \
             WHERE id = $10 AND tenant_id = $11")
            .bind(next.state.as_str())
            .bind(next.plan_id.map(|id| id.to_string()))
            .bind(next.plan_hash.map(|hash| hash.as_bytes().to_vec()))
            .bind(next.plan_issued_at.map(ms))
            .bind(i64::from(next.attempts))
            .bind(next.due_at.map(ms))
            .bind(next.accepted_at.map(ms))
            .bind(i64::from(next.cancel_requested))
            .bind(next.delivery.clone())
            .bind(next.id.to_string())
            .bind(next.tenant.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("execution")),
            _ => Ok(()),
        }
    }

    /// Records the token of the plan that goes out next.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such execution.
    pub async fn issue_token(
        &mut self,
        permit: &Permit,
        execution: &Execution,
        token: &IssuedToken,
    ) -> Result<(), StoreError> {
        reach(permit, execution.tenant)?;
        let (id, tenant) = (execution.id.to_string(), execution.tenant.to_string());
        let statement = sql("UPDATE executions SET plan_key = $1 WHERE id = $2 AND tenant_id = $3");
        let statement = statement.bind(token.key.to_string()).bind(id.clone()).bind(tenant.clone());
        if sql::run(self.0, statement).await? == 0 {
            return Err(StoreError::NotFound("execution"));
        }
        let statement =
            sql("UPDATE execution_inputs SET plan_token = $1 WHERE execution_id = $2 AND tenant_id = $3");
        sql::run(self.0, statement.bind(token.compact.clone()).bind(id).bind(tenant)).await.map(drop)
    }

    /// Records how an execution ended, once. Says whether this was the first time. `current` is the execution as
    /// this transaction loaded it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_outcome(
        &mut self,
        permit: &Permit,
        current: &Execution,
        state: ExecState,
        outcome: &Outcome,
    ) -> Result<bool, StoreError> {
        reach(permit, current.tenant)?;
        let statement = sql("UPDATE executions SET state = $1, outcome = $2, due_at = NULL, \
             accepted_at = COALESCE(accepted_at, $3) WHERE id = $4 AND tenant_id = $5 AND outcome IS NULL")
        .bind(state.as_str())
        .bind(json_text(outcome, "outcome")?)
        .bind(ms(outcome.accepted_at))
        .bind(current.id.to_string())
        .bind(current.tenant.to_string());
        if sql::run(self.0, statement).await? == 0 {
            return Ok(false);
        }
        let statement = sql("UPDATE execution_sums SET outcomes = outcomes + 1, steps = steps + $1, \
             http_calls = http_calls + $2, wall_time_ms = wall_time_ms + $3, output_bytes = output_bytes + $4, \
             accepted = accepted + $5 WHERE tenant_id = $6")
            .bind(count(outcome.steps, "steps")?)
            .bind(count(outcome.http_calls, "http_calls")?)
            .bind(count(outcome.wall_time_ms, "wall_time_ms")?)
            .bind(count(outcome.output_bytes, "output_bytes")?)
            .bind(i64::from(current.accepted_at.is_none()))
            .bind(current.tenant.to_string());
        sql::run(self.0, statement).await?;
        Ok(true)
    }

    /// Takes due deliveries: no other replica takes them before `lease`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_due(
        &mut self,
        permit: &Permit,
        now: Timestamp,
        lease: Timestamp,
        limit: u32,
    ) -> Result<Vec<Execution>, StoreError> {
        reach_platform(permit)?;
        let statement = select("WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2")
            .bind(ms(now))
            .bind(i64::from(limit));
        let rows = sql::all(self.0, statement).await?;
        let mut claimed = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for execution in &mut claimed {
            let statement = sql("UPDATE executions SET due_at = $1 WHERE id = $2");
            sql::run(self.0, statement.bind(ms(lease)).bind(execution.id.to_string())).await?;
            execution.due_at = Some(lease);
        }
        Ok(claimed)
    }
}

/// A query for whole rows; `tail` is one of this file's texts.
fn select(tail: &'static str) -> sql::Statement {
    sql(format!("SELECT {COLUMNS} FROM executions {tail}"))
}

const fn input_place(id: &ExecutionId) -> Place<'_> {
    Place { table: "execution_inputs", column: "sealed", row: id.as_bytes() }
}
