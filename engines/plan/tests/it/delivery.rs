//! What a delivery decides, one decision at a time.

use plan::{Answer, Cancel, Delivery, End, Event, GiveUp, Misplaced, Next, Policy, SKEW_MS, Stage, Verdict};
use terms::{Digest, PlanId, Timestamp};
use wire::plan_token::LIFETIME_S;

const POLICY: Policy = Policy { retry_first_ms: 1_000, retry_max_ms: 60_000, give_up_ms: 86_400_000 };
const RUN_MS: i64 = 600_000;
const EXPIRY_MS: i64 = LIFETIME_S * 1_000;
const DEAD_MS: i64 = EXPIRY_MS + SKEW_MS;
/// A journal that began long before the first plan.
const OLD_JOURNAL: Answer = Answer::Unknown { journal_since: Timestamp::from_unix_ms(0) };

#[test]
fn a_plan_is_drafted_sent_accepted_and_ends() {
    let mut delivery = Delivery::new(at(0), RUN_MS);
    assert_eq!(delivery.next(at(0), &POLICY), Next::Draft);
    tell(&mut delivery, 0, drafted(1, 0));
    assert_eq!(delivery.next(at(0), &POLICY), Next::Send);
    tell(&mut delivery, 0, Event::Sending);
    tell(&mut delivery, 5, Event::Accepted);
    assert_eq!(delivery.next(at(5), &POLICY), Next::Wait { until: at(5 + RUN_MS) });
    tell(&mut delivery, 9, Event::OutcomeArrived);
    assert_eq!(delivery.next(at(9), &POLICY), Next::Done);
    assert_eq!(delivery.stage, Stage::Ended(End::Outcome));
}

#[test]
fn a_lost_answer_is_followed_by_the_same_plan_until_it_expires() {
    let mut delivery = sent(&[Event::Sending, Event::SendFailed]);
    let Next::Wait { until } = delivery.next(at(0), &POLICY) else { panic!("no wait") };
    assert_eq!(delivery.next(until, &POLICY), Next::Send);
    assert_eq!(delivery.next(at(EXPIRY_MS - 1), &POLICY), Next::Send);
    assert_eq!(delivery.next(at(EXPIRY_MS), &POLICY), Next::Ask);
    tell(&mut delivery, EXPIRY_MS, Event::Asked(Answer::Known));
    assert!(matches!(delivery.stage, Stage::Accepted(_)));
}

#[test]
fn a_new_plan_is_issued_only_after_the_last_one_is_dead_and_unknown() {
    let mut delivery = sent(&[Event::Sending, Event::SendFailed]);
    tell(&mut delivery, EXPIRY_MS, Event::Asked(OLD_JOURNAL));
    assert_eq!(delivery.next(at(EXPIRY_MS), &POLICY), Next::Wait { until: at(DEAD_MS) });
    assert_eq!(delivery.next(at(DEAD_MS), &POLICY), Next::Ask);
    tell(&mut delivery, DEAD_MS, Event::Asked(OLD_JOURNAL));
    assert_eq!((&delivery.stage, delivery.exposed_since), (&Stage::Queued, None));
    assert_eq!(delivery.next(at(DEAD_MS + 60_000), &POLICY), Next::Draft);
}

#[test]
fn a_journal_younger_than_the_first_send_proves_nothing() {
    for (journal_since, doom) in [(-SKEW_MS, None), (-SKEW_MS + 1, Some(GiveUp::JournalLost))] {
        let mut delivery = sent(&[Event::Sending, Event::SendFailed]);
        let answer = Answer::Unknown { journal_since: at(journal_since) };
        tell(&mut delivery, DEAD_MS, Event::Asked(answer));
        assert_eq!(delivery.doom, doom, "{journal_since}");
    }
}

#[test]
fn a_crash_while_sending_counts_as_a_plan_that_may_have_arrived() {
    let delivery = sent(&[Event::Sending]);
    assert_eq!(delivery.next(at(0), &POLICY), Next::Send);
    let mut again = delivery.clone();
    tell(&mut again, 7, Event::Sending);
    tell(&mut again, 8, Event::Unreachable);
    assert_eq!(again.exposed_since, Some(at(0)));
    let mut asked = delivery;
    tell(&mut asked, DEAD_MS, Event::Asked(Answer::Unknown { journal_since: at(1) }));
    assert_eq!(asked.doom, Some(GiveUp::JournalLost));
}

#[test]
fn a_data_plane_that_was_never_reached_exposes_nothing() {
    let mut delivery = sent(&[Event::Sending, Event::Unreachable, Event::Sending, Event::Deferred]);
    assert_eq!(delivery.exposed_since, None);
    tell(&mut delivery, DEAD_MS, Event::Asked(Answer::Unknown { journal_since: at(DEAD_MS) }));
    assert_eq!((&delivery.stage, &delivery.doom), (&Stage::Queued, &None));
    assert_eq!(
        delivery.next(at(POLICY.give_up_ms), &POLICY),
        Next::GiveUp(GiveUp::Undelivered),
        "after the deadline"
    );
}

#[test]
fn a_refusal_is_final_open_or_a_reason_to_ask() {
    let after = |code: &str| {
        let delivery = sent(&[Event::Sending, Event::Refused(code.into())]);
        delivery.next(at(60_000), &POLICY)
    };
    for code in ["plan.unknown_key", "plan.keys_unavailable", "plan.not_yet_valid", "plan.expired"] {
        assert_eq!(after(code), Next::Send, "{code}");
    }
    for code in ["plan.execution_conflict", "plan.replayed", "plan.issued_before_recovery"] {
        assert_eq!(after(code), Next::Ask, "{code}");
    }
    for code in ["plan.bad_signature", "plan.conflict", "plan.wrong_audience", "anything else"] {
        assert_eq!(after(code), Next::GiveUp(GiveUp::Refused(code.into())), "{code}");
    }
}

#[test]
fn a_final_refusal_of_a_plan_that_may_run_already_is_asked_about_first() {
    let refused = Event::Refused("plan.bad_signature".into());
    let delivery = sent(&[Event::Sending, Event::SendFailed, Event::Sending, refused]);
    assert_eq!(delivery.next(at(60_000), &POLICY), Next::Ask);
    let mut known = delivery.clone();
    tell(&mut known, 60_000, Event::Asked(Answer::Known));
    assert!(matches!(known.stage, Stage::Accepted(_)));
    let mut unknown = delivery;
    tell(&mut unknown, DEAD_MS, Event::Asked(OLD_JOURNAL));
    let never_ran = GiveUp::Refused("plan.bad_signature".into());
    assert_eq!(unknown.next(at(DEAD_MS), &POLICY), Next::GiveUp(never_ran.clone()));
    tell(&mut unknown, DEAD_MS, Event::GaveUp);
    assert_eq!(unknown.stage, Stage::Ended(End::GivenUp(never_ran)));
}

#[test]
fn a_plan_that_a_recovered_data_plane_will_never_admit_is_replaced_at_once() {
    let mut delivery = sent(&[Event::Sending, Event::Refused("plan.issued_before_recovery".into())]);
    tell(&mut delivery, 10, Event::Asked(Answer::Unknown { journal_since: at(-1) }));
    assert_eq!((&delivery.stage, &delivery.doom), (&Stage::Queued, &None));
}

#[test]
fn waits_double_up_to_the_longest_and_jitter_spreads_half_of_each() {
    let waits = |jitter: u16| -> Vec<i64> {
        let mut delivery = sent(&[]);
        let fail = |_| {
            delivery.apply(Event::Unreachable, at(0), jitter, &POLICY).unwrap();
            delivery.wait_until.ms_since(at(0))
        };
        (0..8).map(fail).collect()
    };
    assert_eq!(waits(u16::MAX), [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(waits(0), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
}

#[test]
fn cancelling_before_anything_was_sent_ends_it_and_later_asks_first() {
    for events in [&[][..], &[Event::Sending, Event::Unreachable]] {
        let mut delivery = sent(events);
        tell(&mut delivery, 1, Event::CancelRequested);
        assert_eq!(delivery.stage, Stage::Ended(End::Cancelled));
    }
    let mut delivery = sent(&[Event::Sending, Event::SendFailed]);
    tell(&mut delivery, 1, Event::CancelRequested);
    assert_eq!(delivery.next(at(1), &POLICY), Next::Ask, "and no plan is sent again");
    let mut unknown = delivery.clone();
    tell(&mut unknown, DEAD_MS, Event::Asked(OLD_JOURNAL));
    assert_eq!(unknown.stage, Stage::Ended(End::Cancelled));
    tell(&mut delivery, 2, Event::Asked(Answer::Known));
    assert_eq!(delivery.next(at(2), &POLICY), Next::Cancel);
    tell(&mut delivery, 3, Event::CancelTaken);
    assert_eq!(delivery.cancel, Cancel::Taken);
    assert_eq!(delivery.next(at(3), &POLICY), Next::Wait { until: at(3 + RUN_MS) });
}

#[test]
fn an_execution_whose_outcome_is_overdue_is_asked_for() {
    let mut delivery = sent(&[Event::Sending, Event::Accepted]);
    assert_eq!(delivery.next(at(RUN_MS), &POLICY), Next::Ask);
    tell(&mut delivery, RUN_MS, Event::Asked(Answer::Known));
    assert_eq!(delivery.next(at(RUN_MS), &POLICY), Next::Wait { until: at(2 * RUN_MS) });
    tell(&mut delivery, 2 * RUN_MS, Event::Asked(OLD_JOURNAL));
    assert_eq!(delivery.next(at(2 * RUN_MS), &POLICY), Next::GiveUp(GiveUp::JournalLost));
    let silent = sent(&[Event::Sending, Event::Accepted]);
    let end = at(RUN_MS + POLICY.give_up_ms);
    assert_eq!(silent.next(end, &POLICY), Next::GiveUp(GiveUp::Unanswered));
}

#[test]
fn a_plan_that_may_run_is_given_up_as_unanswered_and_only_when_it_is_dead() {
    let mut delivery = Delivery::new(at(-POLICY.give_up_ms), RUN_MS);
    tell(&mut delivery, -1, drafted(1, 0));
    tell(&mut delivery, -1, Event::Sending);
    tell(&mut delivery, -1, Event::SendFailed);
    assert_eq!(delivery.next(at(60_000), &POLICY), Next::Ask, "past the deadline nothing is sent");
    assert_eq!(delivery.next(at(DEAD_MS), &POLICY), Next::GiveUp(GiveUp::Unanswered));
}

#[test]
fn an_outcome_that_comes_after_giving_up_still_counts() {
    let mut delivery = sent(&[Event::Sending, Event::Accepted, Event::Asked(OLD_JOURNAL), Event::GaveUp]);
    assert_eq!(delivery.stage, Stage::Ended(End::GivenUp(GiveUp::JournalLost)));
    tell(&mut delivery, 1, Event::OutcomeArrived);
    assert_eq!(delivery.stage, Stage::Ended(End::Outcome));
}

#[test]
fn events_out_of_place_are_refused_and_late_answers_change_nothing() {
    let mut delivery = sent(&[]);
    let before = delivery.clone();
    for event in [drafted(2, 0), Event::GaveUp] {
        assert_eq!(delivery.apply(event, at(0), 0, &POLICY), Err(Misplaced));
    }
    assert_eq!(delivery, before);
    tell(&mut delivery, 0, Event::OutcomeArrived);
    assert_eq!(delivery.apply(Event::Sending, at(0), 0, &POLICY), Err(Misplaced));
    for late in [Event::Accepted, Event::Refused("plan.conflict".into()), Event::Asked(OLD_JOURNAL)] {
        tell(&mut delivery, 0, late);
        assert_eq!(delivery.stage, Stage::Ended(End::Outcome));
    }
}

#[test]
fn only_listed_codes_are_worth_another_try() {
    assert_eq!(Verdict::from_code("plan.unknown_key"), Verdict::Open);
    assert_eq!(Verdict::from_code(""), Verdict::Condemned(String::new()));
}

/// A delivery whose plan was drafted at 0, after `events` at 0.
fn sent(events: &[Event]) -> Delivery {
    let mut delivery = Delivery::new(at(0), RUN_MS);
    tell(&mut delivery, 0, drafted(1, 0));
    for event in events {
        tell(&mut delivery, 0, event.clone());
    }
    delivery
}

fn tell(delivery: &mut Delivery, now_ms: i64, event: Event) {
    delivery.apply(event, at(now_ms), 0, &POLICY).unwrap();
}

fn drafted(plan: u8, issued_ms: i64) -> Event {
    Event::Drafted {
        plan_id: PlanId::from_bytes([plan; 16]),
        plan_hash: Digest::sha256(&[plan]),
        issued_at: at(issued_ms),
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000 + ms)
}
