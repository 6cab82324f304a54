//! One of everything, with canaries in whatever may be about a person.

use crate::world::{NOW, World, entry, event, of, platform};
use store::{
    Alarm, AlarmState, AssuranceResult, Certificate, DataPlaneRow, DocumentFormat, EnrolmentKind,
    EnrolmentToken, ExecState, Execution, Idempotency, IssuedToken, NewDelivery, NewDocument, NewExecution,
    NodeRow, NodeState, NumberRow, NumberState, PlacementRow, Severity, SidecarRow, SigningKeyRow,
    StoreError, StoredBeat,
};
use terms::{Digest, NodeId, SidecarId, TenantId};
use wire::heartbeat::Totals;
use wire::outcome::{Outcome, Reason, Status};
use wire::plan::{Limits, WorkflowVersion};
use zeroize::Zeroizing;

/// What must be found nowhere in what is stored.
pub(crate) const CANARIES: [&str; 9] = [
    "canary-of-a-document",
    "canary-of-a-host.example",
    "canary-of-an-input",
    "canary-of-an-idempotency-key",
    "canary-of-a-setting",
    "canary-of-a-private-key",
    "canary-of-evidence",
    "canary-of-an-audit-entry",
    "canary-of-an-event",
];

pub(crate) const LIMITS: Limits =
    Limits { wall_time_ms: 60_000, steps: 100, memory_bytes: 1 << 20, output_bytes: 1 << 10, http_calls: 10 };

pub(crate) fn document(text: &str) -> NewDocument {
    NewDocument {
        document: text.as_bytes().to_vec(),
        digest: Digest::sha256(text.as_bytes()),
        format: DocumentFormat::Yaml,
        hosts: vec![CANARIES[1].to_owned()],
        applied_at: NOW,
    }
}

pub(crate) fn execution(tenant: TenantId, key: &str) -> NewExecution {
    NewExecution {
        id: id!(ExecutionId),
        tenant,
        workflow: WorkflowVersion { id: id!(WorkflowId), name: "orders".parse().unwrap(), version: 1 },
        limits: LIMITS,
        input: CANARIES[2].as_bytes().to_vec(),
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            request_digest: Digest::sha256(key.as_bytes()),
        }),
        created_at: NOW,
    }
}

pub(crate) fn delivery() -> NewDelivery {
    NewDelivery {
        state: ExecState::Sent,
        plan_id: id!(PlanId),
        plan_hash: Digest::sha256(b"plan"),
        plan_issued_at: NOW,
        token: plan_token(1),
        due_at: NOW.plus_ms(1_000),
        delivery: "{}".to_owned(),
    }
}

pub(crate) fn plan_token(n: u8) -> IssuedToken {
    IssuedToken { key: format!("{n:A<43}").parse().unwrap(), compact: format!("token {n}") }
}

pub(crate) fn outcome(execution: &Execution, steps: u64) -> Outcome {
    Outcome {
        execution_id: execution.id,
        tenant_id: execution.tenant,
        plan_id: execution.plan_id.unwrap(),
        plan_hash: execution.plan_hash.unwrap(),
        status: Status::Completed,
        reason: Reason::Ok,
        accepted_at: NOW,
        finished_at: NOW.plus_ms(7),
        wall_time_ms: 7,
        steps,
        http_calls: 2,
        resumes: 0,
        output_bytes: 11,
        output_digest: Digest::sha256(b"output"),
    }
}

pub(crate) fn sidecar(tenant: TenantId) -> SidecarRow {
    SidecarRow::enrolled(id!(SidecarId), tenant, [7; 32], NOW)
}

pub(crate) fn beat(sidecar: SidecarId, counter: u64, text: &str) -> StoredBeat {
    StoredBeat {
        sidecar,
        counter,
        payload_digest: Digest::sha256(text.as_bytes()),
        envelope: text.as_bytes().to_vec(),
        received_at: NOW,
        accepted: true,
        in_chain: true,
        reason: "ok".to_owned(),
    }
}

pub(crate) fn alarm(kind: &str, resource: &str, tenant: Option<TenantId>) -> Alarm {
    Alarm {
        id: id!(AlarmId),
        kind: kind.to_owned(),
        severity: Severity::Low,
        time: NOW,
        tenant,
        resource: resource.to_owned(),
        evidence: format!("{{\"seen\":\"{}\"}}", CANARIES[6]).into_bytes(),
        state: AlarmState::Open,
    }
}

pub(crate) fn certificate(spiffe: &str, tenant: Option<TenantId>, not_after_ms: i64) -> Certificate {
    Certificate {
        serial: hex::encode(crate::world::unique()),
        spiffe: spiffe.to_owned(),
        tenant,
        not_before: NOW,
        not_after: NOW.plus_ms(not_after_ms),
        issued_at: NOW,
    }
}

pub(crate) fn token(kind: EnrolmentKind, tenant: Option<TenantId>) -> EnrolmentToken {
    let digest = Digest::sha256(&crate::world::unique());
    EnrolmentToken { digest, kind, tenant, expires_at: NOW.plus_ms(1_000), used_at: None }
}

pub(crate) fn node() -> NodeRow {
    NodeRow { id: id!(NodeId), enrolled_at: NOW, last_seen: NOW, state: NodeState::Active }
}

pub(crate) const fn placement(tenant: TenantId, node: NodeId) -> PlacementRow {
    PlacementRow { tenant, node, former_node: None, since: NOW }
}

pub(crate) const fn number(node: NodeId, number: u8, tenant: TenantId) -> NumberRow {
    NumberRow { node, number, tenant: Some(tenant), state: NumberState::Held, since: NOW }
}

/// Puts rows of `tenant` into every table that has any.
pub(crate) async fn seed_every_table(world: &World, tenant: TenantId) {
    let permit = of(tenant);
    write!(world, |tx| {
        let name = "orders".parse().unwrap();
        tx.workflows().apply(&permit, tenant, &name, id!(WorkflowId), &document(CANARIES[0]), NOW).await?;
        let started = tx.executions().insert(&permit, &execution(tenant, CANARIES[3]), &delivery()).await?;
        let ended = outcome(&started, 3);
        tx.executions().record_outcome(&permit, &started, ExecState::Completed, &ended).await?;
        tx.enrolments().insert(&permit, &token(EnrolmentKind::Sidecar, Some(tenant)), NOW).await?;
        let spiffe = format!("spiffe://d/tenant/{tenant}/data-plane");
        tx.workloads().insert_certificate(&permit, &certificate(&spiffe, Some(tenant), 10)).await?;
        let url = "https://127.0.0.1:5678".to_owned();
        let (driver, last_seen) = ("loopback".to_owned(), NOW);
        let row = DataPlaneRow { tenant, url, pid: 1, sidecar_pid: 2, driver, last_seen };
        tx.workloads().upsert_data_plane(&permit, &row).await?;
        let host = node();
        tx.nodes().insert(&platform(), &host).await?;
        tx.placements().put(&permit, &placement(tenant, host.id)).await?;
        tx.placements().put_number(&platform(), &number(host.id, 1, tenant)).await?;
        tx.networks().put_tally(&permit, tenant, host.id, "{}".to_owned()).await?;
        tx.networks().put_kernel_check(&permit, tenant, "{}".to_owned()).await?;
        let meter = sidecar(tenant);
        tx.sidecars().insert(&permit, &meter).await?;
        tx.heartbeats().insert_batch(&permit, tenant, &[beat(meter.id, 1, "beat")]).await?;
        let added = Totals { steps: 3, ..Totals::default() };
        tx.heartbeats().add_usage(&permit, tenant, NOW, &added).await?;
        tx.alarms().insert(&alarm("kind", &format!("tenant/{tenant}"), Some(tenant))).await?;
        tx.audit(entry(CANARIES[7], Some(tenant)));
        tx.event(event(CANARIES[8], Some(tenant)));
        Ok::<_, StoreError>(())
    })
    .unwrap();
}

/// Puts rows into the tables that belong to the platform.
pub(crate) async fn seed_platform(world: &World) {
    write!(world, |tx| {
        tx.settings().put("setting", CANARIES[4].as_bytes()).await?;
        let key = SigningKeyRow {
            kid: "k".repeat(43).parse().unwrap(),
            state: "active".to_owned(),
            since: NOW,
            created_at: NOW,
            jwk: "{}".to_owned(),
            private: Zeroizing::new(CANARIES[5].as_bytes().to_vec()),
        };
        tx.signing_keys().insert(&key).await?;
        tx.nodes().insert(&platform(), &node()).await?;
        let (control, outcome) = ("DATA-1".to_owned(), "pass".to_owned());
        let facts = "{}".to_owned();
        let result = AssuranceResult { control, time: NOW, outcome, facts, evidence_digest: None };
        tx.assurance_results().insert(&platform(), &result).await?;
        tx.checkpoints().insert(1, "note").await?;
        // Enough leaves for a node above them.
        for _ in 0..256 {
            tx.audit(entry("filler", None));
        }
        Ok::<_, StoreError>(())
    })
    .unwrap();
}
