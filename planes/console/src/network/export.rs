//! `network export`: the same policy for platforms that bring their own networks.

use super::all;
use crate::client::{Call, Client, LIST_MAX};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format as OutputFormat, Output};
use api::network::{NetworkState, NetworkView};
use api::tenant::{TenantState, TenantView};
use host::files::{self, Owner};
use network::{CONNECTIONS_DEFAULT, ControlPlane, Desired, NetworkNumber, TenantNetwork, Uplink, export};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use terms::TenantId;

/// For which platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Platform {
    /// Namespaces and NetworkPolicies
    Kubernetes,
    /// The same policies for Cilium, which can refuse the nodes too; the namespaces are those of `kubernetes`
    Cilium,
    /// VPCs, NAT gateways, security groups and network ACLs of AWS
    Terraform,
}

/// Writes the same policy for other platforms, for the tenants there are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade network export --format kubernetes | kubectl apply --dry-run=server -f -
  palisade network export --format cilium --folder manifests
  palisade network export --format terraform --folder infrastructure

A tenant keeps the number of its network; one without a network gets the lowest that is free, in
order of age. Suspended tenants get networks that let nothing through.")]
pub(crate) struct Options {
    /// The platform
    #[arg(long, value_enum)]
    format: Platform,
    /// Writes a file in this folder, which is made if it is not there; to stdout if absent
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Writes it.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome {
    let tenants: Vec<TenantView> = client.list(Call::to("list_tenants"), LIST_MAX).await?;
    let networks = all(client, LIST_MAX).await?;
    let desired = desired(&tenants, &networks)?;
    let (name, text) = match options.format {
        Platform::Kubernetes => ("palisade-networks.yaml", export::kubernetes(&desired)),
        Platform::Cilium => ("palisade-networks.cilium.yaml", export::cilium(&desired)),
        Platform::Terraform => ("palisade-networks.tf.json", export::terraform(&desired)),
    };
    let Some(folder) = options.folder else {
        return output.text(&text);
    };
    let file = write(&folder, name, &text)?;
    match output.format() {
        OutputFormat::Table => {
            output.text(&format!("{} tenants in {}\n", desired.tenants().len(), file.display()))
        }
        OutputFormat::Json => {
            output.json(&serde_json::json!({ "file": file, "tenants": desired.tenants().len() }))
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Outcome<PathBuf> {
    const NEXT: &str = "name a folder that you may write to: --folder DIR";
    if !folder.is_dir() {
        files::create_dir(folder, 0o755, Owner::This).map_err(|error| Failure::of_file(&error, NEXT))?;
    }
    let file = folder.join(name);
    // It holds no secret, and others are to review it.
    files::write_atomically(&file, text.as_bytes(), 0o644, Owner::This)
        .map_err(|error| Failure::of_file(&error, NEXT))?;
    Ok(file)
}

/// The networks of all tenants as one host would have them, with the control plane beside them.
fn desired(tenants: &[TenantView], networks: &[NetworkView]) -> Outcome<Desired> {
    let mut living: Vec<&TenantView> =
        tenants.iter().filter(|tenant| tenant.state != TenantState::Deleting).collect();
    living.sort_by_key(|tenant| (tenant.created_at, tenant.id));
    let held: BTreeMap<TenantId, &NetworkView> = networks
        .iter()
        .filter(|network| network.state == NetworkState::Held)
        .filter_map(|network| Some((network.tenant?, network)))
        .collect();
    let numbers = numbers(&living, &held)?;
    let mut all: Vec<TenantNetwork> = living
        .into_iter()
        .zip(numbers)
        .map(|(tenant, number)| TenantNetwork {
            tenant: tenant.id,
            number,
            live: tenant.state == TenantState::Active,
            connections_max: held.get(&tenant.id).map_or(CONNECTIONS_DEFAULT, |held| held.quota.connections),
        })
        .collect();
    all.sort_by_key(|tenant| tenant.number);
    let beside = ControlPlane::Here { published: None, reach: Vec::new() };
    Desired::new(0, beside, Uplink::default(), all, &[]).map_err(|error| {
        let next = "check that the control plane is of the same release as this command";
        Failure::new(Exit::Failure, "answer_malformed", error.to_string(), next)
    })
}

/// A number for each tenant, oldest first: that of its network if nobody older has it, else the lowest that no
/// network has.
fn numbers(living: &[&TenantView], held: &BTreeMap<TenantId, &NetworkView>) -> Outcome<Vec<NetworkNumber>> {
    let own = |tenant: &TenantView| NetworkNumber::try_from(u32::from(held.get(&tenant.id)?.number)).ok();
    let mut free: BTreeSet<NetworkNumber> = NetworkNumber::all().collect();
    let kept: Vec<Option<NetworkNumber>> =
        living.iter().map(|tenant| own(tenant).filter(|number| free.remove(number))).collect();
    let numbered = kept.into_iter().map(|kept| kept.or_else(|| free.pop_first()));
    numbered.collect::<Option<_>>().ok_or_else(|| {
        let (count, max) = (living.len(), NetworkNumber::MAX);
        let cause = format!("{count} tenants are more than the {max} networks that one address plan holds");
        let next =
            "export each control plane by itself; one that serves more tenants spreads them over hosts";
        Failure::new(Exit::Failure, "too_many_tenants", cause, next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::{NodeId, Timestamp};
    use wire::networks::Quota;

    #[test]
    fn tenants_keep_their_numbers_and_the_others_get_what_is_free() {
        let tenants = [tenant(3, 30), tenant(1, 10), tenant(2, 20), tenant(4, 40)];
        // 2 has the number 7; 4, which lives on another host, the same; 3 left the one that it had.
        let networks = [network(2, 7), network(4, 7), left(network(3, 9))];
        let desired = desired(&tenants, &networks).unwrap();
        let found: Vec<(u8, TenantId)> =
            desired.tenants().iter().map(|tenant| (tenant.number.value(), tenant.tenant)).collect();
        assert_eq!(found, [(1, id(1)), (2, id(3)), (3, id(4)), (7, id(2))]);
    }

    #[test]
    fn only_active_tenants_are_live_and_deleted_ones_are_left_out() {
        let suspended = TenantView { state: TenantState::Suspended, ..tenant(2, 20) };
        let deleting = TenantView { state: TenantState::Deleting, ..tenant(3, 30) };
        let desired = desired(&[tenant(1, 10), suspended, deleting], &[]).unwrap();
        let live: Vec<bool> = desired.tenants().iter().map(|tenant| tenant.live).collect();
        assert_eq!(live, [true, false]);
    }

    #[test]
    fn more_tenants_than_networks_is_an_error() {
        let many: Vec<TenantView> = (0..=155).map(|n| tenant(n, i64::from(n))).collect();
        assert_eq!(desired(&many, &[]).unwrap_err().code, "too_many_tenants");
        assert!(desired(&many[1..], &[]).is_ok());
    }

    fn tenant(n: u8, created_s: i64) -> TenantView {
        TenantView {
            id: id(n),
            name: format!("t{n}").parse().unwrap(),
            state: TenantState::Active,
            created_at: Timestamp::from_unix_s(created_s),
            updated_at: Timestamp::EPOCH,
        }
    }

    fn network(of: u8, number: u8) -> NetworkView {
        NetworkView {
            tenant: Some(id(of)),
            tenant_name: None,
            node: NodeId::from_bytes([of; 16]),
            number,
            network: String::new(),
            data_plane: String::new(),
            sidecar: String::new(),
            state: NetworkState::Held,
            since: Timestamp::EPOCH,
            live: true,
            quota: Quota::default(),
            traffic: None,
            resources: vec![],
        }
    }

    fn left(network: NetworkView) -> NetworkView {
        NetworkView { state: NetworkState::Leaving, ..network }
    }

    fn id(n: u8) -> TenantId {
        TenantId::from_bytes([n; 16])
    }
}
