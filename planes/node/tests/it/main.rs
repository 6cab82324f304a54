//! The supervisor at its boundary.

#[cfg(test)]
mod model;
