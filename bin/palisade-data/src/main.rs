//! The palisade-data process.
fn main() {}
