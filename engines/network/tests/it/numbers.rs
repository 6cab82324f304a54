//! Numbers: who gets which, and when again.

use crate::world::{id, number};
use network::{
    Addresses, AllocationError, Holding, HostRoute, NetworkNumber, Numbers, NumbersError, QUARANTINE_MS,
    QUARANTINE_MS_MIN, ReleaseError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use terms::{TenantId, Timestamp};

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[test]
fn numbers_are_within_1_to_155() {
    assert!([1, 155].into_iter().all(|n| NetworkNumber::try_from(n).is_ok()));
    for n in [0, 156, 256, 257, u32::MAX] {
        let refusal = NetworkNumber::try_from(n).unwrap_err().to_string();
        assert_eq!(refusal, format!("network number `{n}` is not within 1 to 155"));
    }
}

#[test]
fn every_number_has_its_own_addresses_links_and_ports() {
    let (first, last) = (Addresses::of(number(1)), Addresses::of(number(155)));
    assert_eq!(first.network.to_string(), "10.101.0.0/16");
    assert_eq!(last.network.to_string(), "10.255.0.0/16");
    assert_eq!([first.gateway, first.data_plane, first.sidecar].map(|a| a.octets()[3]), [1, 10, 11]);
    assert_eq!(
        (number(7).link(), number(7).mark(), number(7).forwarded_port()),
        ("pt7".to_owned(), 7, 20_007)
    );
    let distinct = |key: fn(NetworkNumber) -> String| {
        NetworkNumber::all().map(key).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(distinct(|n| Addresses::of(n).network.to_string()), 155);
    assert_eq!(distinct(NetworkNumber::link), 155);
}

#[test]
fn the_156th_tenant_of_a_host_is_refused_by_name() {
    let mut numbers = Numbers::default();
    for n in 1..=155 {
        assert_eq!(numbers.allocate(id(n), at(0), &[]), Ok(number(n)));
    }
    let refusal = numbers.allocate(id(156), at(0), &[]).unwrap_err();
    assert_eq!(refusal.code(), "host_full");
    assert_eq!(refusal.to_string(), "this host has its 155 tenants; place the tenant on another host");
}

#[test]
fn each_reason_for_no_number_is_its_own_error() {
    let mut numbers = Numbers::default();
    numbers.claim(id(1), number(1), at(0), &[]).unwrap();
    numbers.claim(id(2), number(2), at(0), &[]).unwrap();
    numbers.release(id(2)).unwrap();
    let route = route("10.103.0.0/20", "docker0");
    let routes = [route.clone()];
    let again = AllocationError::HasNumber { tenant: id(1), number: number(1) };
    assert_eq!(numbers.claim(id(1), number(9), at(0), &routes), Err(again.clone()));
    assert_eq!(numbers.allocate(id(1), at(0), &routes), Err(again));
    let taken = AllocationError::Taken { number: number(1), tenant: id(1) };
    assert_eq!(numbers.claim(id(9), number(1), at(0), &routes), Err(taken));
    let unproven = AllocationError::Resting { number: number(2), until: None };
    assert_eq!(numbers.claim(id(9), number(2), at(i64::MAX), &routes), Err(unproven.clone()));
    assert_eq!(unproven.to_string(), "network number `2` rests until its old network is proven gone");
    let refusal = numbers.claim(id(9), number(3), at(0), &routes).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "network `10.103.0.0/16` (number `3`) overlaps the host's route `10.103.0.0/20` through `docker0`"
    );
    assert_eq!(
        numbers.allocate(id(9), at(0), &routes),
        Ok(number(4)),
        "the lowest that is free and unclaimed"
    );
}

#[test]
fn a_number_rests_from_the_proof_of_its_removal_and_not_a_moment_less() {
    let mut numbers = Numbers::default();
    numbers.claim(id(1), number(5), at(0), &[]).unwrap();
    assert_eq!(numbers.removed(number(5), at(1)), Err(ReleaseError::InUse(number(5), id(1))));
    numbers.release(id(1)).unwrap();
    numbers.removed(number(5), at(1_000)).unwrap();
    numbers.removed(number(5), at(9_000)).unwrap();
    let until = at(1_000 + QUARANTINE_MS);
    let resting = AllocationError::Resting { number: number(5), until: Some(until) };
    for now in [at(1_000), until.plus_ms(-1), at(-5), at(i64::MIN)] {
        assert_eq!(numbers.claim(id(2), number(5), now, &[]), Err(resting.clone()), "{now}");
    }
    assert_eq!(numbers.claim(id(2), number(5), until, &[]), Ok(()));
}

#[test]
fn a_host_without_a_free_number_says_what_stands_in_the_way() {
    let all = |holding: fn(u32) -> Holding| {
        Numbers::new(QUARANTINE_MS, (1..=155).map(|n| (number(n), holding(n)))).unwrap()
    };
    let mut resting = all(|n| Holding::Resting(id(n), at(i64::from(n))));
    assert_eq!(
        resting.allocate(id(500), at(200), &[]),
        Err(AllocationError::AllResting(Some(at(1 + QUARANTINE_MS))))
    );
    let mut leaving = all(|n| Holding::Leaving(id(n)));
    assert_eq!(leaving.allocate(id(500), at(200), &[]), Err(AllocationError::AllResting(None)));
    let everything = route("10.0.0.0/8", "tun0");
    let refusal = Numbers::default().allocate(id(1), at(0), std::slice::from_ref(&everything));
    assert_eq!(refusal, Err(AllocationError::AllOverlap(everything)));
}

#[test]
fn stored_holdings_are_taken_back_only_if_they_could_be_ours() {
    let twice = [(number(1), Holding::Held(id(1))), (number(1), Holding::Held(id(2)))];
    assert_eq!(Numbers::new(QUARANTINE_MS, twice), Err(NumbersError::StoredTwice(number(1))));
    let two = [(number(1), Holding::Held(id(1))), (number(2), Holding::Held(id(1)))];
    assert_eq!(Numbers::new(QUARANTINE_MS, two), Err(NumbersError::TwoNumbers(id(1))));
    let short = QUARANTINE_MS_MIN - 1;
    assert_eq!(Numbers::new(short, []), Err(NumbersError::QuarantineTooShort(short)));
    // Whoever left and came back holds a new number while the old one rests.
    let back = [(number(1), Holding::Leaving(id(1))), (number(2), Holding::Held(id(1)))];
    assert_eq!(Numbers::new(QUARANTINE_MS, back).unwrap().number_of(id(1)), Some(number(2)));
}

#[test]
fn no_open_flow_outlives_the_shortest_rest() {
    assert!(QUARANTINE_MS_MIN > i64::from(network::ESTABLISHED_TIMEOUT_S) * 1_000);
}

// === the model ===

#[derive(Debug, Clone)]
enum Step {
    Allocate(u32),
    Claim(u32, u32),
    Release(u32),
    Removed(u32),
    Wait(i64),
    Restart,
}

/// Few tenants, few numbers with routes left: steps meet each other.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..9_u32).prop_map(Step::Allocate),
        2 => (1..9_u32, 1..8_u32).prop_map(|(tenant, number)| Step::Claim(tenant, number)),
        3 => (1..9_u32).prop_map(Step::Release),
        3 => (1..8_u32).prop_map(Step::Removed),
        2 => (-HOUR_MS..30 * HOUR_MS).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// What the outside world knows of each number.
#[derive(Default)]
struct Model {
    held: BTreeMap<NetworkNumber, TenantId>,
    /// When the last network was proven gone; `None` while it is not.
    left: BTreeMap<NetworkNumber, Option<Timestamp>>,
}

impl Model {
    /// A number was given out: it must have been free, and for long enough.
    fn given(&mut self, number: NetworkNumber, tenant: TenantId, now: Timestamp) {
        assert!(!self.held.values().any(|other| *other == tenant), "one tenant with two numbers");
        assert_eq!(self.held.insert(number, tenant), None, "two tenants with one number");
        match self.left.remove(&number) {
            Some(None) => panic!("{number} was given out before its network was proven gone"),
            Some(Some(since)) => assert!(now.ms_since(since) >= QUARANTINE_MS, "{number} did not rest"),
            None => (),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: no number has two tenants, and none comes back too early.
    #[test]
    fn no_number_is_shared_or_comes_back_too_early(steps in proptest::collection::vec(step(), 1..120)) {
        // Only numbers 1 to 7 are free of routes, so that they run out.
        let routes: Vec<HostRoute> =
            (8..=155).map(|n| HostRoute { destination: Addresses::of(number(n)).network, link: "eth0".to_owned() }).collect();
        let mut numbers = Numbers::default();
        let mut model = Model::default();
        let mut now = at(0);
        for step in steps {
            let before = numbers.clone();
            match step {
                Step::Allocate(tenant) => match numbers.allocate(id(tenant), now, &routes) {
                    Ok(number) => model.given(number, id(tenant), now),
                    Err(_) => prop_assert_eq!(&numbers, &before),
                },
                Step::Claim(tenant, wanted) => match numbers.claim(id(tenant), number(wanted), now, &routes) {
                    Ok(()) => model.given(number(wanted), id(tenant), now),
                    Err(_) => prop_assert_eq!(&numbers, &before),
                },
                Step::Release(tenant) => match numbers.release(id(tenant)) {
                    Ok(number) => {
                        prop_assert_eq!(model.held.remove(&number), Some(id(tenant)));
                        model.left.insert(number, None);
                    }
                    Err(_) => prop_assert!(!model.held.values().any(|other| *other == id(tenant))),
                },
                Step::Removed(n) => {
                    if numbers.removed(number(n), now).is_ok() {
                        let since = model.left.get_mut(&number(n)).unwrap();
                        since.get_or_insert(now);
                    }
                }
                Step::Wait(ms) => now = now.plus_ms(ms),
                Step::Restart => numbers = Numbers::new(QUARANTINE_MS, before.holdings()).unwrap(),
            }
            for (number, tenant) in &model.held {
                prop_assert_eq!(numbers.number_of(*tenant), Some(*number));
            }
        }
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn route(destination: &str, link: &str) -> HostRoute {
    HostRoute { destination: destination.parse().unwrap(), link: link.to_owned() }
}
