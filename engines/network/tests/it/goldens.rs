//! What is written for others to read: held against what was read before.

use crate::world::{elsewhere, here};
use network::{export, ruleset};

#[test]
fn tables_read_as_they_did() {
    hold("router-here.nft", &ruleset::write(&here(3)).to_nft());
    hold("router-elsewhere.nft", &ruleset::write(&elsewhere(3)).to_nft());
    hold("host-here.nft", &ruleset::write_host(&here(3)).to_nft());
    hold("host-elsewhere.nft", &ruleset::write_host(&elsewhere(3)).to_nft());
}

#[test]
fn exports_read_as_they_did() {
    hold("kubernetes-here.yaml", &export::kubernetes(&here(3)));
    hold("kubernetes-elsewhere.yaml", &export::kubernetes(&elsewhere(3)));
    hold("cilium-here.yaml", &export::cilium(&here(3)));
    hold("cilium-elsewhere.yaml", &export::cilium(&elsewhere(3)));
    hold("terraform-here.tf.json", &export::terraform(&here(3)));
    hold("terraform-elsewhere.tf.json", &export::terraform(&elsewhere(3)));
}

#[expect(clippy::disallowed_methods, reason = "UPDATE_GOLDENS=1 writes the goldens anew")]
fn hold(name: &str, written: &str) {
    let path = format!("{}/tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == written,
        "{name} is stale: UPDATE_GOLDENS=1 cargo test -p network, then tests/vectors/make.sh"
    );
}
