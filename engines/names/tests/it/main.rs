//! Queries, answers and what is kept of them, from outside.
#![cfg(test)]

mod answers;
mod chains;
mod kept;
mod messages;
mod queries;
