//! The frontier: the roots of the perfect subtrees that a tree is made of, all that appending needs.

use crate::hash::{empty_root, node_hash};
use terms::Digest;

/// The right edge of a tree: one hash for each bit that is set in its size, the largest subtree first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Digest>,
}

/// A perfect subtree that an append completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewNode {
    /// Its height; leaves have 0.
    pub level: u8,
    /// Its position among the nodes of its height.
    pub index: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// Takes up a saved frontier; `None` unless there is one hash for each bit set in `size`.
    #[must_use]
    pub fn restore(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    /// How many leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes, for saving; the largest subtree first.
    #[must_use]
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Appends a leaf.
    pub fn append(&mut self, leaf: Digest) {
        self.append_with(leaf, |_| ());
    }

    /// Appends a leaf and shows each node that it completes, from the leaf upwards.
    pub fn append_with(&mut self, leaf: Digest, mut on_node: impl FnMut(NewNode)) {
        let mut node = NewNode { level: 0, index: self.size, hash: leaf };
        on_node(node);
        // A subtree of each height whose bit is set waits for its sibling: adding one carries through them.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            node =
                NewNode { level: node.level + 1, index: node.index >> 1, hash: node_hash(&left, &node.hash) };
            on_node(node);
        }
        self.hashes.push(node.hash);
        self.size += 1;
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.hashes)
    }
}

/// The root over neighbouring subtrees, from left to right, each larger than the next.
pub(crate) fn fold(subtrees: &[Digest]) -> Digest {
    let folded = subtrees.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    folded.unwrap_or_else(empty_root)
}
