//! Networks and hosts as operators see them, and as metrics do.

use super::numbers::has_rested;
use super::{driver_of, kernel, place_of};
use crate::app::App;
use crate::body::Ask;
use crate::ctx::Ctx;
use crate::refusal::{Answer, Refusal};
use crate::tenant::page_of;
use api::network::{DriftReport, Driver, HostView, NetworkResource, NetworkState, NetworkView};
use api::page::{Page, PageQuery};
use axum::Json;
use network::{Addresses, Namespace, NetworkNumber};
use std::collections::BTreeMap;
use store::{DesiredNetworksRow, HostNetworksRow, NumberRow, NumberState, Reader, TenantState};
use terms::{Action, NodeId, Permit, Scope, Timestamp};
use wire::networks::Quota;

/// Lists tenant networks.
pub(crate) async fn list(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<NetworkView>>> {
    let permit = ctx.platform()?;
    let quarantine_ms = ctx.app.config.networks.quarantine_ms;
    let mut reader = ctx.app.store.read().await?;
    let (rows, next) = reader.placements().list_numbers(&permit, &page_of(page)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| !has_rested(row, quarantine_ms, ctx.now)) {
        items.push(network(&mut reader, &permit, row).await?);
    }
    Ok(Json(Page { items, next }))
}

/// Lists hosts.
pub(crate) async fn hosts(ctx: Ctx, Ask(page): Ask<PageQuery>) -> Answer<Json<Page<HostView>>> {
    let permit = ctx.platform()?;
    let mut reader = ctx.app.store.read().await?;
    let (nodes, next) = reader.nodes().list(&permit, &page_of(page)).await?;
    let mut items = Vec::with_capacity(nodes.len());
    for node in nodes {
        let reported = reader.networks().host(&permit, node.node.id).await?;
        let signed = reader.networks().desired(&permit, node.node.id).await?;
        items.push(host(node.node.id, reported, signed)?);
    }
    Ok(Json(Page { items, next }))
}

async fn network(reader: &mut Reader, permit: &Permit, row: &NumberRow) -> Answer<NetworkView> {
    let number = NetworkNumber::try_from(u32::from(row.number)).map_err(Refusal::internal)?;
    let held = row.state == NumberState::Held;
    let tenant = match row.tenant {
        Some(id) => Some(reader.tenants().load(permit, id).await?),
        None => None,
    };
    let traffic = match row.tenant {
        Some(id) if held => kernel::traffic(reader.networks().tallies(permit, id).await?, id)?,
        Some(_) | None => None,
    };
    let addresses = Addresses::of(number);
    Ok(NetworkView {
        node: row.node,
        number: row.number,
        network: addresses.network.to_string(),
        data_plane: addresses.data_plane.to_string(),
        sidecar: addresses.sidecar.to_string(),
        state: match row.state {
            NumberState::Held => NetworkState::Held,
            NumberState::Leaving => NetworkState::Leaving,
            NumberState::Resting => NetworkState::Resting,
        },
        since: row.since,
        live: held && tenant.as_ref().is_some_and(|tenant| tenant.state == TenantState::Active),
        quota: Quota::default(),
        traffic,
        resources: if row.state == NumberState::Resting { Vec::new() } else { resources(number) },
        tenant: row.tenant,
        tenant_name: tenant.map(|tenant| tenant.name),
    })
}

/// What a network is made of on its host.
fn resources(number: NetworkNumber) -> Vec<NetworkResource> {
    let namespace = Namespace::Tenant(number).name().unwrap_or_default();
    let tags = || BTreeMap::from([("restricted".to_owned(), "true".to_owned())]);
    [
        ("network", namespace.clone()),
        ("firewall", format!("{namespace}/{}", number.link())),
        ("nat_gateway", format!("{namespace}/{}", network::addresses::UPLINK)),
    ]
    .map(|(kind, name)| NetworkResource { kind: kind.to_owned(), name, tags: tags() })
    .into()
}

fn host(
    node: NodeId,
    reported: Option<HostNetworksRow>,
    signed: Option<DesiredNetworksRow>,
) -> Answer<HostView> {
    let desired = signed.map_or(0, |row| row.version);
    let Some(row) = reported else {
        let (driver, place, reported_at) = (None, None, None);
        let (drift, missing) = (DriftReport::default(), Vec::new());
        return Ok(HostView { node, driver, place, desired, applied: 0, reported_at, drift, missing });
    };
    let driver = driver_of(&row.driver);
    Ok(HostView {
        node,
        driver,
        place: place_of(&row.place),
        // What is signed for a host that gave its networks up is nothing that it should have.
        desired: if driver == Some(Driver::Linux) { desired } else { 0 },
        applied: row.applied,
        reported_at: Some(row.reported_at),
        drift: serde_json::from_str(&row.drift).map_err(Refusal::internal)?,
        missing: serde_json::from_str(&row.missing).map_err(Refusal::internal)?,
    })
}

/// Sets the metrics of one host, and whether every host keeps its tenants apart.
pub(super) async fn measure(app: &App, node: NodeId, now: Timestamp) -> Answer<()> {
    let permit = app.own_permit(Action::ReadNetwork, Scope::Platform)?;
    let mut reader = app.store.read().await?;
    let Some(row) = reader.networks().host(&permit, node).await? else { return Ok(()) };
    let drift: DriftReport = serde_json::from_str(&row.drift).map_err(Refusal::internal)?;
    let signed = reader.networks().desired(&permit, node).await?;
    let behind =
        signed.filter(|signed| driver_of(&row.driver) == Some(Driver::Linux) && signed.version > row.applied);
    let behind_ms = behind.map_or(0, |signed| now.ms_since(signed.issued_at).max(0));
    app.metrics.host_networks(node, [drift.open.len() as u64, drift.found, drift.repaired], behind_ms);
    let nodes = reader.nodes().all(&permit).await?;
    let all = nodes.iter().all(|node| node.driver.as_deref().and_then(driver_of) == Some(Driver::Linux));
    app.metrics.wall("networks", all && !nodes.is_empty());
    Ok(())
}
