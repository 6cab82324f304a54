//! Tenant networks: where each tenant lives, whether its walls hold, and the same policy for other platforms.

mod drift;
mod export;
mod probe;

use crate::client::{Call, Client, LIST_MAX};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Card, Output, Row, bytes, or_dash, yes_no};
use api::network::{NetworkState, NetworkView, TenantTraffic};
use terms::{TenantRef, Timestamp};

/// Shows tenant networks, proves their walls, and writes them for other platforms
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists tenant networks: who lives in which, on which host
    #[command(after_help = "Examples:\n  palisade network list\n  palisade network list -o json")]
    List {
        /// Most networks to list
        #[arg(long, default_value_t = LIST_MAX)]
        limit: u32,
    },
    /// Shows a tenant's network: addresses, quota, traffic, resources
    #[command(after_help = "Examples:\n  palisade network show acme\n  palisade network show acme -o json")]
    Show {
        /// The tenant's name or id
        #[arg(value_parser = crate::tenant::reference)]
        tenant: String,
    },
    Probe(probe::Options),
    /// Shows where hosts differ from what was declared
    #[command(after_help = "\
Examples:
  palisade network drift
  palisade network drift -o json

Exits with 8 while a host differs, has not compared itself yet, or is silent.")]
    Drift,
    Export(export::Options),
}

/// Runs a command about networks.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome<Exit> {
    match command {
        Command::List { limit } => output.list(&all(client, limit).await?)?,
        Command::Show { tenant } => output.one(&of_tenant(client, &tenant).await?)?,
        Command::Probe(options) => return probe::run(options, client, output).await,
        Command::Drift => return drift::run(client, output).await,
        Command::Export(options) => export::run(options, client, output).await?,
    }
    Ok(Exit::Success)
}

/// At most `limit` networks.
///
/// # Errors
/// [`Failure`].
async fn all(client: &Client, limit: u32) -> Outcome<Vec<NetworkView>> {
    client.list(Call::to("list_networks"), limit).await
}

/// The network where a tenant lives; if it lives in none, the one that it left last.
async fn of_tenant(client: &Client, tenant: &str) -> Outcome<NetworkView> {
    let mut networks = all(client, LIST_MAX).await?;
    networks.retain(|network| is_of(network, tenant));
    let latest =
        networks.into_iter().max_by_key(|network| (network.state == NetworkState::Held, network.since));
    latest.ok_or_else(|| {
        let cause = format!("`{tenant}` has no network of its own");
        let next = "palisade network drift shows each host's driver: with `loopback` there are none";
        Failure::new(Exit::NotFound, "not_found", cause, next)
    })
}

fn is_of(network: &NetworkView, tenant: &str) -> bool {
    match tenant.parse::<TenantRef>() {
        Ok(TenantRef::Id(id)) => network.tenant == Some(id),
        Ok(TenantRef::Name(name)) => network.tenant_name.as_ref() == Some(&name),
        Err(_) => false,
    }
}

/// A state in one word.
const fn state_text(state: NetworkState) -> &'static str {
    match state {
        NetworkState::Held => "held",
        NetworkState::Leaving => "leaving",
        NetworkState::Resting => "resting",
    }
}

/// Who lives or lived there.
fn resident(network: &NetworkView) -> String {
    let name = network.tenant_name.as_ref().map(ToString::to_string);
    or_dash(name.or_else(|| network.tenant.map(|id| id.to_string())))
}

impl Row for NetworkView {
    const COLUMNS: &'static [&'static str] =
        &["TENANT", "NETWORK", "DATA PLANE", "SIDECAR", "STATE", "LIVE", "SINCE", "NODE"];

    fn cells(&self) -> Vec<String> {
        vec![
            resident(self),
            self.network.clone(),
            self.data_plane.clone(),
            self.sidecar.clone(),
            state_text(self.state).to_owned(),
            yes_no(self.live),
            self.since.to_string(),
            self.node.to_string(),
        ]
    }
}

impl Card for NetworkView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let quota = &self.quota;
        let mut fields = vec![
            ("tenant", resident(self)),
            ("tenant id", or_dash(self.tenant)),
            ("node", self.node.to_string()),
            ("number", self.number.to_string()),
            ("network", self.network.clone()),
            ("data plane", self.data_plane.clone()),
            ("sidecar", self.sidecar.clone()),
            ("state", state_text(self.state).to_owned()),
            ("since", self.since.to_string()),
            ("live", yes_no(self.live)),
            ("memory", bytes(quota.memory_bytes)),
            (
                "processor",
                format!("{}.{:03} cores", quota.cpu_millicores / 1_000, quota.cpu_millicores % 1_000),
            ),
            ("processes", quota.pids.to_string()),
            ("connections", quota.connections.to_string()),
        ];
        if let Some(traffic) = &self.traffic {
            fields.push(("sent", flow(traffic.sent_bytes, traffic.sent_packets, traffic.since)));
            fields.push(("received", flow(traffic.received_bytes, traffic.received_packets, traffic.since)));
            fields.extend(processor_time(traffic));
        }
        fields.extend(self.resources.iter().map(|resource| {
            let tags = resource.tags.iter().map(|(key, value)| format!(" {key}={value}"));
            ("resource", format!("{} {}:{}", resource.kind, resource.name, tags.collect::<String>()))
        }));
        fields
    }
}

fn flow(count: u64, packets: u64, since: Timestamp) -> String {
    format!("{} in {packets} packets since {since}", bytes(count))
}

fn processor_time(traffic: &TenantTraffic) -> Option<(&'static str, String)> {
    let us = traffic.cpu_time_us?;
    Some(("processor time", format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1_000)))
}
