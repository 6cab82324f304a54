//! Plan-signing keys: rotated under load (PLAN-2).

use super::SOON;
use api::execution::{ExecutionState, ExecutionView};
use api::key::Keys;
use std::collections::BTreeSet;
use std::io::Write as _;
use terms::ExecutionId;
use trials::{Api, Options, Site, wait_until};
use wire::jwks::Jwks;

/// Most keys that are served at once.
const KEYS_MAX: usize = 4;

/// Executions that are started before each rotation and again while it is under way.
const LOAD: usize = 8;

#[tokio::test]
async fn no_execution_fails_while_keys_rotate_by_command() {
    let site = Site::up(Options::default()).await.unwrap();
    publish_for_a_second(&site).await;
    let api = site.api().unwrap();
    api.apply("demo", &super::document("short", &["pause: { wait: { milliseconds: 300 } }"])).await.unwrap();
    let mut signers = BTreeSet::from([active(&api).await]);
    let mut started = Vec::new();

    for rotation in 1..KEYS_MAX {
        started.extend(load(&api, &format!("before-{rotation}")).await);
        site.run(&["keys", "rotate"]).unwrap();
        started.extend(load(&api, &format!("while-{rotation}")).await);
        let signs = async || !signers.contains(&active(&api).await);
        assert!(wait_until(SOON, signs).await, "the new key does not sign");
        signers.insert(active(&api).await);
        assert_eq!(served(&api).await, signers, "a key is not served that may have to verify");
    }
    started.extend(load(&api, "after").await);

    let full = site.palisade(&["keys", "rotate"]).output().unwrap();
    let said = String::from_utf8(full.stderr).unwrap();
    assert!(full.status.code() == Some(1) && said.contains("error[rotation_under_way]"), "{said}");
    assert_eq!(served(&api).await.len(), KEYS_MAX);
    for id in started {
        let ended = api.end_of("demo", id).await.unwrap();
        assert_eq!(ended.state, ExecutionState::Completed, "{ended:?}");
    }
    let executions: Vec<ExecutionView> = api.all("/v1/tenants/demo/executions").await.unwrap();
    assert_eq!(executions.len(), 1 + LOAD * (2 * (KEYS_MAX - 1) + 1), "one was started twice");
}

/// A new key signs after a second instead of five minutes, from the control plane's next start on.
async fn publish_for_a_second(site: &Site) {
    let config = site.state().join("control/config.toml");
    let mut config = std::fs::File::options().append(true).open(config).unwrap();
    config.write_all(b"\n[keys]\npublish_s = 1\n").unwrap();
    site.kill_and_wait_for_another("palisade-control").await.unwrap();
    let api = site.api().unwrap();
    assert!(wait_until(SOON, async || api.get::<Keys>("/v1/keys").await.is_ok()).await, "{}", site.said());
}

async fn load(api: &Api, key: &str) -> Vec<ExecutionId> {
    let mut started = Vec::new();
    for n in 0..LOAD {
        started.push(api.start("demo", "short", "{}", &format!("{key}-{n}")).await.unwrap().id);
    }
    started
}

async fn active(api: &Api) -> String {
    let keys: Keys = api.get("/v1/keys").await.unwrap();
    let mut active = keys.keys.into_iter().filter(|key| key.state == "active");
    let key = active.next().unwrap();
    assert_eq!(active.next(), None, "two keys sign");
    key.kid.to_string()
}

/// The ids in the published set.
async fn served(api: &Api) -> BTreeSet<String> {
    let jwks: Jwks = api.get(wire::jwks::PATH).await.unwrap();
    let ids: BTreeSet<String> = jwks.keys.iter().map(|key| key.kid.to_string()).collect();
    assert_eq!(ids.len(), jwks.keys.len(), "a key is served twice");
    ids
}
