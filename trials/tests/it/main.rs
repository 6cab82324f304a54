//! The whole system from outside: what newcomers, operators, auditors and attackers meet.
//!
//! Needs the binaries (`cargo build --workspace --bins`) and, for proofs by tools that others wrote, a Python that
//! `PALISADE_TEST_PYTHON` names. `./check` brings both.
#![cfg(test)]

mod attacks;
mod contents;
mod controls;
mod crash;
mod faults;
mod floods;
mod hosts;
mod independent;
mod lifecycle;
mod names;
mod networks;
mod newcomer;
mod openssl;
mod placements;
mod production;
mod refusals;
mod search;
mod secrets;
mod shared;
mod tampered;
mod tenants_apart;
mod tour;
mod transport;
mod walls;
