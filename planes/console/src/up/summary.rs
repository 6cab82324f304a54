//! What `up` shows once everything runs: what runs where, what was proven, what to try next.

use super::demo::Demo;
use super::processes::Processes;
use super::site::Site;
use crate::failure::Outcome;
use crate::output::{Format, Output, columns, duration, or_dash};
use api::data_plane::DataPlaneView;
use serde_json::{Value, json};

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
    control_pid: Option<u32>,
    node_pid: Option<u32>,
    data_planes: Vec<DataPlaneView>,
    demo: Option<Demo>,
}

impl Summary {
    /// Gathers what is shown.
    #[must_use]
    pub(crate) fn gather(
        site: &Site,
        processes: &Processes,
        data_planes: Vec<DataPlaneView>,
        control_plane_url: String,
        demo: Option<Demo>,
    ) -> Self {
        Self {
            control_plane_url,
            state_dir: site.state.path().display().to_string(),
            state_flag: site.state.flag(),
            ca_file: site.state.ca().display().to_string(),
            token_file: site.state.operator_token().display().to_string(),
            public_url: site.chosen.public_url.clone(),
            zones_enforced: site.chosen.zones_enforced,
            control_pid: processes.control_pid(),
            node_pid: processes.node_pid(),
            data_planes,
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
                let DataPlaneView { tenant_name, url, pid, sidecar_pid, .. } = d;
                json!({ "tenant": tenant_name, "url": url, "pid": pid, "sidecar_pid": sidecar_pid })
            })
            .collect();
        json!({
            "control_plane_url": self.control_plane_url,
            "ca_cert_file": self.ca_file,
            "operator_token_file": self.token_file,
            "data_planes": data_planes,
        })
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
        let row = |what: &str, tenant: &str, address: &str, pid: Option<u32>| {
            vec![
                what.to_owned(),
                tenant.to_owned(),
                address.to_owned(),
                or_dash(pid),
                or_dash(pid.and_then(uid_of)),
            ]
        };
        let mut rows = vec![["PROCESS", "TENANT", "ADDRESS", "PID", "UID"].map(str::to_owned).to_vec()];
        rows.push(row("control plane", "-", &self.control_plane_url, self.control_pid));
        rows.push(row("node", "-", "-", self.node_pid));
        for data_plane in &self.data_planes {
            let tenant = data_plane.tenant_name.as_str();
            rows.push(row("data plane", tenant, &data_plane.url, Some(data_plane.pid)));
            rows.push(row("sidecar", tenant, "-", Some(data_plane.sidecar_pid)));
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
                        enforced\n";
        let is_on_loopback = self.data_planes.iter().any(|data_plane| !data_plane.networks_enforced);
        let missing = match (self.zones_enforced, is_on_loopback) {
            (true, false) => return None,
            (true, true) => networks.to_owned(),
            (false, false) => zones.to_owned(),
            (false, true) => format!("{zones}{networks}"),
        };
        Some(format!("walls that are missing here:\n{missing}"))
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
        let root = summary(true).text();
        assert!(!root.contains("zones:") && root.contains("NET-1 to NET-5"), "{root}");
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

    fn summary(zones_enforced: bool) -> Summary {
        Summary {
            control_plane_url: "https://localhost:8443".into(),
            state_dir: "/s".into(),
            state_flag: " --state-dir /s".into(),
            ca_file: "/s/ca.pem".into(),
            token_file: "/s/operator.token".into(),
            public_url: "https://localhost:8443".into(),
            zones_enforced,
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
