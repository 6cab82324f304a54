//! A data plane's admission, over restarts, a lost journal and forgetting.

use plan::{Admission, Refusal, SKEW_MS, Ticket};
use proptest::prelude::*;
use std::collections::BTreeMap;
use terms::{Digest, ExecutionId, PlanId, Timestamp, Verified};
use wire::plan_token::LIFETIME_S;

#[test]
fn a_plan_is_admitted_once() {
    let mut admission = Admission::new();
    assert_eq!(admission.admit(ticket(1, 1, 1), at(0)).unwrap().into_ticket().execution_id, execution(1));
    let replayed = Err(Refusal::Replayed { execution_id: execution(1) });
    assert_eq!(admission.admit(ticket(1, 1, 1), at(1)), replayed);
    assert_eq!(admission.admit(ticket(1, 1, 1), at(1_000_000)), replayed, "also after it expired");
    assert!(admission.contains(execution(1)));
}

#[test]
fn an_id_that_comes_again_with_something_else_is_a_conflict() {
    let mut admission = Admission::new();
    admission.admit(ticket(1, 1, 1), at(0)).unwrap();
    assert_eq!(admission.admit(ticket(1, 1, 2), at(0)), Err(Refusal::Conflict));
    assert_eq!(admission.admit(ticket(1, 2, 2), at(0)), Err(Refusal::Conflict));
    let taken = Err(Refusal::ExecutionConflict { plan_id: plan_id(1) });
    assert_eq!(admission.admit(ticket(2, 1, 1), at(0)), taken, "even with the same bytes");
    assert_eq!(admission.remembered(), 1);
}

#[test]
fn two_issuers_may_use_one_plan_id() {
    let mut admission = Admission::new();
    admission.admit(ticket(1, 1, 1), at(0)).unwrap();
    let other = |ticket: Ticket| Ok::<_, ()>(Ticket { issuer: "https://other".into(), ..ticket });
    assert!(admission.admit(ticket(1, 2, 2).try_map(other).unwrap(), at(0)).is_ok());
    let stolen = ticket(3, 1, 3).try_map(other).unwrap();
    assert_eq!(admission.admit(stolen, at(0)), Err(Refusal::ExecutionConflict { plan_id: plan_id(1) }));
}

#[test]
fn a_token_is_valid_from_its_issue_less_skew_until_exactly_its_expiry() {
    let admit = |ms: i64| Admission::new().admit(ticket(1, 1, 1), at(ms));
    assert_eq!(admit(-SKEW_MS - 1), Err(Refusal::NotYetValid(at(0))));
    assert!(admit(-SKEW_MS).is_ok());
    assert!(admit(LIFETIME_S * 1_000 - 1).is_ok());
    assert_eq!(admit(LIFETIME_S * 1_000), Err(Refusal::Expired(at(LIFETIME_S * 1_000))));
}

#[test]
fn after_the_journal_is_lost_older_tokens_are_refused() {
    let admit =
        |lost_ms: i64| Admission::after_loss(at(lost_ms), SKEW_MS).admit(ticket(1, 1, 1), at(lost_ms.max(0)));
    assert_eq!(admit(0), Err(Refusal::IssuedBeforeRecovery(at(SKEW_MS))));
    assert_eq!(admit(-SKEW_MS + 1), Err(Refusal::IssuedBeforeRecovery(at(1))));
    assert!(admit(-SKEW_MS).is_ok());
}

#[test]
fn an_expired_token_is_refused_as_such_however_young_the_journal_is() {
    let expiry = at(LIFETIME_S * 1_000);
    for journal_since in [at(-1_000_000), at(0), at(1), expiry, expiry.plus_ms(1_000)] {
        let mut admission = Admission::after_loss(journal_since, SKEW_MS);
        for now in [expiry, expiry.plus_ms(1_000_000)] {
            assert_eq!(admission.admit(ticket(1, 1, 1), now), Err(Refusal::Expired(expiry)));
        }
        assert_eq!(admission.remembered(), 0);
    }
}

#[test]
fn what_is_forgotten_is_not_admitted_again_even_if_the_clock_goes_back() {
    let mut admission = Admission::new();
    admission.admit(ticket(1, 1, 1), at(0)).unwrap();
    let dead = LIFETIME_S * 1_000 + SKEW_MS;
    admission.forget(at(dead));
    assert!(admission.contains(execution(1)), "not before expiry and skew");
    admission.forget(at(dead + 1));
    assert_eq!((admission.contains(execution(1)), admission.remembered()), (false, 0));
    let expired = Err(Refusal::Expired(at(LIFETIME_S * 1_000)));
    assert_eq!(admission.admit(ticket(1, 1, 1), at(dead + 1)), expired);
    assert_eq!(admission.admit(ticket(1, 1, 1), at(10)), expired);
}

/// What can happen to a data plane.
#[derive(Debug, Clone)]
enum Step {
    /// The control plane signs a plan for one of few executions, its clock up to the skew away.
    Issue { execution: u8, clock_ms: i64 },
    /// One of the signed plans arrives, for the first time or again.
    Arrive { token: prop::sample::Index },
    /// Somebody with the key signs other bytes under an id that was used.
    Forge { token: prop::sample::Index, execution: u8 },
    /// Time passes.
    Pass { ms: i64 },
    /// The process restarts with its journal.
    Restart,
    /// The process restarts without it.
    Lose,
    /// Old plans are forgotten.
    Forget { ago_ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clock_ms = -SKEW_MS + 1..SKEW_MS;
    let pass = prop_oneof![0..2_000i64, Just(SKEW_MS), 0..400_000i64];
    prop::collection::vec(
        prop_oneof![
            4 => (0..4u8, clock_ms).prop_map(|(execution, clock_ms)| Step::Issue { execution, clock_ms }),
            8 => any::<prop::sample::Index>().prop_map(|token| Step::Arrive { token }),
            1 => (any::<prop::sample::Index>(), 0..4u8).prop_map(|(token, execution)| Step::Forge { token, execution }),
            3 => pass.prop_map(|ms| Step::Pass { ms }),
            1 => Just(Step::Restart),
            1 => Just(Step::Lose),
            1 => (0..400_000i64).prop_map(|ago_ms| Step::Forget { ago_ms }),
        ],
        1..120,
    )
}

/// A data plane, and what really happened on it.
#[derive(Default)]
struct World {
    now_ms: i64,
    lost_at: Option<Timestamp>,
    admission: Admission,
    journal: Vec<Ticket>,
    tokens: Vec<Ticket>,
    /// How often each plan ran, ever.
    plan_runs: BTreeMap<PlanId, u32>,
    /// How often each execution ran since the journal was lost or the execution forgotten.
    execution_runs: BTreeMap<ExecutionId, u32>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_plan_is_ever_admitted_twice_and_no_execution_while_it_is_remembered(steps in steps()) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
            prop_assert!(world.plan_runs.values().all(|n| *n == 1), "a plan ran twice");
            prop_assert!(world.execution_runs.values().all(|n| *n == 1), "an execution ran twice");
            for ticket in &world.journal {
                let forgotten = !world.execution_runs.contains_key(&ticket.execution_id);
                prop_assert!(world.admission.contains(ticket.execution_id) || forgotten);
            }
        }
    }
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Issue { execution: e, clock_ms } => {
                let issued_at = Timestamp::from_unix_s(at(self.now_ms + clock_ms).unix_s());
                let serial = u8::try_from(self.tokens.len()).unwrap();
                self.tokens.push(ticket_at(serial, e, serial, issued_at));
            }
            Step::Arrive { token } if !self.tokens.is_empty() => {
                let ticket = token.get(&self.tokens).clone();
                self.arrive(ticket);
            }
            Step::Forge { token, execution: e } if !self.tokens.is_empty() => {
                let ticket = token.get(&self.tokens);
                let used = self.plan_runs.contains_key(&ticket.plan_id);
                let forged = Ticket {
                    plan_hash: Digest::sha256(b"forged"),
                    execution_id: execution(e),
                    ..ticket.clone()
                };
                if used {
                    self.arrive(forged);
                }
            }
            Step::Arrive { .. } | Step::Forge { .. } => {}
            Step::Pass { ms } => self.now_ms += ms,
            Step::Restart => {
                self.admission = match self.lost_at {
                    None => Admission::new(),
                    Some(at) => Admission::after_loss(at, SKEW_MS),
                };
                self.admission.restore(self.journal.clone());
            }
            Step::Lose => {
                self.lost_at = Some(at(self.now_ms));
                self.admission = Admission::after_loss(at(self.now_ms), SKEW_MS);
                self.journal.clear();
                self.execution_runs.clear();
            }
            Step::Forget { ago_ms } => {
                let before = at(self.now_ms - ago_ms);
                self.admission.forget(before);
                self.journal.retain(|ticket| self.admission.contains(ticket.execution_id));
                self.execution_runs.retain(|id, _| self.admission.contains(*id));
            }
        }
    }

    fn arrive(&mut self, ticket: Ticket) {
        let before = self.admission.clone();
        match self.admission.admit(Verified::attest(ticket.clone()), at(self.now_ms)) {
            Ok(admitted) => {
                assert_eq!(admitted.ticket(), &ticket);
                *self.plan_runs.entry(ticket.plan_id).or_default() += 1;
                *self.execution_runs.entry(ticket.execution_id).or_default() += 1;
                self.journal.push(ticket);
            }
            Err(refusal) => {
                assert_eq!(self.admission, before, "a refusal leaves the admission unchanged");
                let known = before.contains(ticket.execution_id);
                assert!(known || !matches!(refusal, Refusal::Replayed { .. }));
            }
        }
    }
}

fn ticket(plan: u8, execution: u8, hash: u8) -> Verified<Ticket> {
    Verified::attest(ticket_at(plan, execution, hash, at(0)))
}

fn ticket_at(plan: u8, execution_number: u8, hash: u8, issued_at: Timestamp) -> Ticket {
    Ticket {
        issuer: "https://localhost".into(),
        plan_id: plan_id(plan),
        execution_id: execution(execution_number),
        plan_hash: Digest::sha256(&[hash]),
        issued_at,
        expires_at: issued_at.plus_ms(LIFETIME_S * 1_000),
    }
}

fn execution(number: u8) -> ExecutionId {
    ExecutionId::from_bytes([number; 16])
}

fn plan_id(number: u8) -> PlanId {
    PlanId::from_bytes([number; 16])
}

/// Milliseconds after the time at which the tests begin.
fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}
