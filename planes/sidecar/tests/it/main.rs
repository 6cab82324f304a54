//! The sidecar at its boundary: its memory over a disk that fails, and the whole of it between a data plane and a
//! control plane.
#![cfg(test)]

mod disk;
mod faults;
mod model;
mod site;
mod whole;
mod world;
