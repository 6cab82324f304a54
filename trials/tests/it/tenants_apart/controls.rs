//! The live checks of tenant networks: green on a sound host, each red once somebody made a hole for it.

use super::home::{Apart, SOON, on_stack};
use host::network::keeper::{Keeper, Place};
use host::network::{NewRoute, Snapshot};
use network::addresses::UPLINK_ROUTER;
use serde_json::Value;
use std::net::IpAddr;
use trials::wait_until;

const CONTROLS: [&str; 6] = ["NET-1", "NET-2", "NET-3", "NET-4", "NET-5", "NET-8"];

/// The router's filters and the floor behind them, all open: what a keeper would load for a node that was taken over.
const OPEN_ROUTER: &str = "\
flush chain inet palisade prerouting
flush chain inet palisade forward
flush chain inet palisade input
flush chain inet palisade output
flush chain inet palisade_floor forward
add rule inet palisade forward accept
add rule inet palisade input accept
add rule inet palisade output accept
add rule inet palisade_floor forward accept
";

/// The same of the host.
const OPEN_HOST: &str = "\
flush chain inet palisade forward
flush chain inet palisade input
flush chain inet palisade_floor forward
add rule inet palisade_floor forward accept
";

#[tokio::test(flavor = "multi_thread")]
async fn each_check_of_tenant_networks_is_green_on_a_sound_host_and_red_when_its_wall_is_open() {
    let Some(apart) = Apart::up("networks: live checks").await else { return };
    apart.found("acme").await;
    let is_green = async || all_are(&apart, "pass");
    assert!(wait_until(SOON, is_green).await, "{:#?}", findings(&apart));

    only_report(&apart).await;
    let keeper = Keeper::attach(apart.site.state().join("node/keeper.sock")).await.unwrap().unwrap();
    keeper.load(Place::Router, OPEN_ROUTER.to_owned()).await.unwrap();
    keeper.load(Place::Host, OPEN_HOST.to_owned()).await.unwrap();
    lead_strangers_in(&apart);
    let is_red = async || all_are(&apart, "fail");
    assert!(wait_until(SOON, is_red).await, "{:#?}", findings(&apart));
    apart.end().await;
}

/// Has the node tell of drift and leave it as it is.
async fn only_report(apart: &Apart) {
    let config = apart.site.state().join("node/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\ndriver = \"linux\"", "\ndriver = \"linux\"\ndrift = \"report\""))
        .unwrap();
    apart.site.kill_and_wait_for_another("palisade-node").await.unwrap();
    let runs = async || {
        let planes = apart.site.palisade(&["data-plane", "list", "-o", "json"]).output().unwrap();
        let planes: Value = serde_json::from_slice(&planes.stdout).unwrap_or_default();
        planes.as_array().is_some_and(|planes| planes.len() == 2)
            && apart.site.run(&["network", "probe"]).is_ok()
    };
    assert!(wait_until(SOON, runs).await, "{}", apart.site.said());
}

/// Gives the host routes to tenants that it should not have.
fn lead_strangers_in(apart: &Apart) {
    let host = apart.site.machine().unwrap().namespace().clone();
    let via = Some(IpAddr::V4(UPLINK_ROUTER));
    on_stack(&host, |stack| {
        for network in ["10.101.0.0/16", "10.102.0.0/16"] {
            let link = "palisade".parse().unwrap();
            stack.add_route(&NewRoute { destination: network.parse().unwrap(), via, link })?;
        }
        stack.snapshot().map(|_: Snapshot| ())
    });
}

/// Whether each check comes to `outcome`.
fn all_are(apart: &Apart, outcome: &str) -> bool {
    let findings = findings(apart);
    findings.len() == CONTROLS.len() && findings.iter().all(|finding| finding["outcome"] == outcome)
}

/// What the checks of tenant networks find now.
fn findings(apart: &Apart) -> Vec<Value> {
    let said = apart.site.palisade(&["assure", "run", "-o", "json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    let all = said["findings"].as_array().or(said.as_array()).cloned().unwrap_or_default();
    let is_ours = |finding: &Value| finding["control"].as_str().is_some_and(|id| CONTROLS.contains(&id));
    all.into_iter().filter(is_ours).collect()
}
