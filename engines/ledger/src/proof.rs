//! Proofs: that a leaf is in the tree, and that a tree grew out of an older one.
//!
//! Making them follows RFC 6962 sections 2.1.1 and 2.1.2, verifying them RFC 9162 sections 2.1.3.2 and 2.1.4.2.

use crate::hash::{empty_root, node_hash};
use crate::subtree::{SourceError, TileSource, hash_of, tiles_under};
use crate::tile::TileId;
use core::ops::Range;
use std::collections::BTreeSet;
use terms::Digest;

/// Most hashes in a proof: two for each level of the largest tree.
pub const PROOF_MAX: usize = 128;

/// Says why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// The leaf or the older tree is not part of a tree of that size.
    #[error("`{part}` is not part of a tree of size `{size}`")]
    Outside {
        /// The leaf's number or the older size.
        part: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tile is missing.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Says why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf or the older tree is not part of a tree of that size.
    #[error("the proof is for something outside of the tree")]
    Outside,
    /// More or fewer hashes than a proof for these sizes has.
    #[error("the proof has another length")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The tiles that [`inclusion`] reads, to fetch them beforehand.
#[must_use]
pub fn inclusion_tiles(index: u64, size: u64) -> BTreeSet<TileId> {
    tiles_under(inclusion_runs(index, size))
}

/// Proves that leaf number `index` is in the tree of `size` leaves.
///
/// # Errors
/// [`InclusionError`] if it is not, or a tile is missing.
pub fn inclusion(index: u64, size: u64, source: &impl TileSource) -> Result<Vec<Digest>, InclusionError> {
    if index >= size {
        return Err(InclusionError::Outside { part: index, size });
    }
    hashes_of(inclusion_runs(index, size), source)
}

/// The tiles that [`consistency`] reads, to fetch them beforehand.
#[must_use]
pub fn consistency_tiles(old: u64, new: u64) -> BTreeSet<TileId> {
    tiles_under(consistency_runs(old, new))
}

/// Proves that the tree of `new` leaves begins with the tree of `old` leaves.
///
/// # Errors
/// [`InclusionError`] if `old` is larger, or a tile is missing.
pub fn consistency(old: u64, new: u64, source: &impl TileSource) -> Result<Vec<Digest>, InclusionError> {
    if old > new {
        return Err(InclusionError::Outside { part: old, size: new });
    }
    hashes_of(consistency_runs(old, new), source)
}

/// Checks that `leaf` is number `index` of the tree of `size` leaves under `root`.
///
/// # Errors
/// [`ProofError`], the first thing that is wrong.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside);
    }
    let (mut number, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            skip_missing_siblings(&mut number, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Checks that the tree of `new_size` leaves under `new_root` begins with the tree of `old_size` leaves under
/// `old_root`.
///
/// # Errors
/// [`ProofError`], the first thing that is wrong.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Outside);
    }
    if old_size == 0 || old_size == new_size {
        return verify_trivial_consistency(old_size, old_root, new_size, new_root, proof);
    }
    let (mut number, mut last) = (old_size - 1, new_size - 1);
    // The part of the path that lies within the old tree alone is known from the old root.
    let shared = number.trailing_ones();
    (number, last) = (number >> shared, last >> shared);
    let (start, rest) = if old_size.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length)?;
        (*first, rest)
    };
    let (mut old, mut new) = (start, start);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            skip_missing_siblings(&mut number, &mut last);
        } else {
            new = node_hash(&new, sibling);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    match (last, old == *old_root && new == *new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

fn verify_trivial_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::Length);
    }
    let old_is_right = if old_size == new_size { old_root == new_root } else { true };
    let empty_is_right = if old_size == 0 { *old_root == empty_root() } else { true };
    if old_is_right && empty_is_right { Ok(()) } else { Err(ProofError::Root) }
}

/// At the ragged right edge a node rises without a sibling until it is a right child.
fn skip_missing_siblings(number: &mut u64, last: &mut u64) {
    while *number != 0 && *number & 1 == 0 {
        (*number, *last) = (*number >> 1, *last >> 1);
    }
}

fn hashes_of(runs: Vec<Range<u64>>, source: &impl TileSource) -> Result<Vec<Digest>, InclusionError> {
    runs.into_iter().map(|run| hash_of(run, source).map_err(InclusionError::from)).collect()
}

/// The runs of leaves whose hashes are an inclusion proof, in the proof's order (RFC 6962 section 2.1.1).
fn inclusion_runs(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut tree = 0..size;
    while index < size && tree.end - tree.start > 1 {
        let (left, right) = split(&tree);
        if right.contains(&index) {
            runs.push(left);
            tree = right;
        } else {
            runs.push(right);
            tree = left;
        }
    }
    runs.reverse();
    runs
}

/// The runs of leaves whose hashes are a consistency proof, in the proof's order (RFC 6962 section 2.1.2).
fn consistency_runs(old: u64, new: u64) -> Vec<Range<u64>> {
    if old == 0 || old >= new {
        return Vec::new();
    }
    let mut runs = Vec::new();
    let mut tree = 0..new;
    while tree.end != old {
        let (left, right) = split(&tree);
        if old > left.end {
            runs.push(left);
            tree = right;
        } else {
            runs.push(right);
            tree = left;
        }
    }
    // A subtree that begins with the first leaf is the old tree itself: its root is known.
    if tree.start > 0 {
        runs.push(tree);
    }
    runs.reverse();
    runs
}

/// Parts a tree of at least two leaves at the largest power of two below its size.
fn split(tree: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = tree.start + (1 << (tree.end - tree.start - 1).ilog2());
    (tree.start..middle, middle..tree.end)
}
