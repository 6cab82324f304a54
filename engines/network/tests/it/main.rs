//! The engine, from outside: numbers, states, rules, drift, probes and exports.
#![cfg(test)]

mod desired;
mod drift;
mod export;
mod goldens;
mod numbers;
mod rules;
mod simulator;
mod table;
mod topology;
mod world;
