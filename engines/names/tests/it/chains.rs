//! From a name to its addresses.

use crate::messages::{HOST, a, cname, host};
use hickory_proto::rr::{DNSClass, Record};
use names::{ADDRESSES_MAX, ALIASES_MAX, ChainError, Found, Outcome, TTL_MAX_S};
use std::net::Ipv4Addr;

#[test]
fn the_order_of_records_does_not_matter_and_strangers_are_left_out() {
    let records = [
        a("edge.example", 50, [93, 184, 216, 34]),
        a("evil.example", 1, [93, 184, 216, 66]),
        cname("middle.example", 20, "edge.example"),
        a("edge.example", 40, [93, 184, 216, 35]),
        a("edge.example", 40, [93, 184, 216, 35]),
        cname(HOST, 30, "middle.example"),
    ];
    let found = found(&records);
    assert_eq!(found.addresses(), [Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::new(93, 184, 216, 35)]);
    assert_eq!(found.ttl_s(), 20, "the shortest of the chain");
}

#[test]
fn a_record_of_another_class_is_no_record_of_the_name() {
    let mut chaos = a(HOST, 60, [93, 184, 216, 34]);
    chaos.dns_class = DNSClass::CH;
    assert_eq!(Outcome::follow(&host(HOST), &[chaos]), Ok(Outcome::NoAddress));
}

#[test]
fn a_circle_is_seen_however_long_it_is() {
    for length in 1..=ALIASES_MAX {
        let node =
            |n: usize| if n.is_multiple_of(length) { HOST.to_owned() } else { format!("n{n}.example") };
        let records: Vec<_> = (0..length).map(|n| cname(&node(n), 60, &node(n + 1))).collect();
        assert_eq!(Outcome::follow(&host(HOST), &records), Err(ChainError::Circle), "{length}");
    }
    // One that does not lead through the name itself.
    let records = [
        cname(HOST, 60, "a.example"),
        cname("a.example", 60, "b.example"),
        cname("b.example", 60, "A.example"),
    ];
    assert_eq!(Outcome::follow(&host(HOST), &records), Err(ChainError::Circle));
}

#[test]
fn a_chain_is_as_long_as_it_may_be_and_no_longer() {
    let node = |n: usize| if n == 0 { HOST.to_owned() } else { format!("n{n}.example") };
    let chain = |length: usize| -> Vec<Record> {
        let aliases = (0..length).map(|n| cname(&node(n), 60, &node(n + 1)));
        aliases.chain([a(&node(length), 60, [93, 184, 216, 34])]).collect()
    };
    assert!(matches!(Outcome::follow(&host(HOST), &chain(ALIASES_MAX)), Ok(Outcome::Found(_))));
    let longer = Outcome::follow(&host(HOST), &chain(ALIASES_MAX + 1));
    assert_eq!(longer, Err(ChainError::TooLong));
}

#[test]
fn addresses_and_their_time_are_bounded() {
    let many: Vec<_> = (0..200).map(|n| a(HOST, 86_400 * 365, [93, 184, 216, n])).collect();
    let many = found(&many);
    assert_eq!((many.addresses().len(), many.ttl_s()), (ADDRESSES_MAX, TTL_MAX_S));
    assert_eq!(found(&[a(HOST, 0x8000_0000, [93, 184, 216, 34])]).ttl_s(), 0, "RFC 2181 section 8");
}

fn found(records: &[Record]) -> Found {
    match Outcome::follow(&host(HOST), records) {
        Ok(Outcome::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}
