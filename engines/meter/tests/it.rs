//! The whole river of usage, from counters to billed totals, under crashes, lossy links, wrong clocks and attackers.
#![cfg(test)]

use meter::{
    Accumulator, AccumulatorState, Chain, Made, Oddity, SidecarState, Spool, Verdict, Waiting, judge,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use terms::{Digest, SidecarId, TenantId, Timestamp};
use wire::counters::Sample;
use wire::heartbeat::{Heartbeat, Integrity, Totals};

const INTERVAL_MS: u64 = 10_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Op {
    Consume(u8),
    /// The runtime loses its journal right after a heartbeat.
    RuntimeBeginsAnew,
    Wait(i64),
    /// The sidecar's clock is off by this much from now on.
    Skew(i64),
    Beat(Crash),
    Deliver(Link),
    /// Somebody delivers an envelope that was sent before.
    Replay(prop::sample::Index),
    /// Somebody with the sidecar's key and an old copy of its chain swears to something.
    Fork(prop::sample::Index),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Crash {
    None,
    BeforeSync,
    AfterSync,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Whole,
    RequestLost,
    AnswerLost,
    CrashBeforeAnswer,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever breaks and whoever crashes: everything consumed is counted exactly once, and nobody is accused.
    #[test]
    fn honest_sidecars_lose_nothing_and_raise_no_alarm(ops in proptest::collection::vec(honest(), 1..150)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
            prop_assert!(world.spool_dropped || world.alarms.is_empty(), "{:?}", world.alarms);
        }
        world.heal();
        prop_assert!(world.spool_dropped || world.alarms.is_empty(), "{:?}", world.alarms);
        prop_assert_eq!(world.state.totals.steps, world.consumed);
    }

    /// Whoever replays, reorders or forks: nothing counts twice, and what is wrong is seen.
    #[test]
    fn attackers_count_nothing_twice_and_are_seen(ops in proptest::collection::vec(hostile(), 1..150)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.heal();
        prop_assert_eq!(world.state.totals.steps, world.consumed);
        prop_assert!(!world.meddled || !world.alarms.is_empty(), "an attack was not seen");
    }
}

#[test]
fn an_outage_costs_one_stale_heartbeat_and_no_usage() {
    let mut world = World::new();
    for _ in 0..5 {
        world.apply(Op::Consume(3));
        world.apply(Op::Beat(Crash::None));
        world.apply(Op::Deliver(Link::RequestLost));
        world.apply(Op::Wait(10_000));
    }
    world.apply(Op::Deliver(Link::Whole));
    let codes: Vec<_> = world.placed.values().map(|(_, code)| *code).collect();
    assert_eq!(codes, ["stale", "ok", "ok", "ok", "ok"]);
    assert_eq!((world.state.totals.steps, world.alarms.len()), (15, 0));
}

#[test]
fn a_clock_far_behind_is_seen_and_usage_goes_on() {
    let mut world = World::new();
    world.apply(Op::Skew(-60_000));
    for _ in 0..4 {
        world.apply(Op::Consume(1));
        world.apply(Op::Beat(Crash::None));
        world.apply(Op::Deliver(Link::Whole));
        world.apply(Op::Wait(10_000));
    }
    let codes: Vec<_> = world.placed.values().map(|(_, code)| *code).collect();
    assert_eq!(codes, ["stale", "ok", "stale", "ok"]);
    assert_eq!(world.state.totals.steps, 4);
}

#[test]
fn heartbeats_that_waited_for_a_week_are_dropped_and_seen_as_a_gap() {
    let mut world = World::new();
    for _ in 0..3 {
        world.apply(Op::Consume(1));
        world.apply(Op::Beat(Crash::None));
        world.apply(Op::Deliver(Link::RequestLost));
    }
    world.apply(Op::Wait(7 * DAY_MS));
    world.apply(Op::Beat(Crash::None));
    world.apply(Op::Deliver(Link::Whole));
    assert_eq!(world.alarms, ["gap"]);
    assert_eq!(world.state.totals.steps, 3);
}

#[test]
fn a_fork_that_arrives_first_is_seen_when_the_sidecar_speaks() {
    let mut world = World::new();
    world.apply(Op::Beat(Crash::None));
    world.apply(Op::Deliver(Link::Whole));
    world.fork(1);
    assert_eq!(world.alarms, [""; 0], "the forger holds the key and speaks first");
    world.apply(Op::Beat(Crash::None));
    world.apply(Op::Deliver(Link::Whole));
    assert_eq!(world.alarms, ["equivocation"]);
}

fn honest() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Op::Consume),
        1 => Just(Op::RuntimeBeginsAnew),
        6 => (0_i64..30_000).prop_map(Op::Wait),
        1 => (0_i64..8 * DAY_MS).prop_map(Op::Wait),
        1 => prop_oneof![Just(0), -120_000_i64..120_000, -2 * DAY_MS..2 * DAY_MS].prop_map(Op::Skew),
        8 => prop_oneof![
            8 => Just(Crash::None), 1 => Just(Crash::BeforeSync), 1 => Just(Crash::AfterSync),
        ].prop_map(Op::Beat),
        8 => prop_oneof![
            4 => Just(Link::Whole),
            2 => Just(Link::RequestLost),
            1 => Just(Link::AnswerLost),
            1 => Just(Link::CrashBeforeAnswer),
        ].prop_map(Op::Deliver),
    ]
}

fn hostile() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => honest(),
        3 => any::<prop::sample::Index>().prop_map(Op::Replay),
        1 => any::<prop::sample::Index>().prop_map(Op::Fork),
    ]
}

/// What the sidecar's disk holds.
struct Disk {
    chain: Chain,
    accumulator: AccumulatorState,
    records: BTreeMap<u64, Record>,
}

#[derive(Clone)]
struct Record {
    payload: Vec<u8>,
    time_s: i64,
}

/// One runtime, one sidecar, one control plane, and whoever stands between them.
struct World {
    now: Timestamp,
    skew_ms: i64,
    consumed: u64,
    runtime: Sample,
    // The sidecar: what it holds in memory, and on disk.
    chain: Chain,
    accumulator: Accumulator,
    spool: Spool,
    disk: Disk,
    spool_dropped: bool,
    // The control plane.
    state: SidecarState,
    placed: BTreeMap<u64, (Digest, &'static str)>,
    billed: u64,
    alarms: Vec<&'static str>,
    // The attacker.
    sent: Vec<Vec<u8>>,
    chains: Vec<Chain>,
    meddled: bool,
}

impl World {
    fn new() -> Self {
        let (sidecar, tenant) = (SidecarId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let enrolled = Chain::enrolled(sidecar, tenant);
        let accumulator = AccumulatorState::default();
        Self {
            now: Timestamp::from_unix_s(1_800_000_000),
            skew_ms: 0,
            consumed: 0,
            runtime: Sample { epoch: 1, totals: Totals::default() },
            chain: enrolled.restarted(),
            accumulator: Accumulator::default(),
            spool: Spool::default(),
            disk: Disk { chain: enrolled, accumulator, records: BTreeMap::new() },
            spool_dropped: false,
            state: SidecarState::enrolled(sidecar, tenant),
            placed: BTreeMap::new(),
            billed: 0,
            alarms: Vec::new(),
            sent: Vec::new(),
            chains: Vec::new(),
            meddled: false,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Consume(n) => {
                self.consumed += u64::from(n);
                self.runtime.totals.steps += u64::from(n);
            }
            Op::RuntimeBeginsAnew => {
                self.beat(Crash::None);
                self.runtime = Sample { epoch: self.runtime.epoch + 1, totals: Totals::default() };
            }
            Op::Wait(ms) => self.now = self.now.plus_ms(ms),
            Op::Skew(ms) => self.skew_ms = ms,
            Op::Beat(crash) => self.beat(crash),
            Op::Deliver(link) => self.deliver(link),
            Op::Replay(index) if !self.sent.is_empty() => self.replay(&index.get(&self.sent).clone()),
            Op::Fork(index) if !self.chains.is_empty() => self.fork(index.index(self.chains.len())),
            Op::Replay(_) | Op::Fork(_) => (),
        }
    }

    fn check(&self) {
        assert!(self.state.totals.steps <= self.consumed, "counted twice");
        assert_eq!(self.state.totals.steps, self.billed, "billed something else than the totals");
    }

    fn heal(&mut self) {
        self.skew_ms = 0;
        for _ in 0..12 {
            self.now = self.now.plus_ms(10_000);
            self.beat(Crash::None);
            while !self.spool.is_empty() {
                self.deliver(Link::Whole);
            }
            self.check();
        }
    }

    // --- the sidecar ---

    fn clock(&self) -> Timestamp {
        self.now.plus_ms(self.skew_ms)
    }

    fn beat(&mut self, crash: Crash) {
        let (totals, faults) = self.accumulator.observe(&self.runtime);
        assert_eq!(faults, []);
        for dropped in self.spool.drop_expired(self.clock()) {
            self.disk.records.remove(&dropped.counter);
            self.spool_dropped = true;
        }
        let link = self.chain.next(self.made(totals, self.spool.next_is_spooled())).unwrap();
        if crash == Crash::BeforeSync {
            return self.restart();
        }
        let record = Record { payload: link.payload, time_s: link.heartbeat.time };
        let counter = link.next.counter;
        self.disk.records.insert(counter, record.clone());
        (self.disk.chain, self.disk.accumulator) = (link.next, self.accumulator.state().clone());
        if crash == Crash::AfterSync {
            return self.restart();
        }
        self.chain = link.next;
        self.chains.push(self.chain);
        self.spool.push(Waiting { counter, time_s: record.time_s });
    }

    fn made(&self, totals: Totals, spooled: bool) -> Made {
        let release = "0.1.0".to_owned();
        Made { now: self.clock(), totals, release, integrity: Integrity::UNCHECKED, nonce: None, spooled }
    }

    fn restart(&mut self) {
        self.chain = self.disk.chain.restarted();
        self.accumulator = Accumulator::restore(self.disk.accumulator.clone());
        let records = self.disk.records.iter();
        self.spool = Spool::restore(records.map(|(c, r)| Waiting { counter: *c, time_s: r.time_s }));
    }

    fn deliver(&mut self, link: Link) {
        let batch: Vec<_> = self.spool.batch().collect();
        let payloads: Vec<_> = batch.iter().map(|w| self.disk.records[&w.counter].payload.clone()).collect();
        self.sent.extend(payloads.iter().cloned());
        if link == Link::RequestLost {
            return self.spool.delivery_failed();
        }
        let codes: Vec<_> = payloads.iter().map(|payload| self.receive(payload)).collect();
        match link {
            Link::CrashBeforeAnswer => self.restart(),
            Link::AnswerLost => self.spool.delivery_failed(),
            Link::RequestLost | Link::Whole => {
                batch.iter().zip(codes).for_each(|(waiting, code)| self.answered(*waiting, code));
            }
        }
    }

    fn answered(&mut self, waiting: Waiting, code: &str) {
        match code {
            "stale" | "too_old" => {
                self.spool.settle_untimely(waiting.counter);
                self.chain = self.chain.settled(waiting.time_s);
            }
            "from_the_future" => {
                self.spool.settle_untimely(waiting.counter);
                self.chain = self.chain.clock_corrected();
            }
            "time_went_back" => {
                self.spool.settle_untimely(waiting.counter);
            }
            "ok" => {
                self.spool.settle(waiting.counter);
                self.chain = self.chain.settled(waiting.time_s);
            }
            _ => {
                self.spool.settle(waiting.counter);
            }
        }
        self.disk.records.remove(&waiting.counter);
    }

    // --- the control plane ---

    fn receive(&mut self, payload: &[u8]) -> &'static str {
        let beat = Heartbeat::read(payload).unwrap();
        let digest = Digest::sha256(payload);
        let known = self.placed.get(&beat.counter).copied();
        let verdict =
            judge(&self.state, &beat, digest, known.map(|(digest, _)| digest), self.now, INTERVAL_MS);
        let code = verdict.code();
        match verdict {
            Verdict::Accepted { next, delta, oddities } => {
                self.assert_timely(&beat);
                self.billed += delta.steps;
                self.place(next, digest, code, &oddities);
            }
            Verdict::Untimely { next, oddities, .. } => self.place(next, digest, code, &oddities),
            Verdict::Duplicate => return known.unwrap().1,
            Verdict::Refused(refusal) => self.alarms.push(refusal.code()),
        }
        code
    }

    fn place(&mut self, next: SidecarState, digest: Digest, code: &'static str, oddities: &[Oddity]) {
        assert!(next.counter > self.state.counter && next.epoch >= self.state.epoch);
        assert!(next.time >= self.state.time);
        self.state = next;
        self.placed.insert(next.counter, (digest, code));
        self.alarms.extend(oddities.iter().map(|oddity| oddity.code()));
    }

    /// METER-3, in its own words.
    fn assert_timely(&self, beat: &Heartbeat) {
        let (time_ms, now_ms) = (beat.time * 1_000, self.now.unix_ms());
        assert!(time_ms <= now_ms + 60_000, "at most 60 s ahead of receipt");
        assert!(time_ms >= self.state.time.unix_ms(), "never before the previous heartbeat");
        assert!(now_ms - time_ms <= 7 * DAY_MS, "at most 7 days old");
        assert!(beat.spooled || now_ms - time_ms <= 20_000, "older than two intervals only when spooled");
    }

    // --- the attacker ---

    fn replay(&mut self, payload: &[u8]) {
        let beat = Heartbeat::read(payload).unwrap();
        let (known, before) = (self.placed.contains_key(&beat.counter), self.state);
        // Whoever delivers a later heartbeat before an earlier one makes a gap, which must be seen.
        let skips = beat.counter > before.counter + 1;
        let alarms = self.alarms.len();
        self.receive(payload);
        if known {
            assert_eq!(self.state, before, "a replay changed something");
        }
        if skips {
            assert!(self.alarms.len() > alarms, "a gap was not seen");
            self.meddled = true;
        }
    }

    fn fork(&mut self, at: usize) {
        let Some(chain) = self.chains.get(at.min(self.chains.len().saturating_sub(1))).copied() else {
            return;
        };
        let totals = Totals { steps: self.state.sworn.steps, ..Totals::default() };
        let made = Made { nonce: Some("forged".to_owned()), ..self.made(totals, false) };
        let payload = chain.next(made).unwrap().payload;
        let alarms = self.alarms.len();
        let before = self.state;
        self.receive(&payload);
        // A forgery that is not seen at once took the place of a heartbeat that the sidecar will still send.
        if self.alarms.len() > alarms || self.state != before {
            self.meddled = true;
        }
    }
}
