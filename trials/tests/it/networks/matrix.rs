//! The whole matrix: what the policy says, and what becomes of it when the rules are open.

use super::probing::{ANSWERED, Owners, SILENT, arrivals, can_pass, listen, passed};
use super::world::World;
use super::{CONTROL, desired, here, opened, probes};
use network::{ControlPlane, Desired, Expected, Probe, ruleset};
use std::collections::BTreeSet;

#[tokio::test]
async fn with_the_control_plane_here_the_kernel_does_what_the_policy_says_and_open_rules_let_all_through() {
    matrix_holds("networks: the matrix, control plane here", here(&[1, 3])).await;
}

#[tokio::test]
async fn with_the_control_plane_elsewhere_the_kernel_does_what_the_policy_says_and_open_rules_let_all_through()
 {
    let elsewhere = ControlPlane::Elsewhere { addresses: vec![CONTROL] };
    matrix_holds("networks: the matrix, control plane elsewhere", desired(elsewhere, &[1, 3])).await;
}

async fn matrix_holds(trial: &str, desired: Desired) {
    let Some(world) = World::build(trial, desired).await else { return };
    let probes = probes(&world);
    world.decoys(Owners::of(&world).beyond(&probes));
    world.lead_strangers_in();
    let listeners = listen(&world, &probes, None).await;
    let is_allowed = |probe: &&Probe| probe.expected == Expected::Allowed;
    let (allowed, denied): (Vec<_>, Vec<_>) = probes.iter().cloned().partition(|probe| is_allowed(&probe));
    assert!(allowed.len() >= 8 && denied.len() > 1_000, "{} and {}", allowed.len(), denied.len());

    assert_eq!(missing(&allowed, &passed(&world, &allowed, ANSWERED).await), []);
    let before = arrivals(&listeners);
    assert_eq!(passed(&world, &denied, SILENT).await, BTreeSet::new());
    assert_eq!(arrivals(&listeners), before, "no answer came back, but something arrived");

    world.load(&opened(ruleset::write(&world.desired)), &opened(ruleset::write_host(&world.desired))).await;
    let (can, cannot): (Vec<_>, Vec<_>) = denied.into_iter().partition(can_pass);
    assert_eq!(missing(&can, &passed(&world, &can, ANSWERED).await), []);
    assert_eq!(passed(&world, &cannot, SILENT).await, BTreeSet::new(), "these pass: so they prove something");
}

/// The probes that did not get through.
fn missing(all: &[Probe], passed: &BTreeSet<Probe>) -> Vec<Probe> {
    all.iter().filter(|probe| !passed.contains(probe)).cloned().collect()
}
