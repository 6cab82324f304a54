//! The palisade-control process.
fn main() {}
