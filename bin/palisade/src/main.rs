//! The palisade process.
fn main() {}
