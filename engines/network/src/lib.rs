//! Tenant networks: who may reach whom on a host, as rules, links and routes; and where the kernel differs.
//!
//! ```text
//!                          host namespace: link `palisade`, table `inet palisade`
//!                                   | 10.100.255.0/30
//!                                 `pup`
//!  control plane ------- `pcp`   router   `pt1` ------- tenant 1: 10.101.0.0/16
//!  10.100.0.2                  (the keeper's)  `pt2` -- tenant 2: 10.102.0.0/16   .10 data plane, .11 sidecar
//! ```
//! All of it follows from one [`Desired`] state: the [`ruleset`] of the router and of the host, the [`topology`],
//! the [`matrix`] of what must and must not get through, the [`drift`] of what the kernel really has, and the same
//! policy for other platforms ([`export`]). Nothing here touches a kernel.

pub mod addresses;
pub mod converge;
mod desired;
mod drift;
pub mod export;
mod matrix;
mod number;
mod numbers;
mod policy;
mod routes;
pub mod ruleset;
pub mod special;
mod table;
mod topology;

pub use addresses::{Addresses, Namespace};
pub use desired::{
    CONNECTIONS_DEFAULT, CONNECTIONS_MAX, CONTROL_ADDRESSES_MAX, CONTROL_CONNECTIONS_MAX, ControlPlane,
    Desired, DesiredError, HOST_ADDRESSES_MAX, INTERFACES_MAX, REACH_MAX, TenantNetwork, Uplink,
};
pub use drift::{Actual, DRIFTS_MAX, Drift, DriftKind, Firewall, Seen, drift};
pub use matrix::{Beyond, NOT_PUBLIC, PORTS, Probe, matrix};
pub use number::{NetworkNumber, NumberError};
pub use numbers::{
    AllocationError, Holding, Numbers, NumbersError, QUARANTINE_MS, QUARANTINE_MS_MIN, ReleaseError,
};
pub use policy::{Control, Decision, Expected, Origin, Protocol, decide};
pub use routes::HostRoute;
pub use ruleset::{Change, DropReason, Ruleset};
pub use table::{Count, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, Table, TableError, Traffic, commands};
pub use topology::{
    Address, ESTABLISHED_TIMEOUT_S, Link, MTU, Pair, Policy, Route, State, TABLE_MAIN, Topology, topology,
};
