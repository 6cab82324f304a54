//! The cache.

use crate::messages::{HOST, a, host};
use names::{Cache, Found, HostName, Outcome};
use terms::Timestamp;

#[test]
fn what_is_kept_ages_and_ends_with_its_time() {
    let mut cache = Cache::new(10);
    cache.keep(host(HOST), found(60), at(0));
    assert_eq!(cache.find(&host(HOST), at(0)), Some(found(60)));
    assert_eq!(cache.find(&host("API.EXAMPLE.COM"), at(20)), Some(found(40)));
    assert_eq!(cache.find(&host(HOST), at(59)).map(|found| found.ttl_s()), Some(1));
    assert_eq!(cache.find(&host(HOST), at(60)), None);
    assert_eq!(cache.find(&host("other.example"), at(0)), None);
    assert_eq!(cache.find(&host(HOST), at(-1)), None, "a clock that was set back lengthens nothing");
}

#[test]
fn what_may_not_be_kept_is_not() {
    let mut cache = Cache::new(10);
    cache.keep(host(HOST), found(0), at(0));
    assert_eq!(cache.find(&host(HOST), at(0)), None);
}

#[test]
fn a_newer_answer_takes_the_place_of_an_older_one() {
    let mut cache = Cache::new(4);
    cache.keep(host(HOST), found(60), at(0));
    cache.keep(host("b.example"), found(60), at(0));
    cache.keep(host("c.example"), found(60), at(0));
    cache.keep(host(HOST), found(30), at(10));
    assert_eq!(cache.find(&host(HOST), at(10)), Some(found(30)));
}

#[test]
fn a_flood_of_names_does_not_grow_it_and_forgets_the_oldest() {
    let mut cache = Cache::new(10);
    let names: Vec<HostName> = (0..1_000).map(|n| host(&format!("n{n}.example"))).collect();
    for name in &names {
        cache.keep(name.clone(), found(60), at(0));
    }
    let kept: Vec<_> = names.iter().filter(|name| cache.find(name, at(0)).is_some()).collect();
    assert!(kept.len() >= 5 && kept.len() <= 10, "{}", kept.len());
    assert_eq!(kept.last(), Some(&names.last().unwrap()));
}

fn found(ttl: u32) -> Found {
    match Outcome::follow(&host(HOST), &[a(HOST, ttl, [93, 184, 216, 34])]) {
        Ok(Outcome::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_unix_s(1_000_000 + s)
}
