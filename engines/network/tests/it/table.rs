//! What nftables says a table is, read back.

use crate::world::{elsewhere, here, number};
use network::{
    Count, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, Desired, DropReason, Ruleset, Table, commands, ruleset,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Listings of real tables, made by `tests/vectors/make.sh` with nftables 1.0.6 on Linux 6.18; those of `-elsewhere`
/// with numbers for names.
const VECTORS: [(&str, &str); 4] = [
    ("router-here", include_str!("../vectors/router-here.jsonl")),
    ("router-elsewhere", include_str!("../vectors/router-elsewhere.jsonl")),
    ("host-here", include_str!("../vectors/host-here.jsonl")),
    ("host-elsewhere", include_str!("../vectors/host-elsewhere.jsonl")),
];

/// The listings of one vector.
pub(crate) fn vector(name: &str) -> Vec<Vec<u8>> {
    let (_, lines) = VECTORS.iter().find(|(known, _)| *known == name).unwrap();
    lines.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// The table that a vector was made from.
pub(crate) fn expected(name: &str) -> (Desired, Ruleset) {
    let (place, control) = name.split_once('-').unwrap();
    let desired = if control == "here" { here(3) } else { elsewhere(3) };
    let table = if place == "router" { ruleset::write(&desired) } else { ruleset::write_host(&desired) };
    (desired, table)
}

#[test]
fn a_table_reads_back_as_it_was_written() {
    for (name, _) in VECTORS {
        let (_, written) = expected(name);
        let table = Table::read(&vector(name)).unwrap();
        assert_eq!(table.ruleset, written, "{name}");
        assert_eq!(vector(name).len(), commands(&written).len(), "{name}: a listing per command");
    }
}

#[test]
fn counters_are_read_by_tenant_and_by_reason() {
    let counter = |name: &str, packets: u64| {
        json!({ "counter": {
            "family": "inet", "table": "palisade", "name": name, "handle": 9, "packets": packets, "bytes": packets * 60,
        }})
    };
    let listing = json!({ "nftables": [
        counter("t7_sent", 5), counter("t7_received", 4), counter("t8_sent", 3), counter("dropped_spoofed", 2),
    ]});
    let table = Table::read(&[listing.to_string()]).unwrap();
    let traffic = table.traffic();
    assert_eq!(traffic.len(), 1, "a tenant with half its counters has none");
    assert_eq!(traffic[&number(7)].sent, Count { packets: 5, bytes: 300 });
    assert_eq!(traffic[&number(7)].received, Count { packets: 4, bytes: 240 });
    assert_eq!(
        table.drops().into_iter().collect::<Vec<_>>(),
        [(DropReason::Spoofed, Count { packets: 2, bytes: 120 })]
    );
}

#[test]
fn other_tables_and_what_nftables_says_of_tables_are_passed_over() {
    let listing = json!({ "nftables": [
        { "metainfo": { "version": "1.0.6" } },
        // What libnftables 1.0.6 writes for a table with an owner: somebody else's freed string.
        { "table": { "family": "inet", "name": "palisade", "handle": 2, "flags": "dropped_ipv6" } },
        { "chain": { "family": "ip", "table": "palisade", "name": "x" } },
        { "chain": { "family": "inet", "table": "docker", "name": "x" } },
    ]});
    assert_eq!(Table::read(&[listing.to_string()]), Ok(Table::default()));
}

#[test]
fn a_table_of_ours_that_sleeps_and_a_floor_that_somebody_owns_are_foreign() {
    let rows = [
        ("palisade", json!("owner"), ""),
        ("palisade", json!(["owner", "dormant"]), "flag dormant"),
        ("palisade_floor", json!("dormant"), "flag dormant of the floor"),
        ("palisade_floor", json!(["owner"]), "flag owner of the floor"),
    ];
    for (name, flags, foreign) in rows {
        let entry = json!({ "family": "inet", "name": name, "flags": flags });
        let table = Table::read(&[json!({ "nftables": [{ "table": entry }] }).to_string()]).unwrap();
        let all: Vec<String> = table.ruleset.foreign.into_iter().collect();
        assert_eq!(all.join(", "), foreign, "{entry}");
    }
}

#[test]
fn what_versions_of_nftables_write_in_two_ways_is_read_alike() {
    let set = |extra: Value| {
        let mut set =
            json!({ "family": "inet", "table": "palisade", "name": "s", "type": "ipv4_addr", "elem": [] });
        set.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Table::read(&[json!({ "nftables": [{ "set": set }] }).to_string()]).unwrap()
    };
    let rule = |expr: Value| {
        let rule = json!({ "family": "inet", "table": "palisade", "chain": "c", "expr": [expr] });
        Table::read(&[json!({ "nftables": [{ "rule": rule }] }).to_string()]).unwrap()
    };
    assert_eq!(set(json!({ "flags": ["interval"] })), set(json!({ "flags": "interval" })));
    assert_eq!(
        set(json!({ "map": "ipv4_addr . inet_service" })),
        set(json!({ "map": ["ipv4_addr", "inet_service"] }))
    );
    let prefix = json!({ "elem": [{ "prefix": { "addr": "224.0.0.0", "len": 3 } }] });
    assert_eq!(set(prefix), set(json!({ "elem": [{ "range": ["224.0.0.0", "255.255.255.255"] }] })));
    let cap = json!({ "val": 50, "inv": true });
    assert_eq!(
        set(json!({ "elem": [{ "elem": { "val": 1, "ct count": cap } }] })),
        set(json!({ "elem": [{ "elem": { "val": 1, "stmt": [{ "ct count": cap }] } }] }))
    );
    let flags = |mask: Value| {
        let left = json!({ "&": [{ "payload": { "protocol": "tcp", "field": "flags" } }, mask] });
        rule(json!({ "match": { "op": "!=", "left": left, "right": "syn" } }))
    };
    let mask = json!(["fin", "syn", "rst", "psh", "ack", "urg"]);
    assert_eq!(flags(mask.clone()), flags(json!({ "|": mask })));
    let code = |code: Value| {
        let left = json!({ "payload": { "protocol": "icmp", "field": "code" } });
        rule(json!({ "match": { "op": "==", "left": left, "right": code } }))
    };
    assert_eq!(code(json!(4)), code(json!("frag-needed")));
}

#[test]
fn what_is_no_listing_is_refused() {
    let rows = [
        ("", "the listing is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{}", "the listing has no list where nftables writes one"),
        ("[]", "the listing has no list where nftables writes one"),
        ("{\"nftables\": {}}", "the listing has no list where nftables writes one"),
        ("{\"nftables\": [1]}", "the listing has no object where nftables writes one"),
        ("{\"nftables\": [{}]}", "the listing has no object where nftables writes one"),
        (
            "{\"nftables\": [{\"chain\": {\"family\": \"inet\", \"table\": \"palisade\"}}]}",
            "the listing has no name where nftables writes one",
        ),
        (
            "{\"nftables\": [{\"rule\": {\"family\": \"inet\", \"table\": \"palisade\", \"chain\": \"c\"}}]}",
            "the listing has no expression of a rule where nftables writes one",
        ),
        (
            "{\"nftables\": [{\"counter\": {\"family\": \"inet\", \"table\": \"palisade\", \"name\": \"c\", \"packets\": -1, \"bytes\": 0}}]}",
            "the listing has no count where nftables writes one",
        ),
    ];
    for (document, refusal) in rows {
        assert_eq!(Table::read(&[document]).unwrap_err().to_string(), refusal, "{document}");
    }
}

#[test]
fn a_listing_without_end_is_refused() {
    let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
    let refusal = Table::read(&[long]).unwrap_err().to_string();
    assert_eq!(refusal, "bytes of a document: `8388609` are more than 8388608");
    let many = vec!["{\"nftables\": []}"; DOCUMENTS_MAX + 1];
    assert_eq!(Table::read(&many).unwrap_err().to_string(), "documents: `65` are more than 64");
    let chain = json!({ "chain": { "family": "inet", "table": "palisade", "name": "c" } });
    let objects = json!({ "nftables": vec![chain; 10_001] }).to_string();
    assert_eq!(Table::read(&[objects]).unwrap_err().to_string(), "objects: `10001` are more than 10000");
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    assert!(Table::read(&[deep]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever byte of a listing is another: it is read or refused.
    #[test]
    fn a_damaged_listing_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut listings = vector("router-here");
        let sizes: usize = listings.iter().map(Vec::len).sum();
        let mut place = at.index(sizes);
        for listing in &mut listings {
            if place < listing.len() {
                listing[place] = byte;
                break;
            }
            place -= listing.len();
        }
        let _ = Table::read(&listings);
    }
}
