//! The engine, from outside: numbers, states, rules, drift, probes and exports.
#![cfg(test)]

mod converge;
mod desired;
mod drift;
mod export;
mod goldens;
mod host_rules;
mod kernel;
mod numbers;
mod rules;
mod schema;
mod simulator;
mod table;
mod topology;
mod world;
