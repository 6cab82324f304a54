//! The data plane's key cache: each answer once, and a model over random steps.

use notary::{CachePolicy, KeyCache, KeyError, Lookup, PlanSigner};
use proptest::prelude::*;
use std::sync::LazyLock;
use terms::{KeyId, Timestamp};
use wire::jwks::{Jwk, Jwks};

static KEYS: LazyLock<Vec<Jwk>> =
    LazyLock::new(|| (0..6).map(|_| PlanSigner::generate().unwrap().0.jwk()).collect());

const MAX_AGE_MS: i64 = 300_000;
const STALE_MS: i64 = 3_600_000;
const COOL_DOWN_MS: i64 = 10_000;

#[test]
fn an_empty_cache_fetches_and_without_an_answer_stays_closed() {
    let mut cache = KeyCache::new(CachePolicy::default());
    assert_eq!(look(&cache, 0, 0), "refetch");
    assert!(cache.begin_fetch(at(0)));
    cache.failed(at(5));
    assert_eq!(look(&cache, 0, 5), format!("closed until {}", 5 + COOL_DOWN_MS));
    assert_eq!(look(&cache, 0, 5 + COOL_DOWN_MS), "refetch");
}

#[test]
fn one_caller_fetches_and_the_others_wait_for_it() {
    let mut cache = KeyCache::new(CachePolicy::default());
    assert!(cache.begin_fetch(at(0)));
    assert!(!cache.begin_fetch(at(1)));
    assert_eq!(look(&cache, 0, 1), "refetch");
    cache.fetched(&set(&[0]), at(2));
    assert_eq!(look(&cache, 0, 2), "key 0");
}

#[test]
fn a_fetch_that_never_ends_is_started_again() {
    let mut cache = KeyCache::new(CachePolicy::default());
    assert!(cache.begin_fetch(at(0)));
    assert!(!cache.begin_fetch(at(COOL_DOWN_MS - 1)));
    assert!(cache.begin_fetch(at(COOL_DOWN_MS)));
}

#[test]
fn an_unknown_key_id_causes_one_fetch_per_cool_down() {
    let mut cache = cache_with(&[0], 0);
    assert_eq!(look(&cache, 1, COOL_DOWN_MS - 1), "unknown");
    assert_eq!(look(&cache, 1, COOL_DOWN_MS), "refetch");
    assert!(cache.begin_fetch(at(COOL_DOWN_MS)));
    cache.failed(at(COOL_DOWN_MS + 1));
    let until = format!("cooling down until {}", 2 * COOL_DOWN_MS + 1);
    assert_eq!(look(&cache, 1, COOL_DOWN_MS + 1), until);
    assert!(!cache.begin_fetch(at(COOL_DOWN_MS + 2)));
    assert_eq!(look(&cache, 0, COOL_DOWN_MS + 2), "key 0", "known keys are not held up");
}

#[test]
fn a_key_that_was_rotated_in_is_found_by_one_fetch() {
    let mut cache = cache_with(&[0], 0);
    assert_eq!(look(&cache, 1, 60_000), "refetch");
    assert!(cache.begin_fetch(at(60_000)));
    cache.fetched(&set(&[0, 1]), at(60_001));
    assert_eq!(look(&cache, 1, 60_001), "key 1");
}

#[test]
fn a_key_that_is_gone_from_a_new_set_is_unknown_at_once() {
    let mut cache = cache_with(&[0, 1], 0);
    cache.fetched(&set(&[1]), at(10));
    assert_eq!((look(&cache, 0, 10).as_str(), look(&cache, 1, 10).as_str()), ("unknown", "key 1"));
    cache.fetched(&set(&[]), at(20));
    assert_eq!(look(&cache, 1, 20), "unknown");
}

#[test]
fn a_stale_set_is_used_only_while_it_cannot_be_fetched_and_for_an_hour() {
    let mut cache = cache_with(&[0], 0);
    assert_eq!(look(&cache, 0, MAX_AGE_MS - 1), "key 0");
    assert_eq!(look(&cache, 0, MAX_AGE_MS), "refetch");
    assert!(cache.begin_fetch(at(MAX_AGE_MS)));
    assert_eq!(look(&cache, 0, MAX_AGE_MS), "refetch", "while the fetch is under way");
    cache.failed(at(MAX_AGE_MS));
    assert_eq!(look(&cache, 0, MAX_AGE_MS), "key 0");
    let end = MAX_AGE_MS + STALE_MS;
    assert!(cache.begin_fetch(at(end - 1)));
    cache.failed(at(end - 1));
    assert_eq!(look(&cache, 0, end - 1), "key 0");
    assert_eq!(look(&cache, 0, end), format!("closed until {}", end - 1 + COOL_DOWN_MS));
}

#[test]
fn a_clock_that_goes_back_makes_a_set_stale_and_far_back_unusable() {
    let mut cache = cache_with(&[0], 0);
    assert_eq!(look(&cache, 0, -1), "refetch");
    assert!(cache.begin_fetch(at(-1)));
    cache.failed(at(-1));
    assert_eq!(look(&cache, 0, -1), "key 0");
    let far = -MAX_AGE_MS - STALE_MS;
    cache.failed(at(far));
    assert_eq!(look(&cache, 0, far), format!("closed until {}", far + COOL_DOWN_MS));
}

#[test]
fn keys_that_are_not_plan_keys_are_left_out_and_named() {
    let mut cache = KeyCache::new(CachePolicy::default());
    let bad = Jwk { alg: "HS256".into(), ..KEYS[1].clone() };
    let refused = cache.fetched(&Jwks { keys: vec![bad, KEYS[0].clone()] }, at(0));
    assert_eq!(refused, [KeyError::Algorithm]);
    assert_eq!((look(&cache, 0, 0).as_str(), look(&cache, 1, 0).as_str()), ("key 0", "unknown"));
}

#[derive(Debug, Clone)]
enum Step {
    /// A token with one of the keys, or of none, is looked up; whoever is told to, begins to fetch.
    Look(usize),
    /// The fetch under way ends.
    Answer,
    Fail,
    Pass {
        ms: i64,
    },
    /// The control plane serves other keys.
    Serve(Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pass = prop_oneof![0..2_000i64, Just(COOL_DOWN_MS), Just(MAX_AGE_MS), 0..2 * STALE_MS];
    let step = prop_oneof![
        6 => (0..6usize).prop_map(Step::Look),
        4 => Just(Step::Answer),
        3 => Just(Step::Fail),
        3 => pass.prop_map(|ms| Step::Pass { ms }),
        2 => prop::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=4).prop_map(Step::Serve),
    ];
    prop::collection::vec(step, 1..120)
}

struct World {
    now_ms: i64,
    cache: KeyCache,
    served: Vec<usize>,
    /// The last set that arrived, and when.
    held: Option<(Vec<usize>, i64)>,
    /// When each fetch was begun.
    begun: Vec<i64>,
    under_way: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn keys_are_used_while_they_may_be_and_fetched_seldom(steps in steps()) {
        let mut world = World {
            now_ms: 0,
            cache: KeyCache::new(CachePolicy::default()),
            served: vec![0],
            held: None,
            begun: Vec::new(),
            under_way: false,
        };
        for step in steps {
            world.take(step);
            let seldom = world.begun.windows(2).all(|two| two[1] - two[0] >= COOL_DOWN_MS);
            prop_assert!(seldom, "fetched at {:?}", world.begun);
        }
    }
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Look(n) => self.look(n),
            Step::Answer if self.under_way => {
                self.under_way = false;
                self.cache.fetched(&set(&self.served), at(self.now_ms));
                self.held = Some((self.served.clone(), self.now_ms));
                for n in &self.served {
                    assert_eq!(look(&self.cache, *n, self.now_ms), format!("key {n}"));
                }
            }
            Step::Fail if self.under_way => {
                self.under_way = false;
                self.cache.failed(at(self.now_ms));
            }
            Step::Answer | Step::Fail => {}
            Step::Pass { ms } => self.now_ms += ms,
            Step::Serve(keys) => self.served = keys,
        }
    }

    fn look(&mut self, n: usize) {
        let answer = look(&self.cache, n, self.now_ms);
        let age_ms = self.held.as_ref().map(|(_, at)| self.now_ms - at);
        let is_held = self.held.as_ref().is_some_and(|(keys, _)| keys.contains(&n));
        let fresh = age_ms.is_some_and(|age| age < MAX_AGE_MS);
        let usable = age_ms.is_some_and(|age| age < MAX_AGE_MS + STALE_MS);
        if answer.starts_with("key") {
            assert!(is_held && usable, "{answer} at age {age_ms:?}");
        }
        if is_held && fresh {
            assert_eq!(answer, format!("key {n}"), "a fresh key needs nothing");
        }
        if answer.starts_with("closed") {
            assert!(!usable);
        }
        if answer == "unknown" {
            let just_now = age_ms.is_some_and(|age| age < COOL_DOWN_MS);
            assert!(!is_held && just_now, "not known to be unknown");
        }
        if answer == "refetch" && self.cache.begin_fetch(at(self.now_ms)) {
            self.begun.push(self.now_ms);
            self.under_way = true;
        }
    }
}

fn look(cache: &KeyCache, n: usize, now_ms: i64) -> String {
    let since = |until: Timestamp| until.ms_since(at(0));
    match cache.lookup(&kid(n), at(now_ms)) {
        Lookup::Key(key) => {
            assert_eq!(*key.kid(), kid(n));
            format!("key {n}")
        }
        Lookup::Refetch => "refetch".into(),
        Lookup::CoolingDown { until } => format!("cooling down until {}", since(until)),
        Lookup::Unknown => "unknown".into(),
        Lookup::Closed { until } => format!("closed until {}", since(until)),
    }
}

fn cache_with(keys: &[usize], now_ms: i64) -> KeyCache {
    let mut cache = KeyCache::new(CachePolicy::default());
    assert!(cache.begin_fetch(at(now_ms)));
    assert_eq!(cache.fetched(&set(keys), at(now_ms)), []);
    cache
}

fn set(keys: &[usize]) -> Jwks {
    Jwks { keys: keys.iter().map(|n| KEYS[*n].clone()).collect() }
}

fn kid(n: usize) -> KeyId {
    KEYS[n].kid.clone()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}
