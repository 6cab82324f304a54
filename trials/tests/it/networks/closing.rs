//! What ends open flows, and what happens to the rules without their keeper's doing.

use super::drift::told;
use super::flows::{change, connect, drops, flow, listen_at};
use super::probing::{ANSWERED, Owners, SILENT, arrivals, listen, passed};
use super::world::{World, inside, link, on_stack};
use super::{SOON, STRANGER, here, probes};
use host::network::Nft;
use host::network::probe::Verdict;
use network::{DropReason, Expected, Namespace as Place, Origin, Probe, ruleset};
use std::collections::BTreeSet;
use trials::{echoes, wait_until};

#[tokio::test]
async fn suspending_a_tenant_cuts_its_open_flow_and_no_other() {
    let Some(world) = World::build("networks: a suspended tenant", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    let mut cut = flow(&world, 1).await;
    let mut other = flow(&world, 3).await;
    assert!(echoes(&mut cut, ANSWERED).await && echoes(&mut other, ANSWERED).await);

    change(&world, &here(&[1, 3]), &here(&[3])).await;
    assert!(!echoes(&mut cut, SILENT).await);
    assert!(wait_until(SOON, async || drops(&world, DropReason::Cut).await > 0).await);
    assert!(echoes(&mut other, ANSWERED).await);
    assert_eq!(connect(&world, 1, SILENT).await, Verdict::TimedOut);

    change(&world, &here(&[3]), &here(&[1, 3])).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert!(!echoes(&mut cut, SILENT).await, "what was cut stays cut");
}

#[tokio::test]
async fn nobody_else_changes_the_rules_and_a_floor_that_was_flushed_is_drift() {
    let Some(world) = World::build("networks: another root", here(&[1, 3])).await else { return };
    world.decoys([STRANGER]);
    let _stranger = listen_at(&world, STRANGER).await;
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    let before = world.keeper.generations().await.unwrap().router.tables;
    inside(&world.namespace(Place::Router).await, |inside| {
        let mut other = Nft::open(inside).unwrap();
        for deed in ["flush table", "delete table", "add element inet palisade live { 2 } #"] {
            let refused = other.run(&format!("{deed} inet palisade")).unwrap_err().to_string();
            assert!(refused.contains("Operation not permitted"), "{deed}: {refused}");
        }
    });
    assert_eq!(world.keeper.generations().await.unwrap().router.tables, before, "a refused change is none");

    let router = world.namespace(Place::Router).await;
    inside(&router, |inside| Nft::open(inside).unwrap().run("flush ruleset").unwrap());
    assert_eq!(told(&world).await, ["table_missing in router: firewall lacks `inet palisade_floor`"]);
    assert_eq!(connect(&world, 1, ANSWERED).await, Verdict::Connected);
    assert_eq!(connect(&world, 2, SILENT).await, Verdict::TimedOut);
    world.load(&ruleset::write(&world.desired), &ruleset::write_host(&world.desired)).await;
    assert_eq!(told(&world).await, [""; 0]);
}

#[tokio::test]
async fn when_its_keeper_is_killed_everything_is_closed() {
    let Some(world) = World::build("networks: a killed keeper", here(&[1, 3])).await else { return };
    let probes = probes(&world);
    world.decoys(Owners::of(&world).beyond(&probes));
    // Whoever listens in the router's namespace holds it.
    let listeners = listen(&world, &probes, Some(Place::Router)).await;
    let mut open = flow(&world, 1).await;
    assert!(echoes(&mut open, ANSWERED).await);

    trials::signal(world.keeper.pid(), "KILL").unwrap();
    tokio::time::timeout(SOON, world.keeper.ended()).await.unwrap().unwrap();
    for pair in &world.topology.pairs {
        let (place, name) = &pair.outer;
        let namespace = world.namespace(*place).await;
        let is_gone = || on_stack(&namespace, |stack| stack.link(&link(name))).is_err();
        assert!(wait_until(SOON, async || is_gone()).await, "{place}: the link is still there");
    }
    // What was published at the host's address is the host's own port again.
    let published =
        |probe: &Probe| matches!(probe.from, Origin::Outside(_)) && probe.expected == Expected::Allowed;
    let probes: Vec<Probe> = probes.into_iter().filter(|probe| !published(probe)).collect();
    let before = arrivals(&listeners);
    assert_eq!(passed(&world, &probes, SILENT).await, BTreeSet::new());
    assert_eq!(arrivals(&listeners), before);
    assert!(!echoes(&mut open, SILENT).await);
}
