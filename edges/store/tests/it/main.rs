//! The store's contract, the same on SQLCipher and PostgreSQL, and what each engine does when things break.
//!
//! PostgreSQL runs where `PALISADE_TEST_POSTGRES_URL` names a server; each test makes a schema of its own in it.
#![cfg(test)]

#[macro_use]
mod world;

mod at_rest;
mod attacks;
mod audit;
mod executions;
mod faults;
mod metering;
mod networks;
mod nodes;
mod permits;
mod placements;
mod platform;
mod readers;
mod schema;
mod seed;
mod tenants;
mod workflows;
mod writer;
