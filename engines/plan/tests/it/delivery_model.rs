//! A delivery against a data plane and a network that misbehave in every way that is allowed for:
//! lost and late requests, lost answers, crashes of either side, a lost journal, clocks apart.

use plan::{Admission, Answer, Delivery, End, Event, GiveUp, Next, Policy, Refusal, SKEW_MS, Stage, Ticket};
use proptest::prelude::*;
use terms::{Digest, ExecutionId, PlanId, Timestamp, Verified};
use wire::plan_token::LIFETIME_S;

const POLICY: Policy = Policy { retry_first_ms: 500, retry_max_ms: 60_000, give_up_ms: 24 * 3_600_000 };
const RUN_MS: i64 = 3_600_000;
const BEGIN_MS: i64 = 1_700_000_000_000;

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
enum Network {
    Whole,
    NoConnection,
    RequestLost,
    RequestLate,
    AnswerLost,
    /// The control plane stops before the request is out.
    CrashBefore,
    /// The control plane stops after it is out, before the answer is saved.
    CrashAfter,
}

/// What the data plane does with a plan that it could admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Busy,
    KeysLag,
    Misconfigured,
}

#[derive(Debug, Clone)]
enum Step {
    /// The delivery's driver does what is next.
    Drive(Network),
    Pass {
        ms: i64,
    },
    /// A late request arrives, perhaps once more.
    Arrive(prop::sample::Index),
    Mood(Mood),
    Restart,
    LoseJournal,
    /// The execution ends on the data plane, and its outcome arrives.
    Finish,
    Cancel,
}

fn steps() -> impl Strategy<Value = (i64, Vec<Step>)> {
    use Network::{AnswerLost, CrashAfter, CrashBefore, NoConnection, RequestLate, RequestLost, Whole};
    let network = prop::sample::select(vec![
        Whole,
        NoConnection,
        RequestLost,
        RequestLate,
        AnswerLost,
        CrashBefore,
        CrashAfter,
    ]);
    let pass = prop_oneof![
        0..5_000i64,
        0..90_000i64,
        Just(LIFETIME_S * 1_000),
        Just(LIFETIME_S * 1_000 + SKEW_MS),
        0..4 * 3_600_000i64
    ];
    let mood =
        prop::sample::select(vec![Mood::Well, Mood::Well, Mood::Busy, Mood::KeysLag, Mood::Misconfigured]);
    let step = prop_oneof![
        12 => network.prop_map(Step::Drive),
        8 => pass.prop_map(|ms| Step::Pass { ms }),
        3 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        2 => mood.prop_map(Step::Mood),
        2 => Just(Step::Restart),
        1 => Just(Step::LoseJournal),
        1 => Just(Step::Finish),
        1 => Just(Step::Cancel),
    ];
    (-SKEW_MS + 1..SKEW_MS, prop::collection::vec(step, 1..80))
}

struct World {
    now_ms: i64,
    // The control plane.
    delivery: Delivery,
    ticket: Option<Ticket>,
    issued: u8,
    // Between them.
    late: Vec<Ticket>,
    // The data plane.
    clock_ms: i64,
    mood: Mood,
    admission: Admission,
    journal: Vec<Ticket>,
    journal_since: Timestamp,
    lost_journals: u32,
    was_misconfigured: bool,
    // What really happened.
    runs: u32,
    cancelled: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn an_execution_never_runs_twice_and_runs_if_its_data_plane_comes_back((clock_ms, steps) in steps()) {
        let mut world = World::new(clock_ms);
        for step in steps {
            world.take(step);
            world.check();
        }
        world.settle();
        world.check();
        world.check_end();
    }
}

impl World {
    fn new(clock_ms: i64) -> Self {
        Self {
            now_ms: BEGIN_MS,
            delivery: Delivery::new(at(BEGIN_MS), RUN_MS),
            ticket: None,
            issued: 0,
            late: Vec::new(),
            clock_ms,
            mood: Mood::Well,
            admission: Admission::new(),
            journal: Vec::new(),
            journal_since: at(BEGIN_MS - 3_600_000),
            lost_journals: 0,
            was_misconfigured: false,
            runs: 0,
            cancelled: false,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Drive(network) => self.drive(network),
            Step::Pass { ms } => self.now_ms += ms,
            Step::Arrive(index) if !self.late.is_empty() => {
                let ticket = index.get(&self.late).clone();
                self.receive(&ticket);
            }
            Step::Arrive(_) => {}
            Step::Mood(mood) => {
                self.mood = mood;
                self.was_misconfigured |= mood == Mood::Misconfigured;
            }
            Step::Restart => {
                self.admission = match self.lost_journals {
                    0 => Admission::new(),
                    _ => Admission::after_loss(self.journal_since, SKEW_MS),
                };
                self.admission.restore(self.journal.clone());
            }
            Step::LoseJournal => {
                self.journal.clear();
                self.journal_since = self.data_now();
                self.lost_journals += 1;
                self.admission = Admission::after_loss(self.journal_since, SKEW_MS);
            }
            Step::Finish => self.finish(),
            Step::Cancel => {
                self.cancelled = true;
                self.tell(Event::CancelRequested);
            }
        }
    }

    /// One turn of the delivery's driver.
    fn drive(&mut self, network: Network) {
        match self.delivery.next(at(self.now_ms), &POLICY) {
            Next::Draft => self.draft(),
            Next::Send => self.send(network),
            Next::Ask => {
                if let Some(answer) = self.ask(network) {
                    self.tell(Event::Asked(answer));
                }
            }
            Next::Cancel => match network {
                Network::Whole if self.admission.contains(execution()) => {
                    self.tell(Event::CancelTaken);
                    self.finish();
                }
                Network::Whole => {
                    self.tell(Event::Asked(Answer::Unknown { journal_since: self.journal_since }));
                }
                _ => self.tell(Event::SendFailed),
            },
            Next::GiveUp(_) => self.tell(Event::GaveUp),
            Next::Wait { .. } | Next::Done => {}
        }
    }

    fn draft(&mut self) {
        self.issued += 1;
        let issued_at = Timestamp::from_unix_s(at(self.now_ms).unix_s());
        let ticket = Ticket {
            issuer: "https://localhost".into(),
            plan_id: PlanId::from_bytes([self.issued; 16]),
            execution_id: execution(),
            plan_hash: Digest::sha256(&[self.issued]),
            issued_at,
            expires_at: issued_at.plus_ms(LIFETIME_S * 1_000),
        };
        let (plan_id, plan_hash) = (ticket.plan_id, ticket.plan_hash);
        self.ticket = Some(ticket);
        self.tell(Event::Drafted { plan_id, plan_hash, issued_at });
    }

    fn send(&mut self, network: Network) {
        let ticket = self.ticket.clone().unwrap();
        self.tell(Event::Sending);
        match network {
            Network::Whole => {
                let answer = self.receive(&ticket);
                self.tell(answer);
            }
            Network::NoConnection => self.tell(Event::Unreachable),
            Network::RequestLost => self.tell(Event::SendFailed),
            Network::RequestLate => {
                self.late.push(ticket);
                self.tell(Event::SendFailed);
            }
            Network::AnswerLost => {
                self.receive(&ticket);
                self.tell(Event::SendFailed);
            }
            Network::CrashBefore => {}
            Network::CrashAfter => drop(self.receive(&ticket)),
        }
    }

    fn ask(&self, network: Network) -> Option<Answer> {
        match network {
            Network::Whole if self.admission.contains(execution()) => Some(Answer::Known),
            Network::Whole => Some(Answer::Unknown { journal_since: self.journal_since }),
            Network::NoConnection | Network::RequestLost | Network::RequestLate | Network::AnswerLost => {
                Some(Answer::NoAnswer)
            }
            Network::CrashBefore | Network::CrashAfter => None,
        }
    }

    /// A plan arrives at the data plane.
    fn receive(&mut self, ticket: &Ticket) -> Event {
        match self.mood {
            Mood::Well => {}
            Mood::Busy => return Event::Deferred,
            Mood::KeysLag => return Event::Refused("plan.unknown_key".into()),
            Mood::Misconfigured => return Event::Refused("plan.wrong_audience".into()),
        }
        match self.admission.admit(Verified::attest(ticket.clone()), self.data_now()) {
            Ok(admitted) => {
                self.journal.push(admitted.into_ticket());
                self.runs += 1;
                Event::Accepted
            }
            Err(Refusal::Replayed { .. }) => Event::Accepted,
            Err(refusal) => Event::Refused(refusal.code().into()),
        }
    }

    fn finish(&mut self) {
        if self.admission.contains(execution()) {
            self.tell(Event::OutcomeArrived);
        }
    }

    /// Everything is well from here on.
    fn settle(&mut self) {
        self.mood = Mood::Well;
        for _ in 0..200 {
            if let Next::Wait { until } = self.delivery.next(at(self.now_ms), &POLICY) {
                self.finish();
                self.now_ms = self.now_ms.max(until.unix_ms());
            }
            self.drive(Network::Whole);
        }
    }

    fn check(&self) {
        assert!(self.runs <= 1, "it ran {} times", self.runs);
        let never_ran = matches!(
            &self.delivery.stage,
            Stage::Ended(End::Cancelled | End::GivenUp(GiveUp::Undelivered | GiveUp::Refused(_)))
        );
        assert!(!never_ran || self.runs == 0, "it ran, although {:?}", self.delivery.stage);
        if let Stage::Accepted(_) = self.delivery.stage {
            assert_eq!(self.runs, 1);
        }
    }

    fn check_end(&self) {
        let Stage::Ended(end) = &self.delivery.stage else {
            panic!("not over: {:?}", self.delivery);
        };
        let late = self.now_ms - BEGIN_MS >= POLICY.give_up_ms;
        match end {
            End::Outcome => assert_eq!(self.runs, 1),
            End::Cancelled => assert!(self.cancelled),
            End::GivenUp(GiveUp::JournalLost) => assert!(self.lost_journals > 0),
            End::GivenUp(GiveUp::Refused(_)) => assert!(self.was_misconfigured),
            End::GivenUp(GiveUp::Undelivered | GiveUp::Unanswered) => assert!(late),
        }
    }

    fn tell(&mut self, event: Event) {
        let jitter = u16::try_from(self.now_ms % 65_536).unwrap();
        self.delivery.apply(event, at(self.now_ms), jitter, &POLICY).unwrap();
    }

    fn data_now(&self) -> Timestamp {
        at(self.now_ms + self.clock_ms)
    }
}

fn execution() -> ExecutionId {
    ExecutionId::from_bytes([7; 16])
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}
