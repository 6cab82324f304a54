-- Which node runs a tenant, which network numbers of its host are not free, what hosts report of their networks and
-- what they were told to have.

ALTER TABLE nodes ADD COLUMN state TEXT NOT NULL DEFAULT 'active';

CREATE TABLE placements (
    tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES tenants (id),
    node_id TEXT NOT NULL REFERENCES nodes (id),
    former_node TEXT,
    since BIGINT NOT NULL
) CLUSTERED;
CREATE INDEX placements_by_node ON placements (node_id);

-- A number outlives its tenant: whose it was is forgotten with the tenant.
CREATE TABLE network_numbers (
    node_id TEXT NOT NULL REFERENCES nodes (id),
    number BIGINT NOT NULL,
    tenant_id TEXT REFERENCES tenants (id),
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (node_id, number)
) CLUSTERED;
CREATE INDEX network_numbers_by_tenant ON network_numbers (tenant_id);

CREATE TABLE host_networks (
    node_id TEXT NOT NULL PRIMARY KEY REFERENCES nodes (id),
    driver TEXT NOT NULL,
    place TEXT NOT NULL,
    address TEXT,
    routes TEXT NOT NULL,
    applied BIGINT NOT NULL,
    counted_at BIGINT,
    reported_at BIGINT NOT NULL,
    drift TEXT NOT NULL,
    missing TEXT NOT NULL
);

CREATE TABLE desired_networks (
    node_id TEXT NOT NULL PRIMARY KEY REFERENCES nodes (id),
    version BIGINT NOT NULL,
    content_digest BYTES NOT NULL,
    kid TEXT NOT NULL,
    envelope BYTES NOT NULL,
    issued_at BIGINT NOT NULL
);

CREATE TABLE network_probes (
    node_id TEXT NOT NULL PRIMARY KEY REFERENCES nodes (id),
    asked_at BIGINT NOT NULL,
    report TEXT
);

-- What a host's kernel counted for a tenant, over all resets. The host may be gone while its counts still matter.
CREATE TABLE network_traffic (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    node_id TEXT NOT NULL,
    tally TEXT NOT NULL,
    PRIMARY KEY (tenant_id, node_id)
);

-- How far what a tenant's sidecars swore to was compared with what kernels counted.
CREATE TABLE kernel_checks (
    tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES tenants (id),
    pushed_bytes BIGINT NOT NULL,
    streamed_bytes BIGINT NOT NULL,
    state TEXT
);
