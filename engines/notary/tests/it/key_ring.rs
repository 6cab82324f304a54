//! The key ring: each rule once, and a model over random steps.

use notary::{
    KeyError, KeyRecord, KeyRing, KeyState, PlanSigner, PolicyError, RestoreError, RingPolicy, RingStep,
    RingTimes, RotateError, StepError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use terms::{KeyId, Timestamp};
use wire::jwks::{Jwk, KEYS_MAX};

/// Keys to rotate through: more than any run of the model mints.
static KEYS: LazyLock<Vec<Jwk>> =
    LazyLock::new(|| (0..128).map(|_| PlanSigner::generate().unwrap().0.jwk()).collect());

const PUBLISH_MS: i64 = 300_000;
const RETIRE_MS: i64 = 70 * 60_000;
const MAX_AGE_MS: i64 = 30 * 24 * 3_600_000;

#[test]
fn the_first_key_signs_at_once() {
    let mut ring = KeyRing::new();
    assert_eq!(ring.due(at(0), &policy()), [RingStep::Mint]);
    ring.rotate(key(0), at(0), &policy()).unwrap();
    assert!(ring.jwks().keys.is_empty());
    let steps = ring.advance(at(0), &policy());
    assert_eq!(steps, [RingStep::Publish(kid(0)), RingStep::Activate(kid(0))]);
    assert_eq!((ring.active().unwrap().kid.clone(), ring.jwks().keys), (kid(0), vec![key(0)]));
    assert_eq!(ring.due(at(0), &policy()), []);
}

#[test]
fn a_rotation_publishes_waits_signs_waits_and_archives() {
    let mut ring = ring_with_one();
    ring.rotate(key(1), at(10), &policy()).unwrap();
    assert_eq!(ring.advance(at(10), &policy()), [RingStep::Publish(kid(1))]);
    assert_eq!(ring.advance(at(10 + PUBLISH_MS - 1), &policy()), []);
    assert_eq!(ring.active().unwrap().kid, kid(0));
    let activated = 10 + PUBLISH_MS;
    assert_eq!(ring.advance(at(activated), &policy()), [RingStep::Activate(kid(1))]);
    assert_eq!((ring.active().unwrap().kid.clone(), ring.jwks().keys.len()), (kid(1), 2));
    assert_eq!(ring.advance(at(activated + RETIRE_MS - 1), &policy()), []);
    assert_eq!(ring.advance(at(activated + RETIRE_MS), &policy()), [RingStep::Archive(kid(0))]);
    assert_eq!(ring.jwks().keys, [key(1)]);
    assert_eq!(ring.records().len(), 2, "the archived key is still on record");
}

#[test]
fn a_rotation_under_way_refuses_another_one() {
    let mut ring = ring_with_one();
    ring.rotate(key(1), at(0), &policy()).unwrap();
    assert_eq!(ring.rotate(key(2), at(0), &policy()), Err(RotateError::UnderWay(kid(1))));
    ring.advance(at(0), &policy());
    assert_eq!(ring.rotate(key(2), at(0), &policy()), Err(RotateError::UnderWay(kid(1))));
}

#[test]
fn a_full_set_says_when_it_has_room() {
    let mut ring = ring_with_one();
    for n in 1..4 {
        let now = at(i64::try_from(n).unwrap() * PUBLISH_MS);
        ring.rotate(key(n), now, &policy()).unwrap();
        ring.advance(now, &policy());
        ring.advance(now.plus_ms(PUBLISH_MS), &policy());
    }
    let now = at(5 * PUBLISH_MS);
    assert_eq!(ring.jwks().keys.len(), KEYS_MAX);
    let until = at(2 * PUBLISH_MS + RETIRE_MS);
    assert_eq!(ring.rotate(key(4), now, &policy()), Err(RotateError::Full { until }));
    ring.advance(until, &policy());
    assert_eq!(ring.rotate(key(4), until, &policy()), Ok(()));
}

#[test]
fn a_known_or_bad_key_is_not_rotated_in() {
    let mut ring = ring_with_one();
    assert_eq!(ring.rotate(key(0), at(0), &policy()), Err(RotateError::Known(kid(0))));
    let bad = Jwk { use_: "enc".into(), ..key(1) };
    assert_eq!(ring.rotate(bad, at(0), &policy()), Err(RotateError::Key(KeyError::Use)));
}

#[test]
fn only_age_wants_a_new_key_and_a_restart_none() {
    let ring = ring_with_one();
    let ring = KeyRing::restore(ring.records().to_vec()).unwrap();
    assert_eq!(ring.due(at(MAX_AGE_MS - 1), &policy()), []);
    assert_eq!(ring.due(at(MAX_AGE_MS), &policy()), [RingStep::Mint]);
}

#[test]
fn a_step_that_is_not_due_is_not_taken() {
    let mut ring = ring_with_one();
    let before = ring.clone();
    for step in [
        RingStep::Mint,
        RingStep::Publish(kid(0)),
        RingStep::Activate(kid(0)),
        RingStep::Archive(kid(0)),
        RingStep::Archive(kid(9)),
    ] {
        assert_eq!(ring.apply(&step, at(1), &policy()), Err(StepError(step)));
    }
    assert_eq!(ring.apply(&RingStep::Mint, at(MAX_AGE_MS), &policy()), Err(StepError(RingStep::Mint)));
    assert_eq!(ring, before);
}

#[test]
fn records_that_no_ring_left_are_refused() {
    use KeyState::{Active, Archived, Published, Retiring, Staged};
    let restore = |states: &[KeyState]| {
        let records = states.iter().enumerate().map(|(n, state)| record(n, *state)).collect();
        KeyRing::restore(records).err()
    };
    assert_eq!(restore(&[Active, Active]), Some(RestoreError::Active(2)));
    assert_eq!(restore(&[Retiring]), Some(RestoreError::Active(0)));
    assert_eq!(restore(&[Archived, Published]), Some(RestoreError::Active(0)));
    assert_eq!(restore(&[Active, Staged, Published]), Some(RestoreError::UnderWay(2)));
    assert_eq!(restore(&[Active, Retiring, Retiring, Retiring, Retiring]), Some(RestoreError::Served(5)));
    assert_eq!(restore(&[Archived, Retiring, Active, Published]), None);
    assert_eq!(restore(&[]), None);
    let twice = KeyRing::restore(vec![record(0, Active), record(0, Retiring)]);
    assert_eq!(twice, Err(RestoreError::Twice(kid(0))));
    let misnamed = KeyRing::restore(vec![KeyRecord { kid: kid(1), ..record(0, Active) }]);
    assert_eq!(misnamed, Err(RestoreError::Key(kid(1), KeyError::Thumbprint)));
}

#[test]
fn times_in_which_a_plan_could_fail_are_refused() {
    let times = RingTimes::default();
    assert_eq!(RingPolicy::new(times), Ok(RingPolicy::default()));
    let publish = RingTimes { publish_ms: times.jwks_max_age_ms - 1, ..times };
    assert_eq!(RingPolicy::new(publish), Err(PolicyError::Publish(300_000)));
    let retire = RingTimes { retire_ms: 3_904_999, ..times };
    assert_eq!(RingPolicy::new(retire), Err(PolicyError::Retire(3_905_000)));
    let day_ms = 24 * 3_600_000;
    for max_age_ms in [0, 90 * day_ms - times.publish_ms + 1, i64::MAX] {
        assert_eq!(RingPolicy::new(RingTimes { max_age_ms, ..times }), Err(PolicyError::Age));
    }
    assert!(RingPolicy::new(RingTimes { max_age_ms: 90 * day_ms - times.publish_ms, ..times }).is_ok());
}

#[test]
fn a_state_is_read_back_from_its_text() {
    use KeyState::{Active, Archived, Published, Retiring, Staged};
    for state in [Staged, Published, Active, Retiring, Archived] {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    assert_eq!("".parse::<KeyState>().ok(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Pass {
        ms: i64,
    },
    /// Somebody commands a rotation.
    Rotate,
    /// The timer fires: everything that is due, and a new key if one is wanted.
    Tick,
    /// Somebody tries a step, due or not.
    Try(u8, prop::sample::Index),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pass = prop_oneof![
        0..1_000i64,
        Just(PUBLISH_MS),
        0..2 * PUBLISH_MS,
        0..2 * RETIRE_MS,
        Just(RETIRE_MS),
        0..2 * MAX_AGE_MS
    ];
    let step = prop_oneof![
        4 => pass.prop_map(|ms| Step::Pass { ms }),
        3 => Just(Step::Rotate),
        4 => Just(Step::Tick),
        2 => (0..3u8, any::<prop::sample::Index>()).prop_map(|(kind, key)| Step::Try(kind, key)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..100)
}

/// What happened to one key, seen from outside the ring.
#[derive(Default)]
struct Life {
    served_from: Option<i64>,
    signs_from: Option<i64>,
    signed_until: Option<i64>,
    served_until: Option<i64>,
}

struct World {
    now_ms: i64,
    minted: usize,
    ring: KeyRing,
    lives: BTreeMap<KeyId, Life>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_plan_fails_while_keys_rotate(steps in steps()) {
        let mut world = World { now_ms: 0, minted: 0, ring: KeyRing::new(), lives: BTreeMap::new() };
        for step in steps {
            world.take(&step);
            world.observe();
        }
    }
}

impl World {
    fn take(&mut self, step: &Step) {
        let now = at(self.now_ms);
        match step {
            Step::Pass { ms } => self.now_ms += ms,
            Step::Rotate => self.rotate(),
            Step::Tick => {
                // One by one, so that every state between is observed.
                while let Some(step) = self.ring.due(now, &policy()).first().cloned() {
                    match step {
                        RingStep::Mint => self.rotate(),
                        step => self.ring.apply(&step, now, &policy()).unwrap(),
                    }
                    self.observe();
                }
            }
            Step::Try(kind, index) => {
                let kid = kid(index.index(self.minted + 1));
                let step = match kind {
                    0 => RingStep::Publish(kid),
                    1 => RingStep::Activate(kid),
                    _ => RingStep::Archive(kid),
                };
                let before = self.ring.clone();
                if self.ring.apply(&step, now, &policy()).is_err() {
                    assert_eq!(self.ring, before);
                }
            }
            Step::Restart => {
                let restored = KeyRing::restore(self.ring.records().to_vec()).unwrap();
                assert_eq!(restored, self.ring);
                assert!(self.minted == 0 || restored.due(now, &policy()) == self.ring.due(now, &policy()));
            }
        }
    }

    fn rotate(&mut self) {
        let before = self.ring.clone();
        match self.ring.rotate(key(self.minted), at(self.now_ms), &policy()) {
            Ok(()) => self.minted += 1,
            Err(_) => assert_eq!(self.ring, before, "a refusal leaves the ring unchanged"),
        }
    }

    fn observe(&mut self) {
        let now = self.now_ms;
        let served: Vec<KeyId> = self.ring.jwks().keys.into_iter().map(|k| k.kid).collect();
        let active = self.ring.active().map(|k| k.kid.clone());
        assert!(served.len() <= KEYS_MAX);
        let one_signed = self.lives.values().any(|life| life.signs_from.is_some());
        assert!(active.is_some() || !one_signed, "there is no active key any more");
        for (kid, life) in &mut self.lives {
            let is_active = active.as_ref() == Some(kid);
            if life.signs_from.is_some() && life.signed_until.is_none() && !is_active {
                life.signed_until = Some(now);
            }
            if life.served_from.is_some() && life.served_until.is_none() && !served.contains(kid) {
                life.served_until = Some(now);
                let signed_until = life.signed_until.expect("a key that never signed is gone");
                assert!(now - signed_until >= RETIRE_MS, "gone {} ms too early", now - signed_until);
            }
            assert!(life.served_until.is_none() || !served.contains(kid), "served again");
        }
        for kid in &served {
            self.lives.entry(kid.clone()).or_default().served_from.get_or_insert(now);
        }
        if let Some(kid) = active {
            assert!(served.contains(&kid), "the active key is not served");
            let first = self.lives.len() == 1;
            let life = self.lives.get_mut(&kid).unwrap();
            assert!(life.signed_until.is_none(), "signs again");
            let waited = now - life.served_from.unwrap();
            assert!(life.signs_from.is_some() || first || waited >= PUBLISH_MS, "signs after {waited} ms");
            life.signs_from.get_or_insert(now);
        }
    }
}

fn ring_with_one() -> KeyRing {
    let mut ring = KeyRing::new();
    ring.rotate(key(0), at(0), &policy()).unwrap();
    ring.advance(at(0), &policy());
    ring
}

fn record(n: usize, state: KeyState) -> KeyRecord {
    KeyRecord { kid: kid(n), jwk: key(n), state, since: at(0), created_at: at(0) }
}

fn policy() -> RingPolicy {
    RingPolicy::default()
}

fn key(n: usize) -> Jwk {
    KEYS[n].clone()
}

fn kid(n: usize) -> KeyId {
    KEYS[n].kid.clone()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}
