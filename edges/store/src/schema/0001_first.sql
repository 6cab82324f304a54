-- One text for both engines. A few words are replaced per engine (see schema.rs): BYTES, CLUSTERED, TEXT and
-- BIGINT PRIMARY KEY. CLUSTERED rows lie in the tree of their key: for short ones only, as longer than a quarter
-- of a page they would spill. Times are milliseconds since the Unix epoch.

CREATE TABLE write_head (
    id BIGINT PRIMARY KEY,
    log_size BIGINT NOT NULL,
    log_frontier BYTES NOT NULL,
    outbox_seq BIGINT NOT NULL
);

CREATE TABLE vault_keys (
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    version BIGINT NOT NULL,
    wrapped BYTES NOT NULL,
    PRIMARY KEY (owner, purpose, version)
) CLUSTERED;

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    sealed BYTES NOT NULL
) CLUSTERED;

CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE workflows (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    latest BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, name)
) CLUSTERED;

CREATE TABLE workflow_versions (
    workflow_id TEXT NOT NULL REFERENCES workflows (id),
    version BIGINT NOT NULL,
    tenant_id TEXT NOT NULL,
    document BYTES NOT NULL,
    digest BYTES NOT NULL,
    format TEXT NOT NULL,
    hosts BYTES NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

CREATE TABLE executions (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    workflow_id TEXT NOT NULL,
    workflow_name TEXT NOT NULL,
    workflow_version BIGINT NOT NULL,
    state TEXT NOT NULL,
    limits TEXT NOT NULL,
    plan_id TEXT,
    plan_hash BYTES,
    plan_issued_at BIGINT,
    attempts BIGINT NOT NULL,
    due_at BIGINT,
    created_at BIGINT NOT NULL,
    accepted_at BIGINT,
    outcome TEXT,
    cancel_requested BIGINT NOT NULL,
    idempotency BYTES,
    request_digest BYTES,
    delivery TEXT NOT NULL
);
CREATE INDEX executions_by_tenant ON executions (tenant_id, id);
CREATE INDEX executions_open ON executions (tenant_id) WHERE state IN ('queued', 'sent', 'accepted');
CREATE INDEX executions_due ON executions (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX executions_idempotency ON executions (tenant_id, idempotency) WHERE idempotency IS NOT NULL;

-- Apart from the execution, so that a change of state never rewrites up to a megabyte.
CREATE TABLE execution_inputs (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES executions (id),
    tenant_id TEXT NOT NULL,
    sealed BYTES NOT NULL
);

CREATE TABLE execution_sums (
    tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES tenants (id),
    accepted BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    steps BIGINT NOT NULL,
    http_calls BIGINT NOT NULL,
    wall_time_ms BIGINT NOT NULL,
    output_bytes BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    jwk TEXT NOT NULL,
    private BYTES NOT NULL
) CLUSTERED;

CREATE TABLE enrolments (
    digest BYTES NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant_id TEXT REFERENCES tenants (id),
    expires_at BIGINT NOT NULL,
    used_at BIGINT
) CLUSTERED;

CREATE TABLE certificates (
    serial TEXT NOT NULL PRIMARY KEY,
    spiffe TEXT NOT NULL,
    tenant_id TEXT REFERENCES tenants (id),
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    issued_at BIGINT NOT NULL
) CLUSTERED;
CREATE INDEX certificates_by_spiffe ON certificates (spiffe, not_after);

CREATE TABLE data_planes (
    tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES tenants (id),
    url TEXT NOT NULL,
    pid BIGINT NOT NULL,
    sidecar_pid BIGINT NOT NULL,
    driver TEXT NOT NULL,
    last_seen BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    enrolled_at BIGINT NOT NULL,
    last_seen BIGINT NOT NULL
) CLUSTERED;

CREATE TABLE sidecars (
    id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    public_key BYTES NOT NULL,
    state TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    prev BYTES NOT NULL,
    time BIGINT NOT NULL,
    totals TEXT NOT NULL,
    sworn TEXT NOT NULL,
    last_received BIGINT,
    accepted BIGINT NOT NULL,
    anomalies BIGINT NOT NULL
) CLUSTERED;
CREATE INDEX sidecars_by_tenant ON sidecars (tenant_id, id);

CREATE TABLE heartbeats (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    sidecar_id TEXT NOT NULL,
    counter BIGINT NOT NULL,
    payload_digest BYTES NOT NULL,
    envelope BYTES NOT NULL,
    received_at BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    in_chain BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (tenant_id, sidecar_id, counter, payload_digest)
);

CREATE TABLE usage_hours (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    hour BIGINT NOT NULL,
    executions BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    steps BIGINT NOT NULL,
    http_calls BIGINT NOT NULL,
    wall_time_ms BIGINT NOT NULL,
    cpu_time_us BIGINT NOT NULL,
    output_bytes BIGINT NOT NULL,
    egress_bytes BIGINT NOT NULL,
    ingress_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour)
) CLUSTERED;

-- A tenant's entries outlive it: their key is destroyed, their leaves stay provable.
CREATE TABLE audit_entries (
    idx BIGINT PRIMARY KEY,
    tenant_id TEXT,
    time BIGINT NOT NULL,
    sealed BYTES NOT NULL,
    leaf BYTES NOT NULL
);
CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, idx) WHERE tenant_id IS NOT NULL;

-- Roots of complete subtrees of 256^level leaves: the tiles above the leaves.
CREATE TABLE audit_nodes (
    level BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    hash BYTES NOT NULL,
    PRIMARY KEY (level, idx)
) CLUSTERED;

CREATE TABLE checkpoints (
    size BIGINT PRIMARY KEY,
    note TEXT NOT NULL
);

CREATE TABLE security_events (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant_id TEXT,
    time BIGINT NOT NULL,
    sealed BYTES NOT NULL
) CLUSTERED;
CREATE INDEX security_events_by_kind ON security_events (kind, id);
CREATE INDEX security_events_by_tenant ON security_events (tenant_id, id) WHERE tenant_id IS NOT NULL;

CREATE TABLE outbox (
    seq BIGINT PRIMARY KEY,
    event_id TEXT NOT NULL REFERENCES security_events (id)
);
CREATE INDEX outbox_by_event ON outbox (event_id);

CREATE TABLE alarms (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    time BIGINT NOT NULL,
    tenant_id TEXT REFERENCES tenants (id),
    resource TEXT NOT NULL,
    evidence BYTES NOT NULL,
    state TEXT NOT NULL
) CLUSTERED;
CREATE UNIQUE INDEX alarms_open ON alarms (kind, resource) WHERE state = 'open';

CREATE TABLE assurance_results (
    control TEXT NOT NULL,
    time BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    facts TEXT NOT NULL,
    evidence_digest BYTES,
    PRIMARY KEY (control, time)
) CLUSTERED;
