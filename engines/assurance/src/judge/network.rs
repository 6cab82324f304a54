//! NET-1 to NET-5 and NET-8: tenant networks, by what their kernel let through.

use super::facts::Facts;
use crate::catalogue::ControlId;
use crate::observation::{DriftWatch, Networks, ProbedHost, Probes, WatchedHost};
use std::collections::BTreeSet;

/// The highest N of 10.(100+N).0.0/16.
const NUMBER_MAX: u8 = 155;

/// Drift must be found and told within a minute (NET-8): who compared longer ago may have missed some.
const COMPARED_WITHIN_MS: i64 = 60_000;

/// Which probes a control needs: without allowed ones, a cut cable would look safe; without denied ones, none would.
struct Needs {
    allowed: bool,
    denied: bool,
}

/// Judges what probes say about `control`, one of NET-1 to NET-5.
pub(super) fn probes(control: ControlId, seen: &Networks, facts: &mut Facts) {
    facts.some("tenants", seen.tenants);
    for tenant in &seen.unplaced {
        facts.untried("without a network yet", tenant);
    }
    for host in &seen.hosts {
        if control == ControlId::Net1 {
            numbers(host, facts);
        }
        match &host.probes {
            Ok(all) => of_control(control, &host.node, all, facts),
            Err(why) => facts.untried(&format!("not probed: {}", host.node), why),
        }
    }
}

/// Each tenant of a host has a number of its own, and a possible one.
fn numbers(host: &ProbedHost, facts: &mut Facts) {
    let possible = host.numbers.iter().filter(|(number, _)| (1..=NUMBER_MAX).contains(number));
    let distinct: BTreeSet<u8> = possible.map(|(number, _)| *number).collect();
    let name = format!("numbers of their own on {}", host.node);
    facts.check(&name, distinct.len(), distinct.len() == host.numbers.len(), "one for each tenant");
}

fn of_control(control: ControlId, node: &str, all: &[Probes], facts: &mut Facts) {
    let mine: Vec<&Probes> = all.iter().filter(|probes| probes.control == control.as_str()).collect();
    let sum = |allowed: bool| -> u64 {
        mine.iter().filter(|probes| probes.allowed == allowed).map(|probes| probes.tried).sum()
    };
    let needs = needs(control);
    if needs.allowed && sum(true) == 0 {
        facts.untried(&format!("allowed on {node}"), "nothing was tried");
    }
    if needs.denied && sum(false) == 0 {
        facts.untried(&format!("denied on {node}"), nothing_denied(control));
    }
    for probes in mine {
        let kind = if probes.allowed { "let through" } else { "kept out" };
        let name = format!("{kind}: {}", probes.way);
        let seen = format!("{} of {}", probes.held, probes.tried);
        facts.check(&name, seen, probes.held == probes.tried, "all");
        for mismatch in &probes.mismatches {
            facts.check("mismatch", mismatch, false, "as the policy says");
        }
    }
}

const fn needs(control: ControlId) -> Needs {
    match control {
        ControlId::Net2 | ControlId::Net3 => Needs { allowed: true, denied: true },
        _ => Needs { allowed: false, denied: true },
    }
}

const fn nothing_denied(control: ControlId) -> &'static str {
    match control {
        ControlId::Net1 => "nothing was tried: it takes two tenants on one host",
        _ => "nothing was tried",
    }
}

/// Judges how hosts compare with what they should be.
pub(super) fn drift(watch: &DriftWatch, facts: &mut Facts) {
    facts.some("hosts", watch.hosts.len() as u64);
    for host in &watch.hosts {
        compared(host, facts);
    }
}

fn compared(host: &WatchedHost, facts: &mut Facts) {
    let node = &host.node;
    let version = format!("version on {node}");
    facts.check(&version, host.applied, host.applied == host.desired, &host.desired.to_string());
    let last = format!("last compared: {node}");
    match host.compared_ms_ago {
        None => facts.untried(&last, "never"),
        Some(ms) => facts.check(
            &last,
            format!("{ms} ms ago"),
            ms <= COMPARED_WITHIN_MS,
            &format!("at most {COMPARED_WITHIN_MS} ms ago"),
        ),
    }
    facts.check(&format!("found since its start: {node}"), host.found, true, "");
    facts.none(&format!("differences on {node}"), host.open.len() as u64);
    for difference in &host.open {
        facts.check("difference", difference, false, "repaired");
    }
    for difference in &host.unalarmed {
        facts.check("difference without an alarm", difference, false, "alarmed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ControlId::{Net1, Net2, Net3, Net4, Net5, Net8};
    use crate::judge::tests::{assert_each_breaks, outcome};
    use crate::observation::Observation;
    use crate::outcome::CheckOutcome::{Fail, NotRun, Pass};

    #[test]
    fn networks_that_hold_pass_and_one_probe_can_break_each_control() {
        for control in [Net1, Net2, Net3, Net4, Net5] {
            assert_eq!(outcome(control, Observation::Networks(networks())), Pass, "{control}");
            for at in 0..rows().len() {
                let mut broken = networks();
                let probes = &mut broken.hosts[0].probes.as_mut().unwrap()[at];
                probes.held -= 1;
                let expected = if probes.control == control.as_str() { Fail } else { Pass };
                assert_eq!(outcome(control, Observation::Networks(broken)), expected, "{control}, row {at}");
            }
        }
    }

    #[test]
    fn a_number_that_two_tenants_have_or_none_can_have_breaks_the_first_promise() {
        assert_each_breaks(
            Net1,
            networks(),
            Observation::Networks,
            &[
                |n| n.hosts[0].numbers[1].0 = 1,
                |n| n.hosts[0].numbers[1].0 = 0,
                |n| n.hosts[0].numbers[1].0 = 156,
                |n| n.tenants = 0,
            ],
        );
    }

    #[test]
    fn what_was_not_tried_is_not_taken_for_safe() {
        let edits: [fn(&mut Networks); 5] = [
            |n| n.hosts[0].probes = Err("no answer".to_owned()),
            |n| n.hosts[0].probes.as_mut().unwrap().clear(),
            |n| n.hosts[0].probes.as_mut().unwrap().retain(|probes| probes.allowed),
            |n| n.unplaced.push("acme".to_owned()),
            |n| n.hosts.push(ProbedHost { probes: Err("gone".to_owned()), ..n.hosts[0].clone() }),
        ];
        for edit in edits {
            let mut less = networks();
            edit(&mut less);
            for control in [Net1, Net2, Net3, Net4, Net5] {
                let outcome = outcome(control, Observation::Networks(less.clone()));
                assert_eq!(outcome, NotRun, "{control}: {less:?}");
            }
        }
    }

    #[test]
    fn without_anything_that_gets_through_a_cut_cable_would_look_safe() {
        let mut cut = networks();
        cut.hosts[0].probes.as_mut().unwrap().retain(|probes| !probes.allowed);
        for control in [Net2, Net3] {
            assert_eq!(outcome(control, Observation::Networks(cut.clone())), NotRun);
        }
    }

    #[test]
    fn a_host_as_it_should_be_passes_and_each_part_can_break_it() {
        let good = DriftWatch { hosts: vec![host()] };
        assert_each_breaks(
            Net8,
            good,
            Observation::Drift,
            &[
                |w| w.hosts[0].applied = 6,
                |w| w.hosts[0].compared_ms_ago = Some(COMPARED_WITHIN_MS + 1),
                |w| w.hosts[0].open.push("sysctl in router".to_owned()),
                |w| w.hosts[0].unalarmed.push("sysctl in router".to_owned()),
                |w| w.hosts.clear(),
            ],
        );
        let never = WatchedHost { compared_ms_ago: None, ..host() };
        assert_eq!(outcome(Net8, Observation::Drift(DriftWatch { hosts: vec![never] })), NotRun);
    }

    #[test]
    fn drift_that_was_found_and_repaired_is_what_was_promised() {
        let repaired = WatchedHost { found: 3, ..host() };
        assert_eq!(outcome(Net8, Observation::Drift(DriftWatch { hosts: vec![repaired] })), Pass);
    }

    fn networks() -> Networks {
        let numbers = vec![(1, "demo".to_owned()), (2, "acme".to_owned())];
        let host = ProbedHost { node: "n".to_owned(), numbers, probes: Ok(rows()) };
        Networks { tenants: 2, unplaced: vec![], hosts: vec![host] }
    }

    fn rows() -> Vec<Probes> {
        let probes = |control: ControlId, way: &str, allowed| Probes {
            control: control.to_string(),
            way: way.to_owned(),
            allowed,
            tried: 12,
            held: 12,
            mismatches: vec![],
        };
        vec![
            probes(Net1, "tenant 1 to tenant 2", false),
            probes(Net2, "control plane to tenant 1", true),
            probes(Net2, "host to tenant 1", false),
            probes(Net3, "tenant 1 to the internet", true),
            probes(Net3, "tenant 1 to the internet", false),
            probes(Net4, "internet to tenant 1", false),
            probes(Net5, "tenant 1 to gateways", false),
        ]
    }

    fn host() -> WatchedHost {
        WatchedHost {
            node: "n".to_owned(),
            desired: 7,
            applied: 7,
            compared_ms_ago: Some(400),
            found: 0,
            open: vec![],
            unalarmed: vec![],
        }
    }
}
