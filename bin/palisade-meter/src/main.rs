//! The palisade-meter process.
fn main() {}
