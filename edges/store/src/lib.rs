//! The database: SQLCipher by default, PostgreSQL by URL; one SQL text, one code path.
//!
//! ```text
//! Store --read()--> Reader --tenants(), executions(), ..--> rows
//!   `-write(closure)--> queue --> writer task: BEGIN, closures (each undone alone), audit + events, COMMIT --> answers
//! ```
//! An answer to a write means that it is on disk. Writers never overlap, on one machine or over replicas, so a
//! closure may load, decide and save without a lock of its own. Whatever touches tenant data takes a `Permit`;
//! personal and secret columns are sealed on both engines, and `data_map` says which those are.

mod append;
mod config;
mod connect;
mod connection;
mod data_map;
mod error;
mod keys;
mod link;
mod page;
mod permit;
mod pool;
mod raw;
mod reader;
mod repositories;
mod schema;
mod sql;
mod store;
mod tx;
mod writer;

mod alarms;
mod assurance_results;
mod audit;
mod enrolments;
mod events;
mod executions;
mod heartbeats;
mod networks;
mod nodes;
mod placements;
mod settings;
mod sidecars;
mod signing_keys;
mod tenants;
mod workflows;
mod workloads;

pub use alarms::{Alarm, AlarmState, Severity};
pub use assurance_results::AssuranceResult;
pub use audit::{AuditRow, LogHead};
pub use config::{Config, Database};
#[doc(hidden)]
pub use connect::PAGE_CIPHER;
pub use connection::Connection;
pub use data_map::{Class, Column, DATA_MAP, Protection, data_map_text};
pub use enrolments::{EnrolmentKind, EnrolmentToken, Redeem};
pub use error::{OpenError, StoreError, WriteError};
pub use events::OutboxRow;
pub use executions::{
    Counts, ExecState, Execution, ExecutionFacts, ExecutionFilter, Idempotency, IssuedToken, NewDelivery,
    NewExecution,
};
pub use heartbeats::{StoredBeat, Usage, UsageHour};
pub use networks::{
    DesiredNetworksRow, Forwarded, HostNetworksRow, KernelCheckRow, ProbeRow, WantedNetworks,
};
pub use nodes::{Inhabited, NODES_MAX, NodeRow, NodeState};
pub use page::{LIMIT_MAX, Page};
pub use placements::{NumberRow, NumberState, Placed, PlacementRow};
pub use reader::Reader;
pub use repositories::{
    Alarms, AssuranceResults, Audit, Checkpoints, Enrolments, Events, Executions, Heartbeats, Networks,
    Nodes, Outbox, Placements, Settings, Sidecars, SigningKeys, Tenants, Workflows, Workloads,
};
pub use sidecars::{SidecarRow, SidecarState};
pub use signing_keys::SigningKeyRow;
pub use sql::Source;
pub use store::{Store, WorkFuture};
pub use tenants::{Tenant, TenantState};
pub use tx::Tx;
pub use workflows::{Applied, DocumentFormat, NewDocument, Workflow, WorkflowDocument, WorkflowState};
pub use workloads::{Certificate, DataPlaneRow};
