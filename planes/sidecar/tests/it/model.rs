//! Random lives of a sidecar: crashes, full disks, outages, wrong clocks, rotten bytes. After each step nothing was
//! sworn to twice, nobody is accused, and in the end usage is exactly what was consumed.

use crate::disk::{Fault, FaultyDisk};
use crate::world::{ControlPlane, Host, Runtime, SIDECAR, at, beat, deliver, steps};
use proptest::prelude::*;
use sidecar::metering::Metering;

#[derive(Debug, Clone)]
enum Step {
    Consume(u64),
    Sample,
    /// The runtime's journal is lost, after a last sample.
    RuntimeBeginsAnew,
    /// Time passes, in seconds.
    Wait(i64),
    /// The sidecar's clock stands so many seconds off.
    Skew(i64),
    Beat,
    BeatOnFaultyDisk(Fault),
    Deliver,
    /// The control plane takes a delivery, and its answer is lost.
    AnswerLost,
    /// The control plane cannot be reached.
    Unreachable,
    Crash {
        kept: u8,
        zeroed: bool,
    },
    /// A byte of the journal's end is spoilt while the sidecar is down.
    CrashAndRot(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        (0..3_000_usize).prop_map(Fault::AppendAfter),
        Just(Fault::SyncLoses),
        Just(Fault::SyncLies),
        Just(Fault::Replace),
    ];
    prop_oneof![
        4 => (1..1_000_u64).prop_map(Step::Consume),
        4 => Just(Step::Sample),
        1 => Just(Step::RuntimeBeginsAnew),
        4 => (0..30_i64).prop_map(Step::Wait),
        1 => (0..9 * 86_400_i64).prop_map(Step::Wait),
        1 => (-200..200_i64).prop_map(Step::Skew),
        8 => Just(Step::Beat),
        2 => fault.prop_map(Step::BeatOnFaultyDisk),
        5 => Just(Step::Deliver),
        2 => Just(Step::AnswerLost),
        1 => Just(Step::Unreachable),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(kept, zeroed)| Step::Crash { kept, zeroed }),
        1 => (0..1_500_usize).prop_map(Step::CrashAndRot),
    ]
}

struct Life {
    host: Host,
    metering: Metering<FaultyDisk>,
    runtime: Runtime,
    control_plane: ControlPlane,
    now_s: i64,
    skew_s: i64,
    /// Heartbeats until the end of the journal is not the only place that knows of the runtime's last epoch, or of
    /// what rotted before. Who loses both journals, or both copies of a record, has lost what was in them.
    precious: u8,
}

impl Life {
    fn new() -> Self {
        let host = Host::new();
        let metering = host.start();
        let control_plane = ControlPlane::new(SIDECAR);
        Self { host, metering, runtime: Runtime::default(), control_plane, now_s: 0, skew_s: 0, precious: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Consume(steps) => self.runtime.consume(steps),
            Step::Sample => self.sample(),
            Step::RuntimeBeginsAnew => {
                // Kept as well as seen: an epoch that only a dead process saw is gone with both.
                self.sample();
                self.beat_surely();
                self.runtime.lose_journal();
                self.precious = 4;
            }
            Step::Wait(s) => self.now_s += s,
            Step::Skew(s) => self.skew_s = s,
            Step::Beat => drop(self.beat()),
            Step::BeatOnFaultyDisk(fault) => {
                self.host.disk.fail_next(fault);
                drop(self.beat());
            }
            Step::Deliver => {
                deliver(&mut self.metering, &mut self.control_plane, at(self.now_s)).unwrap();
            }
            Step::AnswerLost => {
                let batch = self.metering.batch(100).unwrap();
                self.control_plane.take(&batch, at(self.now_s));
                self.metering.not_delivered();
            }
            Step::Unreachable => self.metering.not_delivered(),
            Step::Crash { kept, zeroed } => {
                self.host.disk.cut_power(kept, zeroed);
                self.metering = self.host.start();
            }
            Step::CrashAndRot(from_end) => {
                self.host.disk.cut_power(255, false);
                if self.precious == 0 {
                    self.host.disk.rot(from_end);
                    self.precious = 4;
                }
                self.metering = self.host.start();
            }
        }
    }

    fn sample(&mut self) {
        self.metering.observe(&self.runtime.sample());
    }

    fn beat(&mut self) -> Result<(), sidecar::metering::MeteringError> {
        let before = self.host.disk.size();
        beat(&mut self.metering, at(self.now_s + self.skew_s))?;
        if self.host.disk.size() > before {
            self.precious = self.precious.saturating_sub(1);
        }
        Ok(())
    }

    fn beat_surely(&mut self) {
        // A fault that is still armed fails the first try at most.
        if self.beat().is_err() {
            self.beat().unwrap();
        }
    }

    fn check(&self) {
        assert_eq!(self.control_plane.accusations, Vec::<&str>::new());
        assert!(self.control_plane.usage.steps <= self.runtime.consumed, "counted more than was consumed");
    }

    /// Everything works again: a few heartbeats later, everything that was consumed is counted.
    fn end(&mut self) {
        (self.skew_s, self.now_s) = (0, self.now_s + 1_000);
        for _ in 0..4 {
            self.sample();
            self.beat_surely();
            while !self.metering.is_settled() {
                deliver(&mut self.metering, &mut self.control_plane, at(self.now_s)).unwrap();
            }
            self.now_s += 10;
        }
        self.check();
        assert_eq!(self.control_plane.usage, steps(self.runtime.consumed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_counter_has_two_contents_and_no_usage_is_lost_or_counted_twice(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut life = Life::new();
        for step in &steps {
            life.step(step);
            life.check();
        }
        life.end();
    }
}
