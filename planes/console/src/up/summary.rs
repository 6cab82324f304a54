//! What `up` shows once everything runs: what runs where, what was proven, what to try next.

use super::demo::Demo;
use super::driver::NOT_ENFORCED;
use super::processes::Processes;
use super::site::Site;
use super::{DATA_PLANES_MAX, Driver};
use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Format, Output, columns, duration, or_dash};
use api::data_plane::DataPlaneView;
use api::network::{HostView, NetworkState, NetworkView};
use network::addresses::CONTROL_NETWORK;
use serde_json::{Value, json};
use terms::TenantId;

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Summary {
    control_plane_url: String,
    state_dir: String,
    state_flag: String,
    ca_file: String,
    token_file: String,
    public_url: String,
    zones_enforced: bool,
    driver: Driver,
    control_pid: Option<u32>,
    node_pid: Option<u32>,
    data_planes: Vec<DataPlaneView>,
    networks: Networks,
    demo: Option<Demo>,
}

/// The tenants' networks.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    views: Vec<NetworkView>,
    /// Walls that this machine's kernel lacks.
    missing: Vec<String>,
}

impl Networks {
    /// The networks that the control plane knows.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) async fn of(client: &Client) -> Outcome<Self> {
        let mut views: Vec<NetworkView> = client.list(Call::to("list_networks"), DATA_PLANES_MAX).await?;
        views.retain(|view| view.state == NetworkState::Held);
        let hosts: Vec<HostView> = client.list(Call::to("list_network_hosts"), DATA_PLANES_MAX).await?;
        let mut missing: Vec<String> = hosts.into_iter().flat_map(|host| host.missing).collect();
        missing.sort();
        missing.dedup();
        Ok(Self { views, missing })
    }

    /// A tenant's network, CIDR.
    fn of_tenant(&self, tenant: TenantId) -> Option<&str> {
        let view = self.views.iter().find(|view| view.tenant == Some(tenant));
        view.map(|view| view.network.as_str())
    }
}

impl Summary {
    /// Gathers what is shown.
    #[must_use]
    pub(crate) fn gather(
        site: &Site,
        processes: &Processes,
        data_planes: Vec<DataPlaneView>,
        networks: Networks,
        demo: Option<Demo>,
    ) -> Self {
        Self {
            control_plane_url: site.chosen.control_plane_url.clone(),
            state_dir: site.state.path().display().to_string(),
            state_flag: site.state.flag(),
            ca_file: site.state.ca().display().to_string(),
            token_file: site.state.operator_token().display().to_string(),
            public_url: site.chosen.public_url.clone(),
            zones_enforced: site.chosen.zones_enforced,
            driver: site.driver(),
            control_pid: processes.control_pid(),
            node_pid: processes.node_pid(),
            data_planes,
            networks,
            demo,
        }
    }

    /// What scripts read: the ready file.
    #[must_use]
    pub(crate) fn ready(&self) -> Value {
        let data_planes: Vec<Value> = self
            .data_planes
            .iter()
            .map(|d| {
                let DataPlaneView { tenant, tenant_name, url, pid, sidecar_pid, .. } = d;
                let network = self.networks.of_tenant(*tenant);
                json!({
                    "tenant": tenant_name,
                    "url": url,
                    "network": network,
                    "pid": pid,
                    "sidecar_pid": sidecar_pid,
                })
            })
            .collect();
        json!({
            "control_plane_url": self.control_plane_url,
            "ca_cert_file": self.ca_file,
            "operator_token_file": self.token_file,
            "driver": self.driver,
            "not_enforced": self.not_enforced(),
            "data_planes": data_planes,
        })
    }

    /// The controls that do not hold here for want of networks.
    fn not_enforced(&self) -> &'static [&'static str] {
        let is_apart = self.data_planes.iter().all(|data_plane| data_plane.networks_enforced);
        if self.driver == Driver::Linux && is_apart { &[] } else { &NOT_ENFORCED }
    }

    /// Shows it.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn show(&self, output: &mut Output<'_>) -> Outcome {
        match output.format() {
            Format::Json => output.json(&self.ready()),
            Format::Table => output.text(&self.text()),
        }
    }

    fn text(&self) -> String {
        let parts = [
            Some(columns(&self.processes())),
            self.demo.as_ref().map(|demo| columns(&self.proof(demo))),
            self.missing_walls(),
            Some(self.next_commands()),
            Some("Ctrl-C stops everything; `palisade up` takes it up again.\n".to_owned()),
        ];
        format!("\n{}", parts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }

    fn processes(&self) -> Vec<Vec<String>> {
        let row = |what: &str, tenant: &str, address: &str, pid: Option<u32>, network: &str| {
            vec![
                what.to_owned(),
                tenant.to_owned(),
                address.to_owned(),
                or_dash(pid),
                or_dash(pid.and_then(uid_of)),
                network.to_owned(),
            ]
        };
        let shared = match self.driver {
            Driver::Linux => CONTROL_NETWORK.to_string(),
            Driver::Loopback => "-".to_owned(),
        };
        let header = ["PROCESS", "TENANT", "ADDRESS", "PID", "UID", "NETWORK"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.push(row("control plane", "-", &self.control_plane_url, self.control_pid, &shared));
        rows.push(row("node", "-", "-", self.node_pid, "-"));
        for data_plane in &self.data_planes {
            let tenant = data_plane.tenant_name.as_str();
            let network = self.networks.of_tenant(data_plane.tenant).unwrap_or("-");
            rows.push(row("data plane", tenant, &data_plane.url, Some(data_plane.pid), network));
            rows.push(row("sidecar", tenant, "-", Some(data_plane.sidecar_pid), network));
        }
        rows
    }

    fn proof(&self, demo: &Demo) -> Vec<Vec<String>> {
        let execution = &demo.execution;
        let outcome = execution.outcome.as_ref();
        let how = outcome.map_or_else(String::new, |outcome| {
            format!(
                " ({}, {}, {} steps)",
                outcome.reason.as_str(),
                duration(outcome.wall_time_ms),
                outcome.steps
            )
        });
        let plan = execution.plan.as_ref();
        let totals = &demo.usage.totals;
        let counted = if demo.is_counted { "" } else { " (this execution comes with the next heartbeat)" };
        let rows = [
            ("workflow", format!("{} v{}", execution.workflow.name, execution.workflow.version)),
            ("execution", execution.id.to_string()),
            ("result", format!("{}{how}", execution.state.as_str())),
            ("plan hash", or_dash(plan.map(|plan| plan.hash))),
            ("signed by key", or_dash(plan.and_then(|plan| plan.key.as_ref()))),
            ("plan issuer", self.public_url.clone()),
            (
                "heartbeats",
                format!("{} accepted, the last at {}", demo.usage.heartbeats, or_dash(demo.usage.as_of)),
            ),
            ("usage", format!("{} executions, {} steps{counted}", totals.outcomes, totals.steps)),
        ];
        rows.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect()
    }

    /// Which walls of the design do not stand here. Nothing is kept back.
    fn missing_walls(&self) -> Option<String> {
        let zones = "  zones: all processes are one user, so one that is taken over can read the others' \
                     files; run as root to give each its own\n";
        let networks = "  networks: data planes listen on this machine's loopback, so NET-1 to NET-5 are not \
                        enforced; as root, `--driver linux` gives each tenant a network of its own\n";
        let kernel = || format!("  this machine's kernel lacks: {}\n", self.networks.missing.join(", "));
        let missing = [
            (!self.zones_enforced).then(|| zones.to_owned()),
            (!self.not_enforced().is_empty()).then(|| networks.to_owned()),
            (!self.networks.missing.is_empty()).then(kernel),
        ];
        let missing: String = missing.into_iter().flatten().collect();
        (!missing.is_empty()).then(|| format!("walls that are missing here:\n{missing}"))
    }

    fn next_commands(&self) -> String {
        let mut commands = Vec::new();
        match &self.demo {
            Some(demo) => {
                commands.push(format!("execution output {} --tenant demo", demo.execution.id));
                commands.push(format!("execution plan {} --tenant demo", demo.execution.id));
                commands.push("usage --tenant demo".to_owned());
                commands.push("heartbeat list --tenant demo".to_owned());
            }
            None => {
                commands.push("tenant create acme".to_owned());
                commands.push("data-plane list".to_owned());
            }
        }
        if self.driver == Driver::Linux {
            commands.push("network probe".to_owned());
        }
        commands.extend(["audit verify", "assure run", "--help"].map(str::to_owned));
        let flag = &self.state_flag;
        let lines = commands.iter().map(|command| match command.as_str() {
            "--help" => "  palisade --help\n".to_owned(),
            command => format!("  palisade {command}{flag}\n"),
        });
        format!("state is in {}; next, in another terminal:\n{}", self.state_dir, lines.collect::<String>())
    }
}

/// The user id that a process runs as.
fn uid_of(pid: u32) -> Option<u32> {
    effective_uid(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The effective user id in a process's status (proc(5)): the second number.
fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::{TenantId, Timestamp};

    #[test]
    fn the_ready_file_says_where_everything_is_and_holds_no_secret() {
        let ready = summary(true).ready();
        assert_eq!(ready["control_plane_url"], "https://localhost:8443");
        assert_eq!(ready["operator_token_file"], "/s/operator.token");
        let data_plane = &ready["data_planes"][0];
        assert_eq!(data_plane["tenant"], "demo");
        assert_eq!((data_plane["pid"].as_u64(), data_plane["sidecar_pid"].as_u64()), (Some(7), Some(8)));
    }

    #[test]
    fn not_as_root_the_missing_walls_are_named_and_as_root_only_the_networks() {
        let plain = summary(false).text();
        assert!(plain.contains("zones: all processes are one user") && plain.contains("NET-1 to NET-5"));
        let root = summary(true);
        assert!(!root.text().contains("zones:") && root.text().contains("NET-1 to NET-5"), "{}", root.text());
        assert_eq!(root.ready()["driver"], "loopback");
        assert_eq!(root.ready()["not_enforced"], json!(NOT_ENFORCED));
    }

    #[test]
    fn with_networks_each_tenants_is_shown_and_what_the_kernel_lacks() {
        let mut summary = with_networks();
        assert!(summary.missing_walls().is_none());
        assert_eq!(summary.ready()["not_enforced"], json!([]));
        assert_eq!(summary.ready()["data_planes"][0]["network"], "10.101.0.0/16");
        let processes = columns(&summary.processes());
        assert!(processes.lines().nth(3).unwrap().ends_with("10.101.0.0/16"), "{processes}");
        assert!(processes.lines().nth(1).unwrap().ends_with("10.100.0.0/24"), "{processes}");
        assert!(summary.text().contains("\n  palisade network probe --state-dir /s\n"));
        summary.networks.missing = vec!["cgroup_pids".into(), "landlock_tcp".into()];
        let text = summary.text();
        assert!(text.contains("kernel lacks: cgroup_pids, landlock_tcp\n"), "{text}");
    }

    #[test]
    fn a_data_plane_outside_of_its_network_is_a_missing_wall_whatever_the_driver() {
        let mut summary = with_networks();
        summary.data_planes[0].networks_enforced = false;
        assert!(summary.text().contains("NET-1 to NET-5 are not enforced"));
        assert_eq!(summary.ready()["not_enforced"], json!(NOT_ENFORCED));
    }

    #[test]
    fn the_commands_to_try_next_carry_the_state_directory() {
        assert!(summary(true).text().contains("\n  palisade audit verify --state-dir /s\n"));
    }

    #[test]
    fn the_effective_user_id_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1\t63002\t3\t4\nGid:\t0\n"), Some(63_002));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    fn with_networks() -> Summary {
        let mut summary = summary(true);
        summary.driver = Driver::Linux;
        summary.data_planes[0].networks_enforced = true;
        let view = json!({
            "tenant": TenantId::from_bytes([1; 16]), "tenant_name": "demo",
            "node": terms::NodeId::from_bytes([2; 16]), "number": 1, "network": "10.101.0.0/16",
            "data_plane": "10.101.0.10", "sidecar": "10.101.0.11", "state": "held",
            "since": Timestamp::EPOCH, "live": true, "quota": wire::networks::Quota::default(),
            "resources": [],
        });
        summary.networks.views = vec![serde_json::from_value(view).unwrap()];
        summary
    }

    fn summary(zones_enforced: bool) -> Summary {
        Summary {
            control_plane_url: "https://localhost:8443".into(),
            state_dir: "/s".into(),
            state_flag: " --state-dir /s".into(),
            ca_file: "/s/ca.pem".into(),
            token_file: "/s/operator.token".into(),
            public_url: "https://localhost:8443".into(),
            zones_enforced,
            driver: Driver::Loopback,
            networks: Networks::default(),
            control_pid: Some(5),
            node_pid: None,
            data_planes: vec![DataPlaneView {
                tenant: TenantId::from_bytes([1; 16]),
                tenant_name: "demo".parse().unwrap(),
                url: "https://127.0.0.1:5678".into(),
                pid: 7,
                sidecar_pid: 8,
                last_seen_at: Timestamp::EPOCH,
                zones_enforced,
                networks_enforced: false,
            }],
            demo: None,
        }
    }
}
