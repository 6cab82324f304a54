//! Numbers over time: all in use, left, gone, resting, free again; and documents under a new key.

use super::denied;
use super::fleet::{Fleet, Host, QUARANTINE_S};
use anyhow::Result;
use api::key::Keys;
use api::network::{NetworkState, Place, ReportNetworks};
use std::time::Duration;
use trials::wait_until;
use wire::networks::TENANTS_MAX;

#[tokio::test]
async fn the_156th_tenant_of_the_only_host_is_refused_and_a_number_rests_before_it_is_free() -> Result<()> {
    let Some(mut fleet) = Fleet::with_clock().await? else { return Ok(()) };
    let host = fleet.linux("host").await?;
    for n in 1..=TENANTS_MAX {
        fleet.tenant(&format!("t{n}")).await?;
    }
    assert_eq!(fleet.desired(&host).await?.tenants.len(), TENANTS_MAX);
    let (refused, detail) = fleet.refused("one-more").await?;
    assert_eq!(refused, denied(409, "host_full"));
    assert!(detail.contains("155"), "{detail}");

    let number = number_of(&fleet, &host, "t77").await?;
    fleet.delete("t77").await?;
    assert_eq!(fleet.desired(&host).await?.tenants.len(), TENANTS_MAX - 1);
    assert_eq!(state_of(&fleet, number).await?, Some((NetworkState::Leaving, false)));
    // Its network may still stand: no time makes the number free.
    let (refused, detail) = fleet.refused("one-more").await?;
    assert_eq!(refused, denied(409, "all_networks_resting"));
    assert!(detail.contains("proven gone"), "{detail}");
    let left_for = QUARANTINE_S + 60;
    fleet.set_clock(left_for)?;
    host.report(host.linux(Place::Here)).await?;
    assert_eq!(fleet.refused("one-more").await?.0, denied(409, "all_networks_resting"));
    let applied = fleet.desired(&host).await?.version;
    let gone = |applied| ReportNetworks { gone: vec![number], applied, ..host.linux(Place::Here) };
    host.report(gone(applied - 1)).await?;
    assert_eq!(
        state_of(&fleet, number).await?,
        Some((NetworkState::Leaving, false)),
        "by an earlier document"
    );

    host.report(gone(applied)).await?;
    host.report(gone(applied)).await?;
    assert_eq!(state_of(&fleet, number).await?, Some((NetworkState::Resting, false)));
    assert_eq!(fleet.refused("one-more").await?.0, denied(409, "all_networks_resting"));
    fleet.set_clock(left_for + QUARANTINE_S - 60)?;
    host.report(gone(applied)).await?;
    assert_eq!(fleet.refused("one-more").await?.0, denied(409, "all_networks_resting"));

    fleet.set_clock(left_for + QUARANTINE_S + 60)?;
    host.report(host.linux(Place::Here)).await?;
    assert_eq!(state_of(&fleet, number).await?, None);
    fleet.tenant("one-more").await?;
    assert_eq!(number_of(&fleet, &host, "one-more").await?, number);
    assert_eq!(fleet.refused("and-another").await?.0, denied(409, "host_full"));

    // A second host takes what the first has no room for.
    let second = fleet.host("second").await?;
    second.report(second.linux(Place::Elsewhere)).await?;
    let next = fleet.tenant("and-another").await?;
    assert_eq!(second.tenants().await?, [next]);
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_not_heard_of_gets_nobody_until_it_asks() -> Result<()> {
    let Some(mut fleet) = Fleet::with_clock().await? else { return Ok(()) };
    let (silent, heard) = (fleet.linux("silent").await?, fleet.linux("heard").await?);
    fleet.set_clock(600)?;
    heard.poll().await?;
    let tenants = [fleet.tenant("a").await?, fleet.tenant("b").await?];
    assert_eq!(heard.tenants().await?, tenants);
    assert_eq!(silent.tenants().await?, []);
    assert_eq!(silent.tenants().await?, [], "it does not take from others");
    let third = fleet.tenant("c").await?;
    assert_eq!(silent.tenants().await?, [third], "it was heard of");
    Ok(())
}

#[tokio::test]
async fn a_new_key_signs_what_hosts_should_have_anew() -> Result<()> {
    let Some(mut fleet) = Fleet::with_clock().await? else { return Ok(()) };
    let host = fleet.linux("host").await?;
    fleet.tenant("demo").await?;
    let (before, kid) = (fleet.desired(&host).await?, kid_of(&host).await?);
    let _rotating: Keys = fleet.api.post("/v1/keys/rotate", &()).await?;
    assert_eq!((fleet.desired(&host).await?, kid_of(&host).await?), (before.clone(), kid.clone()));
    // The new key signs once every verifier can know it.
    fleet.set_clock(360)?;
    let signs_anew = async || kid_of(&host).await.is_ok_and(|now| now != kid);
    assert!(wait_until(Duration::from_secs(60), signs_anew).await, "the old key still signs");
    let after = fleet.desired(&host).await?;
    assert!(after.version > before.version);
    assert_eq!(after.tenants, before.tenants);
    Ok(())
}

async fn kid_of(host: &Host) -> Result<String> {
    let envelope: wire::dsse::Envelope = host.get("/v1/networks/desired").await?;
    Ok(envelope.signatures[0].keyid.clone())
}

async fn number_of(fleet: &Fleet, host: &Host, name: &str) -> Result<u8> {
    let tenant: api::tenant::TenantView = fleet.api.get(&format!("/v1/tenants/{name}")).await?;
    let told = fleet.desired(host).await?;
    Ok(told.tenants.iter().find(|network| network.tenant == tenant.id).unwrap().number)
}

/// What a number is, and whether it still says whose it was.
async fn state_of(fleet: &Fleet, number: u8) -> Result<Option<(NetworkState, bool)>> {
    let networks = fleet.networks().await?;
    let found = networks.into_iter().find(|network| network.number == number);
    Ok(found.map(|network| (network.state, network.tenant.is_some())))
}
