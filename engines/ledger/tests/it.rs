//! The ledger from outside: known answers, a naive tree beside it, and tampering.
#![cfg(test)]

use ledger::{
    Batch, Frontier, InclusionError, Log, LogFault, ProofError, Tile, TileId, check_log, consistency,
    consistency_tiles, empty_root, inclusion, inclusion_tiles, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use terms::Digest;

/// Sizes up to here are checked one by one: past one full tile.
const EXHAUSTIVE: u64 = 300;

type Tiles = BTreeMap<TileId, Tile>;

#[test]
fn roots_of_the_first_eight_leaves_are_the_known_ones() {
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (count, root) in roots.iter().enumerate() {
        let mut frontier = Frontier::new();
        known_leaves().iter().take(count).for_each(|leaf| frontier.append(*leaf));
        assert_eq!(frontier.root().to_string(), *root, "{count}");
    }
}

#[test]
fn proofs_of_the_eight_leaf_tree_are_the_known_ones() {
    let mut log = Log::new();
    let tiles = stored(&[log.append_leaves(known_leaves())]);
    let inclusion_of_the_sixth = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    let consistency_6_to_8 = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    let text = |proof: Vec<Digest>| proof.iter().map(Digest::to_string).collect::<Vec<_>>();
    assert_eq!(text(inclusion(5, 8, &tiles).unwrap()), inclusion_of_the_sixth);
    assert_eq!(text(consistency(6, 8, &tiles).unwrap()), consistency_6_to_8);
}

#[test]
fn every_proof_of_every_small_tree_is_the_naive_one_and_verifies() {
    let leaves: Vec<_> = (0..EXHAUSTIVE).map(leaf).collect();
    let tiles = stored(&[Log::new().append_leaves(leaves.clone())]);
    let naive = Naive::new(&leaves);
    for size in 0..=EXHAUSTIVE {
        let root = naive.root(size);
        for index in 0..size {
            let proof = inclusion(index, size, &tiles).unwrap();
            assert_eq!(proof, naive.inclusion(index, 0, size), "{index} of {size}");
            assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &root), Ok(()));
        }
        for old in 0..=size {
            let proof = consistency(old, size, &tiles).unwrap();
            assert_eq!(proof, naive.consistency(old, size), "{old} to {size}");
            assert_eq!(verify_consistency(old, &naive.root(old), size, &root, &proof), Ok(()));
        }
    }
}

#[test]
fn every_changed_element_of_a_proof_is_refused() {
    let leaves: Vec<_> = (0..70).map(leaf).collect();
    let tiles = stored(&[Log::new().append_leaves(leaves.clone())]);
    let naive = Naive::new(&leaves);
    for size in 1..=70 {
        let root = naive.root(size);
        for index in 0..size {
            let proof = inclusion(index, size, &tiles).unwrap();
            let verify = |proof: &[Digest]| verify_inclusion(&leaf(index), index, size, proof, &root);
            mutations(&proof).iter().for_each(|bad| assert!(verify(bad).is_err(), "{index} of {size}"));
            assert_eq!(verify_inclusion(&leaf(999), index, size, &proof, &root), Err(ProofError::Root));
        }
        for old in 1..size {
            let (old_root, proof) = (naive.root(old), consistency(old, size, &tiles).unwrap());
            let verify = |proof: &[Digest]| verify_consistency(old, &old_root, size, &root, proof);
            mutations(&proof).iter().for_each(|bad| assert!(verify(bad).is_err(), "{old} to {size}"));
            assert!(verify_consistency(old, &leaf(999), size, &root, &proof).is_err());
            assert!(verify_consistency(old, &old_root, size, &leaf(999), &proof).is_err());
        }
    }
}

#[test]
fn a_proof_for_another_place_or_size_is_refused() {
    let leaves: Vec<_> = (0..70).map(leaf).collect();
    let tiles = stored(&[Log::new().append_leaves(leaves.clone())]);
    let root = Naive::new(&leaves).root(70);
    let proof = inclusion(33, 70, &tiles).unwrap();
    for index in (0..70).filter(|index| *index != 33) {
        assert!(verify_inclusion(&leaf(33), index, 70, &proof, &root).is_err(), "{index}");
    }
    assert_eq!(verify_inclusion(&leaf(33), 70, 70, &proof, &root), Err(ProofError::Outside));
    assert_eq!(verify_inclusion(&leaf(0), 0, 0, &[], &empty_root()), Err(ProofError::Outside));
    assert_eq!(verify_consistency(71, &root, 70, &root, &[]), Err(ProofError::Outside));
}

#[test]
fn consistency_with_nothing_or_with_itself_needs_no_proof_but_the_right_root() {
    let (a, b) = (leaf(1), leaf(2));
    assert_eq!(verify_consistency(0, &empty_root(), 5, &a, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &a, 5, &a, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &empty_root(), 5, &a, &[b]), Err(ProofError::Length));
    assert_eq!(verify_consistency(5, &a, 5, &a, &[]), Ok(()));
    assert_eq!(verify_consistency(5, &a, 5, &b, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(5, &a, 5, &a, &[b]), Err(ProofError::Length));
}

#[test]
fn nothing_outside_of_the_tree_has_a_proof() {
    let tiles = stored(&[Log::new().append_leaves(known_leaves())]);
    assert_eq!(inclusion(8, 8, &tiles), Err(InclusionError::Outside { part: 8, size: 8 }));
    assert_eq!(consistency(9, 8, &tiles), Err(InclusionError::Outside { part: 9, size: 8 }));
    assert!(matches!(inclusion(0, 9, &tiles), Err(InclusionError::Source(_))));
    assert!(inclusion_tiles(8, 8).is_empty());
}

#[test]
fn the_tiles_named_for_a_proof_are_all_that_it_reads() {
    let leaves: Vec<_> = (0..70_000).map(leaf).collect();
    let tiles = stored(&[Log::new().append_leaves(leaves)]);
    for (a, b) in
        [(0, 70_000), (255, 256), (256, 70_000), (65_535, 65_536), (65_536, 70_000), (69_999, 70_000)]
    {
        let some = pick(&tiles, inclusion_tiles(a, b));
        assert_eq!(inclusion(a, b, &some), inclusion(a, b, &tiles), "{a} of {b}");
        let some = pick(&tiles, consistency_tiles(a, b));
        assert_eq!(consistency(a, b, &some), consistency(a, b, &tiles), "{a} to {b}");
    }
}

#[test]
fn tiles_of_a_large_log_are_full_but_for_the_right_edge() {
    let leaves: Vec<_> = (0..70_000).map(leaf).collect();
    let tiles = stored(&[Log::new().append_leaves(leaves.clone())]);
    let width = |level, index| tiles.get(&TileId { level, index }).map(Tile::width);
    assert_eq!(
        (width(0, 0), width(0, 272), width(0, 273), width(0, 274)),
        (Some(256), Some(256), Some(112), None)
    );
    assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (Some(256), Some(17), None));
    assert_eq!((width(2, 0), width(3, 0)), (Some(1), None));
    let naive = Naive::new(&leaves[..256]);
    assert_eq!(tiles[&TileId { level: 1, index: 0 }].hashes()[0], naive.root(256));
}

#[test]
fn a_log_whose_leaf_was_edited_dropped_added_or_swapped_is_found() {
    let leaves: Vec<_> = (0..40).map(leaf).collect();
    let mut log = Log::new();
    log.append_leaves(leaves.clone());
    let checkpoint = log.checkpoint("test/audit");
    let check = |leaves: Vec<Digest>| check_log(leaves, &checkpoint);
    assert_eq!(check(leaves.clone()), Ok(()));
    assert_eq!(check([leaves.clone(), vec![leaf(40)]].concat()), Ok(()), "entries after the checkpoint");
    for at in 0..leaves.len() {
        let mut edited = leaves.clone();
        edited[at] = leaf(999);
        assert_eq!(check(edited), Err(LogFault::Root { size: 40 }), "edited {at}");
        let mut dropped = leaves.clone();
        dropped.remove(at);
        assert_eq!(
            check(dropped.clone()),
            Err(LogFault::Shorter { expected: 40, found: 39 }),
            "dropped {at}"
        );
        dropped.push(leaf(40));
        assert_eq!(check(dropped), Err(LogFault::Root { size: 40 }), "dropped and filled {at}");
        let mut added = leaves.clone();
        added.insert(at, leaf(999));
        assert_eq!(check(added), Err(LogFault::Root { size: 40 }), "added {at}");
        let mut swapped = leaves.clone();
        swapped.swap(at, (at + 1) % 40);
        assert_eq!(check(swapped), Err(LogFault::Root { size: 40 }), "swapped {at}");
    }
}

#[test]
fn a_log_restored_from_too_few_tiles_names_the_missing_one() {
    let leaves: Vec<_> = (0..300).map(leaf).collect();
    let mut tiles = stored(&[Log::new().append_leaves(leaves)]);
    assert!(Log::restore(300, &tiles).is_ok());
    assert_eq!(Log::restore(301, &tiles).unwrap_err().0, TileId { level: 0, index: 1 });
    tiles.remove(&TileId { level: 1, index: 0 });
    let error = Log::restore(300, &tiles).unwrap_err();
    assert_eq!(error.to_string(), "tile `tile/1/000` is missing or too short");
}

#[test]
fn a_frontier_with_another_number_of_hashes_is_not_restored() {
    let mut frontier = Frontier::new();
    (0..5).for_each(|n| frontier.append(leaf(n)));
    assert_eq!(Frontier::restore(5, frontier.hashes().to_vec()), Some(frontier.clone()));
    assert_eq!(Frontier::restore(7, frontier.hashes().to_vec()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a log is cut into batches and restarts, its tiles and roots are those of one append.
    #[test]
    fn batches_and_restarts_leave_no_trace(batches in proptest::collection::vec((0_u64..600, any::<bool>()), 1..12)) {
        let mut log = Log::new();
        let mut tiles = Tiles::new();
        for (count, restart) in batches {
            let before = log.size();
            let batch = log.append((before..before + count).map(|n| n.to_be_bytes()));
            prop_assert_eq!((batch.first, batch.size, batch.root), (before, before + count, log.root()));
            for tile in batch.tiles {
                let known = tiles.insert(tile.id(), tile.clone());
                let grew = known.is_none_or(|old| old.width() < tile.width());
                prop_assert!(grew, "a tile was written without need");
            }
            if restart {
                let some = pick(&tiles, Log::restore_tiles(log.size()));
                prop_assert_eq!(&Log::restore(log.size(), &some).unwrap(), &log);
            }
        }
        let mut whole = Log::new();
        let batch = whole.append((0..log.size()).map(|n| n.to_be_bytes()));
        prop_assert_eq!(stored(&[batch]), tiles);
        prop_assert_eq!(whole, log);
    }
}

/// RFC 6962's definitions, word by word; it remembers each hash.
struct Naive<'a>(&'a [Digest], RefCell<BTreeMap<(u64, u64), Digest>>);

impl<'a> Naive<'a> {
    fn new(leaves: &'a [Digest]) -> Self {
        Self(leaves, RefCell::default())
    }

    fn root(&self, size: u64) -> Digest {
        self.mth(0, size)
    }

    fn mth(&self, start: u64, end: u64) -> Digest {
        if let Some(known) = self.1.borrow().get(&(start, end)) {
            return *known;
        }
        let hash = match end - start {
            0 => empty_root(),
            1 => self.0[usize::try_from(start).unwrap()],
            n => {
                let k = start + largest_power_below(n);
                node_hash(&self.mth(start, k), &self.mth(k, end))
            }
        };
        self.1.borrow_mut().insert((start, end), hash);
        hash
    }

    fn inclusion(&self, index: u64, start: u64, end: u64) -> Vec<Digest> {
        if end - start == 1 {
            return Vec::new();
        }
        let k = start + largest_power_below(end - start);
        let (mut proof, sibling) = if index < k {
            (self.inclusion(index, start, k), self.mth(k, end))
        } else {
            (self.inclusion(index, k, end), self.mth(start, k))
        };
        proof.push(sibling);
        proof
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Digest> {
        if old == 0 { Vec::new() } else { self.subproof(old, 0, new, true) }
    }

    fn subproof(&self, old: u64, start: u64, end: u64, whole: bool) -> Vec<Digest> {
        if old == end {
            return if whole { Vec::new() } else { vec![self.mth(start, end)] };
        }
        let k = start + largest_power_below(end - start);
        let (mut proof, sibling) = if old <= k {
            (self.subproof(old, start, k, whole), self.mth(k, end))
        } else {
            (self.subproof(old, k, end, false), self.mth(start, k))
        };
        proof.push(sibling);
        proof
    }
}

fn largest_power_below(n: u64) -> u64 {
    (1..63).map(|bit| 1 << bit).take_while(|power| *power < n).last().unwrap_or(1)
}

/// The inputs of the Certificate Transparency reference tests.
fn known_leaves() -> Vec<Digest> {
    let entries =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    entries.iter().map(|entry| leaf_hash(&hex::decode(entry).unwrap())).collect()
}

fn leaf(n: u64) -> Digest {
    leaf_hash(&n.to_be_bytes())
}

fn stored(batches: &[Batch]) -> Tiles {
    batches.iter().flat_map(|batch| &batch.tiles).map(|tile| (tile.id(), tile.clone())).collect()
}

fn pick(tiles: &Tiles, ids: impl IntoIterator<Item = TileId>) -> Tiles {
    ids.into_iter().map(|id| (id, tiles[&id].clone())).collect()
}

/// Each element edited, dropped and doubled; each neighbouring pair swapped; one more at either end.
fn mutations(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut out = vec![[proof, &[leaf(999)]].concat(), [&[leaf(999)], proof].concat()];
    for at in 0..proof.len() {
        let mut bytes = *proof[at].as_bytes();
        bytes[at % 32] ^= 1;
        let mut edited = proof.to_vec();
        edited[at] = Digest::from_bytes(bytes);
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        let mut doubled = proof.to_vec();
        doubled.insert(at, proof[at]);
        out.extend([edited, dropped, doubled]);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at, at - 1);
            out.push(swapped);
        }
    }
    out
}
