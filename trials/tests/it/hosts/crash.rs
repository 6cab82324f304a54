//! Whatever is killed, and whatever is flushed meanwhile: nothing is ever open, and the next start goes on from there.

use super::agent::Agent;
use super::attack::Attack;
use super::house::{host, in_a_house, link, nft, on_stack};
use super::tenants::{
    ANSWERED, SILENT, connect, document, keeper, namespace, open_all, router, settings, with_suspended,
};
use super::{SOON, STRANGER};
use host::clock::Clock;
use host::network::StackError;
use host::network::probe::Verdict;
use node::networks::Networks;
use std::time::Duration;
use trials::echoes;

/// How long an open flow's answer may take.
const HEARD: Duration = Duration::from_secs(5);

#[test]
fn the_attack_arrives_where_rules_let_it() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let document = document(1, &[1, 3]);
        let settings = settings(house.folder(), false);
        let networks = Networks::start(settings, Clock::system(), Some(&document)).await.unwrap();
        open_all(&house, &networks, &document).await;
        let attack = Attack::begin(&house).await;
        assert!(
            trials::wait_until(SOON, async || attack.arrived().len() == 7).await,
            "{:?}",
            attack.arrived()
        );
    });
}

#[test]
fn a_node_that_is_killed_opens_nothing_and_the_next_one_breaks_no_flow() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let document = document(1, &[1, 3]);
        let mut agent = Agent::start(&house, None);
        agent.is_there();
        agent.apply(&document);
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        let mut flow = trials::flow(&namespace(1), (STRANGER, 443)).await.unwrap();
        assert!(echoes(&mut flow, HEARD).await);
        let attack = Attack::begin(&house).await;
        let before = agent.report();
        let pid = keeper(&house).await.pid();

        agent.kill();
        assert!(echoes(&mut flow, HEARD).await, "the rules let it through without a node");
        nft(&router(&house).await, "flush ruleset");
        nft(&host(), "flush ruleset");
        assert!(echoes(&mut flow, HEARD).await);
        assert_eq!(connect(3, 80, SILENT).await, Verdict::TimedOut);

        let mut agent = Agent::start(&house, Some(&document));
        agent.is_there();
        assert_eq!(keeper(&house).await.pid(), pid, "the keeper goes on");
        assert!(echoes(&mut flow, HEARD).await);
        let after = agent.report();
        assert_eq!((after.applied, after.drift.open), (1, vec![]));
        for (before, after) in before.traffic.iter().zip(&after.traffic) {
            assert_eq!(before.since, after.since, "what was counted before is counted once");
            assert!(before.sent_bytes <= after.sent_bytes);
        }
        assert_eq!(attack.arrived(), []);
        agent.end();
        assert!(!echoes(&mut flow, HEARD).await, "its processes have ended, so its link is off");
    });
}

#[test]
fn when_node_and_keeper_are_killed_everything_is_closed_until_the_next_start() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let document = document(1, &[1, 3]);
        let mut agent = Agent::start(&house, Some(&document));
        agent.is_there();
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        let before = namespace(1);
        let attack = Attack::begin(&house).await;

        let pid = keeper(&house).await.pid();
        agent.kill();
        trials::signal(pid, "KILL").unwrap();
        let is_gone = async || {
            let link = |place, name| on_stack(place, |stack| stack.link(&link(name)));
            let ends = [link(&namespace(1), "eth0"), link(&namespace(3), "eth0"), link(&host(), "palisade")];
            ends.into_iter().all(|end| matches!(end, Err(StackError::NoLink(_))))
        };
        assert!(trials::wait_until(SOON, is_gone).await);
        assert_eq!(connect(1, 443, SILENT).await, Verdict::Unreachable);
        assert_eq!(attack.arrived(), [], "the host is no router either");
        // Of the host's own networks, this is what stood between; tenants have no way left.
        nft(&host(), "flush ruleset");

        let mut agent = Agent::start(&house, Some(&document));
        agent.is_there();
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        assert_eq!(connect(3, 80, SILENT).await, Verdict::TimedOut);
        let arrived = attack.arrived();
        assert!(arrived.iter().all(|(address, _)| address.ip().to_string() == "172.17.0.2"), "{arrived:?}");
        assert!(namespace(1).is_same_as(&before).unwrap());
        assert_eq!(agent.report().drift.open, []);
    });
}

#[test]
fn a_change_that_was_cut_off_at_any_moment_is_carried_on_by_the_next_start() {
    in_a_house(async |house| {
        house.decoys([STRANGER]);
        let _stranger = house.listen(STRANGER, 443).await;
        let mut agent = Agent::start(&house, Some(&document(1, &[1, 3])));
        agent.is_there();
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        let attack = Attack::begin(&house).await;
        for version in 2..18_u64 {
            let document = match version % 3 {
                0 => document(version, &[1, 3]),
                1 => with_suspended(version, &[1, 2, 3, 4, 5], &[3]),
                _ => document(version, &[1, 3, 6, 7, 8, 9]),
            };
            agent.tell(&document);
            // Each a little later in the change than the one before.
            tokio::time::sleep(Duration::from_millis(3 * version)).await;
            agent.kill();
            if version % 4 == 0 {
                trials::signal(keeper(&house).await.pid(), "KILL").unwrap();
            }
            agent = Agent::start(&house, Some(&document));
            agent.is_there();
            let report = agent.report();
            assert_eq!((report.applied, report.drift.open), (version, vec![]));
            assert_eq!(report.traffic.len(), document.tenants.len());
        }
        assert_eq!(connect(1, 443, ANSWERED).await, Verdict::Connected);
        assert_eq!(attack.arrived(), []);
    });
}
