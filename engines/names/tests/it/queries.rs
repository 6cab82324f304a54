//! Queries: what is taken, what is answered without asking anybody, and what is refused.

use crate::messages::{HOST, a, cname, host, name, query};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use names::{ADDRESSES_MAX, ALIASES_MAX, ANSWER_MAX, Ask, Outcome, QUERY_MAX, Query, QueryError};
use proptest::prelude::*;

#[test]
fn a_question_for_addresses_is_taken_and_answered_with_its_chain() {
    let mut asked = query("API.example.com", RecordType::A);
    asked.set_edns(Edns::new());
    let taken = Query::read(&asked.to_vec().unwrap()).unwrap();
    assert_eq!(taken.ask(), Ask::Addresses(host(HOST)));
    let records = [cname(HOST, 60, "edge.example.net"), a("edge.example.net", 30, [93, 184, 216, 34])];
    let outcome = Outcome::follow(&host(HOST), &records).unwrap();
    let answer = Message::from_vec(&taken.answer(&outcome).unwrap()).unwrap();
    assert_eq!((answer.id, answer.message_type), (0xbeef, MessageType::Response));
    assert!(answer.recursion_desired && answer.recursion_available && !answer.authoritative);
    assert!(answer.queries[0].name.eq_case(&asked.queries[0].name), "the question is echoed as it came");
    assert_eq!(answer.answers, records);
    assert_eq!(answer.edns.map(|edns| edns.version()), Some(0), "who speaks EDNS is answered with it");
    assert_eq!(outcome.max_age_s(), 30);
}

#[test]
fn what_needs_nobody_to_be_asked_is_settled() {
    let with = |change: &dyn Fn(&mut Message)| {
        let mut message = query(HOST, RecordType::A);
        change(&mut message);
        message
    };
    let mut chaos = query(HOST, RecordType::A);
    chaos.queries[0].query_class = DNSClass::CH;
    let mut edns = Edns::new();
    edns.set_version(1);
    let rows = [
        (query(HOST, RecordType::AAAA), Outcome::NoAddress, ResponseCode::NoError),
        (query(HOST, RecordType::TXT), Outcome::NotImplemented, ResponseCode::NotImp),
        (query(HOST, RecordType::ANY), Outcome::NotImplemented, ResponseCode::NotImp),
        (query(HOST, RecordType::AXFR), Outcome::NotImplemented, ResponseCode::NotImp),
        (query(HOST, RecordType::Unknown(65_280)), Outcome::NotImplemented, ResponseCode::NotImp),
        (chaos, Outcome::NotImplemented, ResponseCode::NotImp),
        (with(&|m| m.metadata.op_code = OpCode::Status), Outcome::NotImplemented, ResponseCode::NotImp),
        (with(&|m| m.metadata.op_code = OpCode::Notify), Outcome::NotImplemented, ResponseCode::NotImp),
        (query("localhost", RecordType::A), Outcome::Refused, ResponseCode::Refused),
        (query("*.example.com", RecordType::A), Outcome::Refused, ResponseCode::Refused),
        (with(&|m| drop(m.edns.replace(edns.clone()))), Outcome::BadVersion, ResponseCode::BADVERS),
    ];
    for (message, outcome, code) in rows {
        let taken = Query::read(&message.to_vec().unwrap()).unwrap();
        assert_eq!(taken.ask(), Ask::Settled(outcome.clone()), "{message}");
        let answer = Message::from_vec(&taken.answer(&outcome).unwrap()).unwrap();
        // BADVERS and BADSIG are one number (RFC 6895).
        let said = (u16::from(answer.response_code), answer.answers.len());
        assert_eq!(said, (u16::from(code), 0), "{message}");
        assert_eq!(outcome.max_age_s(), 0, "an answer without records is not kept");
    }
}

#[test]
fn whatever_is_no_query_is_refused_with_its_reason() {
    let bytes = |message: &Message| message.to_vec().unwrap();
    let good = query(HOST, RecordType::A);
    let mut two = good.clone();
    two.add_query(Question::query(name("other.example.com"), RecordType::A));
    let mut none = good.clone();
    none.queries.clear();
    let mut answer = good.clone();
    answer.metadata.message_type = MessageType::Response;
    let mut brings = good.clone();
    brings.add_answer(a(HOST, 1, [1, 1, 1, 1]));
    let mut additional = good.clone();
    additional.add_additional(a(HOST, 1, [1, 1, 1, 1]));
    let mut claims = bytes(&good);
    // 65 535 questions in twelve bytes.
    claims[4..6].copy_from_slice(&[0xff, 0xff]);
    let mut loops = bytes(&good);
    // The name points at itself.
    loops[12..14].copy_from_slice(&[0xc0, 12]);
    let rows: [(Vec<u8>, QueryError); 12] = [
        (vec![], QueryError::Malformed),
        (vec![0; 11], QueryError::Malformed),
        (vec![0; 12], QueryError::Questions(0)),
        (bytes(&two), QueryError::Questions(2)),
        (bytes(&none), QueryError::Questions(0)),
        (claims, QueryError::Questions(0xffff)),
        (bytes(&answer), QueryError::Answer),
        (bytes(&brings), QueryError::Records),
        (bytes(&additional), QueryError::Records),
        (loops, QueryError::Malformed),
        ([bytes(&good), vec![0]].concat(), QueryError::Malformed),
        ([bytes(&good), vec![0; QUERY_MAX]].concat(), QueryError::TooLarge),
    ];
    for (bytes, why) in rows {
        assert_eq!(Query::read(&bytes), Err(why), "{bytes:?}");
    }
    let whole = bytes(&good);
    for end in 0..whole.len() {
        assert!(Query::read(&whole[..end]).is_err(), "cut after {end} bytes");
    }
}

#[test]
fn the_largest_answer_that_there_can_be_is_written() {
    // As long as names get, and nothing in common but their beginnings, which cannot be written shorter.
    let longest = |n: usize| format!("{0}.{0}.{0}.x{n:060}", "a".repeat(63));
    let aliases = (0..ALIASES_MAX).map(|n| cname(&longest(n), 60, &longest(n + 1)));
    let addresses = (0..200).map(|n| a(&longest(ALIASES_MAX), 60, [93, 184, 216, n]));
    let records: Vec<_> = aliases.chain(addresses).collect();
    let taken = Query::read(&query(&longest(0), RecordType::A).to_vec().unwrap()).unwrap();
    let outcome = Outcome::follow(&host(&longest(0)), &records).unwrap();
    let written = taken.answer(&outcome).unwrap();
    assert!(written.len() > 2_000 && written.len() <= ANSWER_MAX, "{}", written.len());
    let answer = Message::from_vec(&written).unwrap();
    assert_eq!(answer.answers.len(), ALIASES_MAX + ADDRESSES_MAX);
}

proptest! {
    #[test]
    fn any_bytes_are_a_query_that_can_be_answered_or_none(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        if let Ok(taken) = Query::read(&bytes) {
            prop_assert!(taken.answer(&Outcome::Failed).is_ok());
        }
    }

    #[test]
    fn a_changed_query_is_a_query_that_can_be_answered_or_none(
        at in 0_usize..60, byte in any::<u8>(), cut in 0_usize..80,
    ) {
        let mut message = query(HOST, RecordType::A);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        if let Ok(taken) = Query::read(&bytes) {
            prop_assert!(taken.answer(&Outcome::Failed).is_ok());
        }
    }
}
