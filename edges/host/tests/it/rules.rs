//! nftables: rules that drop, tables that belong to one socket, a number that tells of every change.

use crate::site::{ANSWERED, SILENT, Site, inside, wired};
use host::network::nftables::Nftables;
use host::network::probe::{Attempt, Listener, Protocol, Verdict, run};
use host::network::{Namespace, Nft, NftError};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const OWNED: &str = "\
table inet palisade {
  flags owner
  set live { type mark; }
  chain input {
    type filter hook input priority filter; policy drop;
    ct mark @live accept
  }
}
";

#[tokio::test]
async fn a_ruleset_that_drops_stops_what_passed_before() {
    let Some(mut site) = Site::new() else { return };
    let (left, right) = wired(&mut site);
    let listener = Listener::open(&right, Protocol::Tcp, address("192.0.2.2:0")).await.unwrap();
    assert_eq!(connect(&left, listener.address(), ANSWERED).await, Verdict::Connected);
    // The library's table lasts without an owner.
    let drop_all = OWNED.replace("flags owner", "");
    inside(&right, |inside| Nft::open(inside).unwrap().run(&drop_all).unwrap());
    assert_eq!(connect(&left, listener.address(), SILENT).await, Verdict::TimedOut);
    inside(&right, |inside| Nft::open(inside).unwrap().run("delete table inet palisade").unwrap());
    assert_eq!(connect(&left, listener.address(), ANSWERED).await, Verdict::Connected);
    assert_eq!(listener.arrivals(), 2);
}

#[test]
fn a_text_that_is_refused_changes_nothing_and_says_why() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        let mut nft = Nft::open(inside).unwrap();
        let before = Nftables::open(inside).unwrap().generation().unwrap();
        // The first command is sound: nothing of a transaction is done unless all of it is.
        for text in ["nonsense", "add table inet ours\nadd rule inet ours absent drop\n"] {
            let refused = nft.run(text);
            assert!(matches!(&refused, Err(NftError::Refused(why)) if why.contains("Error")), "{refused:?}");
        }
        assert!(matches!(nft.run("a\0b"), Err(NftError::Malformed)));
        assert_eq!(Nftables::open(inside).unwrap().generation().unwrap(), before);
        assert!(!nft.list(&["palisade"]).unwrap().contains("ours"));
    });
}

#[test]
fn a_listing_has_every_table_and_the_whole_of_those_that_are_named() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        let mut nft = Nft::open(inside).unwrap();
        nft.run(OWNED).unwrap();
        nft.run(
            "add element inet palisade live { 7 }\nadd map inet palisade names { type mark : verdict; }\n",
        )
        .unwrap();
        nft.run("add counter inet palisade seen\n").unwrap();
        let foreign = "table ip foreign {\n flags dormant\n chain c {\n drop\n }\n}\n";
        Nft::open(inside).unwrap().run(foreign).unwrap();
        let listing: Value = serde_json::from_str(&nft.list(&["palisade"]).unwrap()).unwrap();
        let every = |kind: &str, key: &str| -> Vec<Value> {
            let entries = listing["nftables"].as_array().unwrap();
            entries.iter().filter_map(|entry| entry.get(kind)).map(|about| about[key].clone()).collect()
        };
        assert_eq!(every("table", "name"), ["palisade", "foreign"]);
        assert_eq!(every("table", "flags"), ["owner", "dormant"]);
        assert_eq!(every("chain", "name"), ["input", "c"]);
        assert_eq!(every("chain", "policy")[0], "drop");
        assert_eq!(every("chain", "prio")[0], 0);
        assert_eq!(every("rule", "chain"), ["input"], "foreign rules are not read");
        assert_eq!(every("set", "elem"), [serde_json::json!([7])]);
        assert_eq!(every("map", "name"), ["names"]);
        assert_eq!(every("counter", "name"), ["seen"]);
    });
}

#[test]
fn an_owned_table_is_changed_by_nobody_else_and_ends_with_its_owner() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        let mut owner = Nft::open(inside).unwrap();
        let mut nftables = Nftables::open(inside).unwrap();
        owner.run(OWNED).unwrap();
        assert!(nftables.owner("palisade").unwrap().is_some());
        let before = owner.list(&["palisade"]).unwrap();
        let mut other = Nft::open(inside).unwrap();
        for text in [
            "flush table inet palisade",
            "delete table inet palisade",
            "flush chain inet palisade input",
            "insert rule inet palisade input accept",
            "add element inet palisade live { 1 }",
            "add table inet palisade",
            "chain inet palisade input { policy accept; }",
        ] {
            let refused = other.run(text);
            let not_permitted = |why: &str| why.contains("Operation not permitted");
            assert!(
                matches!(&refused, Err(NftError::Refused(why)) if not_permitted(why)),
                "{text}: {refused:?}"
            );
        }
        // This one flushes what it may, and succeeds.
        other.run("flush ruleset").unwrap();
        assert_eq!(owner.list(&["palisade"]).unwrap(), before);
        drop(owner);
        let gone = nftables.owner("palisade").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert!(!other.list(&["palisade"]).unwrap().contains("palisade"));
    });
}

#[test]
fn a_table_that_nobody_owns_is_told_apart() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        Nft::open(inside).unwrap().run("add table inet free").unwrap();
        assert_eq!(Nftables::open(inside).unwrap().owner("free").unwrap(), None);
    });
}

#[test]
fn the_generation_tells_of_a_change_that_was_undone() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        let mut nftables = Nftables::open(inside).unwrap();
        let mut nft = Nft::open(inside).unwrap();
        nft.run(OWNED).unwrap();
        let before = nftables.generation().unwrap();
        let listing = nft.list(&["palisade"]).unwrap();
        assert_eq!(nftables.generation().unwrap(), before, "reading changes nothing");
        let mut other = Nft::open(inside).unwrap();
        other.run("add table inet hole\ndelete table inet hole\n").unwrap();
        assert_eq!(nft.list(&["palisade"]).unwrap(), listing, "nothing is seen of it");
        assert_ne!(nftables.generation().unwrap(), before);
    });
}

#[test]
fn a_whole_table_is_replaced_in_one_transaction() {
    let Some(mut site) = Site::new() else { return };
    inside(&site.namespace(), |inside| {
        let mut nft = Nft::open(inside).unwrap();
        let mut nftables = Nftables::open(inside).unwrap();
        let whole = format!("table inet palisade {{\n flags owner\n}}\ndelete table inet palisade\n{OWNED}");
        nft.run(&whole).unwrap();
        let (owner, before) = (nftables.owner("palisade").unwrap(), nftables.generation().unwrap());
        nft.run(&whole).unwrap();
        assert_eq!(nftables.owner("palisade").unwrap(), owner);
        assert_eq!(nftables.generation().unwrap(), before + 1);
    });
}

async fn connect(from: &Namespace, to: SocketAddr, patience: Duration) -> Verdict {
    let attempt = Attempt { protocol: Protocol::Tcp, to, from: None };
    run(from, &[attempt], patience).await.unwrap()[0].verdict
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
