//! What a host should have: worked out from the rows, signed when it differs from what was signed last.

use crate::app::App;
use crate::ctx::Ctx;
use crate::node;
use crate::refusal::{Answer, Refusal};
use api::network::{Driver, Place};
use api::{Code, Problem};
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use network::NetworkNumber;
use notary::PlanSigner;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use store::{DesiredNetworksRow, Forwarded, TenantState, WantedNetworks};
use terms::{Action, Digest, NodeId, Permit, Scope, Timestamp};
use wire::networks::{HostNetworks, Quota, TenantNetwork};

/// Most forwarded ports of other hosts that one host is told of: what a host's rules hold, with room for what its
/// own configuration adds.
const ELSEWHERE_MAX: u32 = 4_000;

/// Gives the calling node what its host has to have.
pub(crate) async fn show(ctx: Ctx) -> Answer<impl IntoResponse> {
    ctx.platform()?;
    let node = node::caller(&ctx).await?;
    let row = current(&ctx.app, node.id, ctx.now).await?;
    let none =
        || Problem::new(Code::NotFound).detail("this host has reported no networks: report them first");
    let row = row.ok_or_else(none)?;
    Ok(([(CONTENT_TYPE, "application/json")], row.envelope))
}

/// The version that a node's host should have; none for a host without networks.
pub(crate) async fn version(app: &Arc<App>, node: NodeId, now: Timestamp) -> Answer<Option<u64>> {
    Ok(current(app, node, now).await?.map(|row| row.version))
}

/// What a node's host should have now, signed by the key that is active now.
async fn current(app: &Arc<App>, node: NodeId, now: Timestamp) -> Answer<Option<DesiredNetworksRow>> {
    let permit = app.own_permit(Action::ReadNetwork, Scope::Platform)?;
    let signer = app.signers.active().ok_or_else(no_key)?;
    let Some(wanted) = app.store.read().await?.networks().wanted(&permit, node, ELSEWHERE_MAX).await? else {
        return Ok(None);
    };
    if !is_linux(&wanted) {
        return Ok(None);
    }
    let draft = Draft::of(app, node, &wanted)?;
    if let Some(signed) = draft.still_signed(&wanted, &signer) {
        return Ok(Some(signed));
    }
    let app_there = Arc::clone(app);
    app.store
        .write(move |tx| Box::pin(async move { sign(&app_there, tx, &permit, node, &signer, now).await }))
        .await
        .map_err(Into::into)
}

/// Signs anew, unless another request has just done so.
async fn sign(
    app: &App,
    tx: &mut store::Tx,
    permit: &Permit,
    node: NodeId,
    signer: &PlanSigner,
    now: Timestamp,
) -> Answer<Option<DesiredNetworksRow>> {
    let Some(wanted) = tx.networks().wanted(permit, node, ELSEWHERE_MAX).await?.filter(is_linux) else {
        return Ok(None);
    };
    let draft = Draft::of(app, node, &wanted)?;
    if let Some(signed) = draft.still_signed(&wanted, signer) {
        return Ok(Some(signed));
    }
    let row = draft.signed(&wanted, signer, now)?;
    tx.networks().put_desired(permit, &row).await?;
    Ok(Some(row))
}

/// What a host should have, version and time aside.
struct Draft {
    networks: HostNetworks,
    digest: Digest,
}

impl Draft {
    fn of(app: &App, node: NodeId, wanted: &WantedNetworks) -> Answer<Self> {
        let networks = HostNetworks {
            node,
            issuer: app.config.public_url.clone(),
            version: 0,
            issued_at: Timestamp::EPOCH,
            control_addresses: app.config.control_addresses(),
            data_planes_elsewhere: elsewhere(wanted)?,
            tenants: tenants(wanted),
        };
        let digest = Digest::sha256(&networks.write().map_err(Refusal::internal)?);
        Ok(Self { networks, digest })
    }

    /// What was signed last, if it says the same, under the key that signs now, and its host has no later one.
    fn still_signed(&self, wanted: &WantedNetworks, signer: &PlanSigner) -> Option<DesiredNetworksRow> {
        let same = |row: &&DesiredNetworksRow| {
            row.content_digest == self.digest
                && row.kid == *signer.kid()
                && row.version >= wanted.host.applied
        };
        wanted.signed.as_ref().filter(same).cloned()
    }

    fn signed(
        mut self,
        wanted: &WantedNetworks,
        signer: &PlanSigner,
        now: Timestamp,
    ) -> Answer<DesiredNetworksRow> {
        let last = wanted.signed.as_ref().map_or(0, |row| row.version).max(wanted.host.applied);
        let version = next_version(last, now);
        self.networks.version = version;
        self.networks.issued_at = now;
        let envelope = signer.sign_networks(&self.networks).map_err(Refusal::internal)?;
        let (content_digest, kid) = (self.digest, signer.kid().clone());
        Ok(DesiredNetworksRow {
            node: self.networks.node,
            version,
            content_digest,
            kid,
            envelope,
            issued_at: now,
        })
    }
}

/// Higher than the last one, and than any that was given before a backup of now was made: a database that is put back
/// cannot get stuck behind what its hosts have.
fn next_version(last: u64, now: Timestamp) -> u64 {
    last.saturating_add(1).max(now.unix_ms_unsigned())
}

fn is_linux(wanted: &WantedNetworks) -> bool {
    super::driver_of(&wanted.host.driver) == Some(Driver::Linux)
}

/// The tenants by number; one without a number has no network yet.
fn tenants(wanted: &WantedNetworks) -> Vec<TenantNetwork> {
    let network = |placed: &store::Placed| {
        Some(TenantNetwork {
            tenant: placed.tenant.id,
            number: placed.number?,
            live: placed.tenant.state == TenantState::Active,
            quota: Quota::default(),
        })
    };
    let mut tenants: Vec<TenantNetwork> = wanted.tenants.iter().filter_map(network).collect();
    tenants.sort_by_key(|tenant| tenant.number);
    tenants
}

/// The forwarded ports of other hosts, for the host that runs the control plane.
fn elsewhere(wanted: &WantedNetworks) -> Answer<Vec<SocketAddrV4>> {
    if super::place_of(&wanted.host.place) != Some(Place::Here) {
        return Ok(Vec::new());
    }
    if wanted.forwarded.len() >= ELSEWHERE_MAX as usize {
        tracing::error!(max = ELSEWHERE_MAX, "more tenants on other hosts than this host's rules hold");
    }
    let endpoint = |forwarded: &Forwarded| {
        let number = NetworkNumber::try_from(u32::from(forwarded.number)).map_err(Refusal::internal)?;
        Ok(SocketAddrV4::new(forwarded.address, number.forwarded_port()))
    };
    let mut endpoints = wanted.forwarded.iter().map(endpoint).collect::<Answer<Vec<_>>>()?;
    endpoints.sort_unstable();
    endpoints.dedup();
    Ok(endpoints)
}

fn no_key() -> Refusal {
    Problem::new(Code::Unavailable).detail("no signing key is active").retry_after(1).into()
}

/// The addresses at which hosts elsewhere reach a control plane with this URL: the one that stands in it.
pub(crate) fn addresses_in(url: &str) -> Vec<Ipv4Addr> {
    let authority = url.strip_prefix("https://").unwrap_or_default();
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    let address: Option<Ipv4Addr> = host.parse().ok();
    address.filter(|address| !address.is_loopback() && !address.is_unspecified()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_rises_whatever_the_clock_says_and_overtakes_a_database_that_was_put_back() {
        let at = |ms| Timestamp::from_unix_ms(ms);
        assert_eq!(next_version(0, at(1_000)), 1_000);
        assert_eq!(next_version(1_000, at(1_000)), 1_001);
        assert_eq!(next_version(9_000, at(1_000)), 9_001, "the clock was set back");
        assert_eq!(next_version(1_000, at(9_000)), 9_000, "the database was put back");
        assert_eq!(next_version(5, at(-1)), 6);
    }

    #[test]
    fn only_an_address_that_others_can_reach_is_taken_from_the_public_url() {
        let rows = [
            ("https://192.0.2.7", Some([192, 0, 2, 7])),
            ("https://192.0.2.7:8443", Some([192, 0, 2, 7])),
            ("https://127.0.0.1:8443", None),
            ("https://0.0.0.0", None),
            ("https://localhost:8443", None),
            ("https://[2001:db8::7]:8443", None),
        ];
        for (url, address) in rows {
            assert_eq!(
                addresses_in(url),
                address.map(Ipv4Addr::from).into_iter().collect::<Vec<_>>(),
                "{url}"
            );
        }
    }
}
