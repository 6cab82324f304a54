//! The way to the desired state, from wherever a host is: a model of the kernel walks it.

use crate::kernel::Kernel;
use crate::world::{elsewhere, here, number};
use network::addresses::{HOST_LINK, INNER_LINK, UPLINK};
use network::converge::{Blocked, Found, Step, differences, plan, remains};
use network::{Address, Desired, Link, Namespace, NetworkNumber, Policy, Route, TABLE_MAIN, topology};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// How many plans a host needs at most: one does it, and the others are for what a step brings to light.
const PLANS_MAX: usize = 5;

#[test]
fn one_plan_builds_a_host_and_the_next_has_nothing_to_do() {
    for desired in [here(3), elsewhere(3)] {
        let mut kernel = Kernel::new(&desired);
        for step in plan(&desired, &kernel.found()).steps {
            kernel.carry_out(&step);
        }
        assert_eq!(plan(&desired, &kernel.found()).steps, []);
        assert_eq!(differences(&desired, &kernel.found()), []);
    }
}

#[test]
fn a_number_is_free_of_a_tenant_only_when_nothing_is_left() {
    let desired = here(3);
    let mut kernel = built(&desired);
    let left = |kernel: &Kernel| remains(&kernel.found()).into_iter().collect::<Vec<_>>();
    assert_eq!(left(&kernel), [number(1), number(2), number(3)]);
    kernel.unname(Namespace::Tenant(number(3)));
    kernel.unlink(Namespace::Router, "pt3");
    assert_eq!(left(&kernel), [number(1), number(2), number(3)], "its elements");
    kernel.lose_the_tables();
    assert_eq!(left(&kernel), [number(1), number(2)], "without the table, what has links and names");
    assert_eq!(remains(&Found::default()), NetworkNumber::all().collect(), "nothing is proven unread");
}

#[test]
fn another_tenant_gets_a_namespace_of_its_own() {
    let desired = here(3);
    let mut kernel = built(&desired);
    let place = Namespace::Tenant(number(2));
    kernel.retag(place, "palisade restricted=true tenant=another");
    let steps = plan(&desired, &kernel.found()).steps;
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let remove = at(|step| matches!(step, Step::Remove { .. }));
    let create = at(|step| matches!(step, Step::Create { .. }));
    assert!(at(|step| matches!(step, Step::Unlink { .. })) < remove && remove < create);
    settle(&desired, &mut kernel);
}

#[test]
fn what_bears_a_name_of_ours_and_is_not_ours_is_told_and_everything_else_goes_on() {
    let desired = here(3);
    let mut kernel = Kernel::new(&desired);
    kernel.put_foreign_namespace(Namespace::Tenant(number(2)));
    kernel.put_foreign_host_link();
    let before = kernel.foreign();
    let blocked = settle(&desired, &mut kernel);
    assert_eq!(blocked, [Blocked::Namespace("palisade-t2".to_owned()), Blocked::Link(HOST_LINK.to_owned())]);
    assert_eq!(kernel.foreign(), before);
    let differing: BTreeSet<Namespace> =
        differences(&desired, &kernel.found()).into_iter().map(|drift| drift.namespace).collect();
    let expected = [Namespace::Host, Namespace::Router, Namespace::Tenant(number(2))];
    assert_eq!(differing, BTreeSet::from(expected), "the router lacks the ends of their wires");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_half_applied_state_the_steps_lead_there_and_nothing_is_ever_open(
        parts in prop::collection::vec((any::<bool>(), 0..140_usize, prop::collection::vec(acts(), 0..6)), 1..4),
        wants_here in any::<bool>(),
    ) {
        let desired = if wants_here { here(3) } else { elsewhere(3) };
        let mut kernel = Kernel::new(&desired);
        for (is_here, steps, acts) in parts {
            // A crash in the middle of the way to one state or the other, and then somebody's hands.
            let towards = if is_here { here(3) } else { elsewhere(3) };
            kernel.wants(&towards);
            for step in plan(&towards, &kernel.found()).steps.iter().take(steps) {
                kernel.carry_out(step);
            }
            acts.into_iter().for_each(|act| by_hand(&mut kernel, act));
        }
        kernel.wants(&desired);
        let foreign = kernel.foreign();
        let blocked = settle(&desired, &mut kernel);
        prop_assert_eq!(kernel.foreign(), foreign, "what is not ours was touched");
        let left = differences(&desired, &kernel.found());
        prop_assert!(left.is_empty() || !blocked.is_empty(), "{:?}", left);
    }
}

/// Plans and carries out until there is nothing to do, and gives what stands in the way.
fn settle(desired: &Desired, kernel: &mut Kernel) -> Vec<Blocked> {
    for _ in 0..PLANS_MAX {
        let plan = plan(desired, &kernel.found());
        let is_told = !differences(desired, &kernel.found()).is_empty();
        assert!(is_told || plan.steps.is_empty(), "nobody would be told of {:?}", plan.steps);
        if plan.steps.is_empty() {
            let crossed = topology(desired).pairs.into_iter().find(|pair| {
                kernel.peer(Namespace::Router, &pair.router).is_some_and(|peer| peer != pair.outer)
            });
            assert_eq!(crossed, None);
            return plan.blocked;
        }
        plan.steps.iter().for_each(|step| kernel.carry_out(step));
    }
    panic!("no end: {:?}", plan(desired, &kernel.found()).steps);
}

fn built(desired: &Desired) -> Kernel {
    let mut kernel = Kernel::new(desired);
    assert_eq!(settle(desired, &mut kernel), []);
    kernel
}

// === what somebody does by hand ===

#[derive(Debug, Clone, Copy)]
enum Act {
    Unlink(Wire),
    Switch(Wire),
    Resize(Wire),
    Rewire,
    StrangeLink(Wire),
    StrangeAddress(Wire),
    LessAddresses(Wire),
    StrangeRoute(Wire),
    NoRoutes(Wire),
    StrangePolicy(Wire),
    NoPolicies(Wire),
    Setting(Wire),
    Unname(Wire),
    Hollow(Wire),
    Retag(Wire),
    ForeignNamespace(Wire),
    ForeignHostLink,
    Flush,
    StrangeTable,
    Lose,
    Unowned,
}

/// A tenant's place, or the control plane's, by chance.
type Wire = (Option<u32>, bool);

fn acts() -> impl Strategy<Value = Act> {
    let wire = (prop::option::of(1..=4_u32), any::<bool>());
    (0..21_usize, wire).prop_map(|(which, wire)| {
        [
            Act::Unlink(wire),
            Act::Switch(wire),
            Act::Resize(wire),
            Act::Rewire,
            Act::StrangeLink(wire),
            Act::StrangeAddress(wire),
            Act::LessAddresses(wire),
            Act::StrangeRoute(wire),
            Act::NoRoutes(wire),
            Act::StrangePolicy(wire),
            Act::NoPolicies(wire),
            Act::Setting(wire),
            Act::Unname(wire),
            Act::Hollow(wire),
            Act::Retag(wire),
            Act::ForeignNamespace(wire),
            Act::ForeignHostLink,
            Act::Flush,
            Act::StrangeTable,
            Act::Lose,
            Act::Unowned,
        ][which]
    })
}

/// The place that the hand reaches into, and the name of the link there: the router's end, or the other.
fn hold((tenant, router): Wire) -> (Namespace, String) {
    match (tenant, router) {
        (None, true) => (Namespace::Router, UPLINK.to_owned()),
        (None, false) => (Namespace::ControlPlane, INNER_LINK.to_owned()),
        (Some(n), true) => (Namespace::Router, number(n).link()),
        (Some(n), false) => (Namespace::Tenant(number(n)), INNER_LINK.to_owned()),
    }
}

fn by_hand(kernel: &mut Kernel, act: Act) {
    match act {
        Act::Unlink(wire) => {
            let (at, link) = hold(wire);
            kernel.unlink(at, &link);
        }
        Act::Switch(wire) => {
            let (at, link) = hold(wire);
            kernel.switch(at, &link);
        }
        Act::Resize(wire) => {
            let (at, link) = hold(wire);
            kernel.edit_links(at, |all| {
                let resized = |seen: Link| if seen.name == link { Link { mtu: 1_280, ..seen } } else { seen };
                *all = std::mem::take(all).into_iter().map(resized).collect();
            });
        }
        Act::Rewire => kernel.rewire(number(1), number(3)),
        Act::StrangeLink(wire) => kernel.add_strange_link(hold(wire).0),
        Act::StrangeAddress(wire) => {
            let (at, link) = hold(wire);
            kernel.give(at, &Address { link, address: "10.101.0.77/16".parse().unwrap() });
        }
        Act::LessAddresses(wire) => {
            let (at, link) = hold(wire);
            kernel.edit(at, |state| state.addresses.retain(|address| address.link != link));
        }
        Act::StrangeRoute(wire) => {
            let (at, link) = hold(wire);
            let destination = "93.184.216.0/24".parse().unwrap();
            kernel.add_route(at, Route { table: 100, destination, via: None, link });
        }
        Act::NoRoutes(wire) => kernel.edit(hold(wire).0, |state| state.routes.clear()),
        Act::StrangePolicy(wire) => kernel.edit(hold(wire).0, |state| {
            state.policies.insert(Policy { priority: 5, table: 100, always: true });
            state.policies.insert(Policy { priority: 32_766, table: TABLE_MAIN, always: false });
        }),
        Act::NoPolicies(wire) => kernel.edit(hold(wire).0, |state| state.policies.clear()),
        Act::Setting(wire) => kernel.edit(hold(wire).0, |state| {
            state.sysctls.values_mut().for_each(|value| *value = "7".to_owned());
        }),
        Act::Unname(wire) => kernel.unname(hold(wire).0),
        Act::Hollow(wire) => kernel.hollow(hold(wire).0),
        Act::Retag(wire) => kernel.retag(hold(wire).0, "palisade restricted=true tenant=another"),
        Act::ForeignNamespace(wire) => kernel.put_foreign_namespace(hold(wire).0),
        Act::ForeignHostLink => kernel.put_foreign_host_link(),
        Act::Flush => kernel.flush(),
        Act::StrangeTable => kernel.add_table("ip hole"),
        Act::Lose => kernel.lose_the_tables(),
        Act::Unowned => kernel.disown_the_tables(),
    }
}

#[test]
fn the_model_wants_what_the_topology_says() {
    // What the model gives by itself must be what the kernel gives, or the proofs above prove another kernel.
    let desired = here(3);
    let built = built(&desired);
    let ours = topology(&desired).namespaces.into_iter().filter(|(at, _)| *at != Namespace::Host);
    for (namespace, expected) in ours {
        let seen = &built.found().actual.namespaces[&namespace].state;
        assert_eq!((&seen.links, &seen.addresses), (&expected.links, &expected.addresses), "{namespace}");
        assert_eq!((&seen.routes, &seen.policies), (&expected.routes, &expected.policies), "{namespace}");
    }
}
