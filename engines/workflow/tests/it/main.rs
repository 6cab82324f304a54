//! The workflow language at its boundary: documents in, effects out.

mod samples;
mod world;
