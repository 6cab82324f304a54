//! Answers: to the question that was asked, whole, within bounds, or not believed.

use crate::messages::{HOST, a, answer, cname, host, name};
use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use names::{ANSWER_MAX, AnswerError, Ask, ChainError, Outcome, Query, question, read_answer};
use std::net::Ipv4Addr;

const PUBLIC: [u8; 4] = [93, 184, 216, 34];

#[test]
fn a_question_is_one_that_the_other_side_takes() {
    let asked = question(&host(HOST)).unwrap();
    assert_eq!(asked[..2], [0, 0], "its id is zero (RFC 8484)");
    let taken = Query::read(&asked).unwrap();
    assert_eq!(taken.ask(), Ask::Addresses(host(HOST)));
    let outcome = Outcome::follow(&host(HOST), &[a(HOST, 60, PUBLIC)]).unwrap();
    assert_eq!(read_answer(&taken.answer(&outcome).unwrap(), &host(HOST)), Ok(outcome));
}

#[test]
fn each_outcome_comes_through_as_itself() {
    let found = Outcome::follow(&host(HOST), &[cname(HOST, 9, "b.example"), a("b.example", 60, PUBLIC)]);
    let outcomes = [
        found.unwrap(),
        Outcome::NoAddress,
        Outcome::NoSuchName,
        Outcome::Refused,
        Outcome::NotImplemented,
        Outcome::Failed,
    ];
    let taken = Query::read(&question(&host(HOST)).unwrap()).unwrap();
    for outcome in outcomes {
        let answer = taken.answer(&outcome).unwrap();
        assert_eq!(read_answer(&answer, &host(HOST)), Ok(outcome));
    }
}

#[test]
fn the_answer_to_another_question_is_not_believed() {
    let good = answer(vec![a(HOST, 60, PUBLIC)]);
    let with = |change: &dyn Fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    let other = |question: Question| with(&move |m: &mut Message| m.queries = vec![question.clone()]);
    let mut chaos = good.queries[0].clone();
    chaos.query_class = DNSClass::CH;
    let rows = [
        with(&|m| m.metadata.id = 1),
        with(&|m| m.metadata.message_type = MessageType::Query),
        with(&|m| m.metadata.op_code = OpCode::Notify),
        with(&|m| m.queries.clear()),
        with(&|m| m.queries.push(m.queries[0].clone())),
        other(Question::query(name("other.example.com"), RecordType::A)),
        other(Question::query(name(HOST), RecordType::AAAA)),
        other(chaos),
    ];
    for message in rows {
        let read = read_answer(&message.to_vec().unwrap(), &host(HOST));
        assert_eq!(read, Err(AnswerError::OtherQuestion), "{message}");
    }
    let shouted = other(Question::query(name(&HOST.to_uppercase()), RecordType::A));
    read_answer(&shouted.to_vec().unwrap(), &host(HOST)).expect("the case of letters is no difference");
}

#[test]
fn an_answer_that_is_cut_off_too_large_or_no_message_is_not_believed() {
    let mut cut = answer(vec![a(HOST, 60, PUBLIC)]);
    cut.metadata.truncation = true;
    assert_eq!(read_answer(&cut.to_vec().unwrap(), &host(HOST)), Err(AnswerError::Truncated));
    let large = answer((0..300).map(|n| a(HOST, 60, [93, 184, (n / 250) as u8, (n % 250) as u8])).collect());
    assert_eq!(read_answer(&large.to_vec().unwrap(), &host(HOST)), Err(AnswerError::TooLarge));
    let whole = answer(vec![a(HOST, 60, PUBLIC)]).to_vec().unwrap();
    for end in 0..whole.len() {
        assert!(read_answer(&whole[..end], &host(HOST)).is_err(), "cut after {end} bytes");
    }
    let longer = [whole.clone(), vec![0]].concat();
    assert_eq!(read_answer(&longer, &host(HOST)), Err(AnswerError::Malformed));
    let mut claims = whole;
    claims[4..6].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(read_answer(&claims, &host(HOST)), Err(AnswerError::OtherQuestion));
    assert_eq!(read_answer(&[0; ANSWER_MAX + 1], &host(HOST)), Err(AnswerError::TooLarge));
}

#[test]
fn aliases_are_followed_within_the_answer_alone() {
    let elsewhere = answer(vec![cname(HOST, 60, "edge.example.net"), a("other.example", 60, PUBLIC)]);
    assert_eq!(read_answer(&elsewhere.to_vec().unwrap(), &host(HOST)), Ok(Outcome::NoAddress));
    let circle = answer(vec![cname(HOST, 60, "b.example"), cname("b.example", 60, HOST)]);
    let read = read_answer(&circle.to_vec().unwrap(), &host(HOST));
    assert_eq!(read, Err(AnswerError::Chain(ChainError::Circle)));
}

#[test]
fn an_error_brings_no_addresses_whatever_stands_in_it() {
    for code in [ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr]
    {
        let mut message = answer(vec![a(HOST, 60, PUBLIC)]);
        message.metadata.response_code = code;
        let read = read_answer(&message.to_vec().unwrap(), &host(HOST)).unwrap();
        assert!(!matches!(read, Outcome::Found(_)), "{code}: {read:?}");
    }
}

#[test]
fn addresses_that_are_not_public_are_dropped_and_counted() {
    let private = [[10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [100, 64, 0, 1]];
    let all: Vec<_> = private.iter().map(|address| a(HOST, 60, *address)).collect();
    let refused = Outcome::follow(&host(HOST), &all).unwrap().public();
    assert_eq!(refused, (Outcome::Refused, 4));
    let mixed: Vec<_> = all.into_iter().chain([a(HOST, 60, PUBLIC)]).collect();
    let (Outcome::Found(found), 4) = Outcome::follow(&host(HOST), &mixed).unwrap().public() else {
        panic!("one is left");
    };
    assert_eq!(found.addresses(), [Ipv4Addr::from(PUBLIC)]);
    assert_eq!(Outcome::NoSuchName.public(), (Outcome::NoSuchName, 0));
}
