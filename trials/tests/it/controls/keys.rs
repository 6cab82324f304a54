//! The key that signs plans, swapped for one that nobody serves.

use super::intruder::Intruder;
use super::{expect_green, expect_red};
use crate::shared::sample;
use anyhow::{Context as _, Result, ensure};
use notary::PlanSigner;
use store::SigningKeyRow;
use trials::{Options, Site};

#[tokio::test(flavor = "multi_thread")]
async fn plans_signed_with_a_key_that_nobody_serves_turn_their_checks_red() -> Result<()> {
    let mut site = Site::up(at_one_port()?).await?;
    let api = site.api()?;
    api.create_tenant("acme").await?;
    api.apply("acme", &sample("orders.yaml")).await?;
    let started = api.start("acme", "orders", &sample("orders.json"), "once").await?;
    let ended = api.ended("acme", started.id, 25_000).await?;
    ensure!(ended.state.as_str() == "completed", "{}", ended.state.as_str());
    for control in ["PLAN-1", "PLAN-2"] {
        expect_green(&site, control, "its own key").await?;
    }
    site.stop().await?;
    swap_signing_key(&site).await?;
    site.again().await?;
    // The plans of before were signed with the right key. This one is refused where it is sent to.
    site.api()?.start("acme", "orders", &sample("orders.json"), "under the other key").await?;
    let why = "another private key behind the served one";
    expect_red(&site, "PLAN-1", &["signature verifies"], why).await?;
    expect_red(&site, "PLAN-2", &["active key served"], why).await?;
    Ok(())
}

/// The same port for both runs: tokens name the one of the first as their issuer.
fn at_one_port() -> Result<Options> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let arguments = ["--data-plane-port", "0", "--control-plane-addr", &format!("127.0.0.1:{port}")];
    let arguments = arguments.map(str::to_owned).to_vec();
    Ok(Options { demo: false, any_port: false, arguments, ..Options::default() })
}

async fn swap_signing_key(site: &Site) -> Result<()> {
    let intruder = Intruder::into(site)?;
    let store = intruder.store().await?;
    let row = store.read().await?.signing_keys().list().await?.pop().context("a key")?;
    intruder.run("DELETE FROM signing_keys")?;
    let (_, private) = PlanSigner::generate()?;
    let swapped = SigningKeyRow { private, ..row };
    store.write(move |tx| Box::pin(async move { tx.signing_keys().insert(&swapped).await })).await?;
    store.close().await;
    Ok(())
}
