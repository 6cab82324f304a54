//! The tree's hashes (RFC 6962 section 2.1).

use aws_lc_rs::digest::{SHA256, digest};
use terms::Digest;

/// Hashes an entry: SHA-256 over `0x00` and its bytes.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::sha256_parts(&[&[0x00], entry])
}

/// Hashes two subtrees: SHA-256 over `0x01`, the left hash and the right hash.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut preimage = [0x01; 65];
    let [_, hashes @ ..] = &mut preimage;
    let (left_half, right_half) = hashes.split_at_mut(32);
    left_half.copy_from_slice(left.as_bytes());
    right_half.copy_from_slice(right.as_bytes());
    // One call instead of a hash context: this is the inner loop of every append and proof.
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &preimage).as_ref());
    Digest::from_bytes(out)
}

/// The root of a tree without leaves: SHA-256 over nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::sha256(&[])
}
