//! Tenant networks: what nodes report of them, and how operators see them.

use crate::network::limits::TEXT_MAX;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use terms::{Name, NodeId, TenantId, Timestamp};
use wire::networks::Quota;

/// Bounds of what nodes report.
pub mod limits {
    /// Most routes of a host that lie within 10.0.0.0/8, which are all that can be in a network's way.
    pub const ROUTES_MAX: usize = 1_024;
    /// Most differences that are told one by one.
    pub const DRIFTS_MAX: usize = 256;
    /// Most rows of a probe: origins times kinds of destination, for 155 tenants.
    pub const PROBE_ROWS_MAX: usize = 8_192;
    /// Most mismatches that one row tells.
    pub const MISMATCHES_MAX: usize = 20;
    /// Most walls that a host can lack.
    pub const MISSING_MAX: usize = 32;
    /// The longest text of a report.
    pub const TEXT_MAX: usize = 512;
}

/// What keeps tenants apart on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Network namespaces and nftables.
    Linux,
    /// Nothing: every data plane listens on the host's loopback.
    Loopback,
}

/// Where the control plane is, as seen from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the same host, in a namespace of its own.
    Here,
    /// On another host.
    Elsewhere,
}

/// What a node reports of its host's networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportNetworks {
    /// What keeps tenants apart there.
    pub driver: Driver,
    /// Where the control plane is.
    pub place: Place,
    /// The host's address at which a control plane elsewhere reaches forwarded ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<Ipv4Addr>,
    /// When the counts were read, by the host's clock: what passed before it is in them. A report that comes after one
    /// with a later time is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Timestamp>,
    /// The host's own routes within 10.0.0.0/8.
    pub routes: Vec<RouteOnHost>,
    /// The version that the host has; 0 before the first.
    pub applied: u64,
    /// Numbers of which the node has proven that no network is left, or has come to be yet.
    pub gone: Vec<u8>,
    /// What passed for each tenant.
    pub traffic: Vec<TenantTraffic>,
    /// Where the host differs from what it should be.
    pub drift: DriftReport,
    /// Walls that this host's kernel lacks, in a word each.
    pub missing: Vec<String>,
}

/// A route of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteOnHost {
    /// Where it leads, CIDR.
    pub destination: String,
    /// Through which link.
    pub link: String,
}

/// What passed for one tenant, as the host's kernel counted it. All counts are cumulative since `since`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantTraffic {
    /// Whose.
    pub tenant: TenantId,
    /// When counting began; a later one is a reset.
    pub since: Timestamp,
    /// Bytes from the tenant, headers included.
    pub sent_bytes: u64,
    /// Packets from the tenant.
    pub sent_packets: u64,
    /// Bytes to the tenant, headers included.
    pub received_bytes: u64,
    /// Packets to the tenant.
    pub received_packets: u64,
    /// Microseconds of processor time of the data plane's group, if the host can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time_us: Option<u64>,
}

/// Where a host differs from what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftReport {
    /// When the host was last compared whole; none before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// Differences found since the node started.
    pub found: u64,
    /// Of these, repaired.
    pub repaired: u64,
    /// Those that are there now.
    pub open: Vec<DriftView>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftView {
    /// When it was found.
    pub found_at: Timestamp,
    /// Its stable code.
    pub code: String,
    /// In which namespace.
    pub namespace: String,
    /// What differs, in a sentence.
    pub detail: String,
}

/// What a node found when it probed its networks through its kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportProbe {
    /// The `probe_asked_at` that this answers.
    pub asked_at: Timestamp,
    /// The version of the networks that were probed.
    pub version: u64,
    /// Why it could not be done; the rows are empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What was tried, and what came of it.
    pub rows: Vec<ProbeRow>,
}

/// Probes of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRow {
    /// The control that they prove.
    pub control: String,
    /// From where.
    pub from: String,
    /// To what.
    pub to: String,
    /// Whether they are to get through.
    pub allowed: bool,
    /// The sentence of the policy that says so.
    pub why: String,
    /// How many were tried.
    pub tried: u32,
    /// How many of them came to what was expected.
    pub held: u32,
    /// Those that did not: what was tried, and what came of it.
    pub mismatches: Vec<String>,
}

/// A tenant network as it is shown: the network, its firewall and its NAT are one resource each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NetworkView {
    /// The tenant; absent once it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The tenant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_name: Option<Name>,
    /// On which host.
    pub node: NodeId,
    /// The N of 10.(100+N).0.0/16.
    pub number: u8,
    /// The network, CIDR.
    pub network: String,
    /// The data plane's address in it.
    pub data_plane: String,
    /// The sidecar's address in it.
    pub sidecar: String,
    /// Whether somebody lives there.
    pub state: NetworkState,
    /// Since when.
    pub since: Timestamp,
    /// Whether its flows pass.
    pub live: bool,
    /// What the tenant may use of the host.
    pub quota: Quota,
    /// What passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TenantTraffic>,
    /// The resources that make it, each with the tag `restricted=true`.
    pub resources: Vec<NetworkResource>,
}

/// Whether somebody lives in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkState {
    /// A tenant does.
    Held,
    /// Its tenant left; the host has not yet proven that the network is gone.
    Leaving,
    /// It is gone, and its number rests.
    Resting,
}

/// Something that a network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NetworkResource {
    /// `network`, `firewall` or `nat_gateway`.
    pub kind: String,
    /// Its name on the host.
    pub name: String,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// One host's networks as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostView {
    /// The host's node.
    pub node: NodeId,
    /// What keeps tenants apart there; absent before its first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Where the control plane is, as seen from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The version that it should have.
    pub desired: u64,
    /// The version that it has.
    pub applied: u64,
    /// When it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// Where it differs.
    pub drift: DriftReport,
    /// Walls that its kernel lacks.
    pub missing: Vec<String>,
}

/// What the last question for probes brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProbeView {
    /// When nodes were asked; absent if they never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// The nodes that have not answered yet.
    pub waiting: Vec<NodeId>,
    /// What the others found.
    pub hosts: Vec<HostProbe>,
}

/// What one host found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HostProbe {
    /// The host's node.
    pub node: NodeId,
    /// Its answer.
    pub report: ReportProbe,
}

impl ReportNetworks {
    /// Whether everything in it keeps its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let short = |text: &String| text.len() <= TEXT_MAX;
        self.routes.len() <= limits::ROUTES_MAX
            && self.routes.iter().all(|route| short(&route.destination) && short(&route.link))
            && self.gone.len() <= wire::networks::TENANTS_MAX
            && self.traffic.len() <= wire::networks::TENANTS_MAX
            && self.drift.open.len() <= limits::DRIFTS_MAX
            && self.drift.open.iter().all(|d| short(&d.code) && short(&d.namespace) && short(&d.detail))
            && self.missing.len() <= limits::MISSING_MAX
            && self.missing.iter().all(short)
    }
}

impl ReportProbe {
    /// Whether everything in it keeps its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let short = |text: &String| text.len() <= TEXT_MAX;
        let row = |row: &ProbeRow| {
            [&row.control, &row.from, &row.to, &row.why].into_iter().all(short)
                && row.mismatches.len() <= limits::MISMATCHES_MAX
                && row.mismatches.iter().all(short)
                && row.held <= row.tried
        };
        self.rows.len() <= limits::PROBE_ROWS_MAX
            && self.rows.iter().all(row)
            && self.failed.iter().all(short)
    }
}
