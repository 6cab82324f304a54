//! The palisade-node process.
fn main() {}
