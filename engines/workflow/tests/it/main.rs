//! The workflow language at its boundary: documents in, effects out.
#![cfg(test)]

mod calls;
mod documents;
mod expressions;
mod limits;
mod replay;
mod samples;
mod tasks;
mod world;
