//! This machine's networks and walls, proved through its real kernel.
//!
//! Every test makes its own namespaces, lets no packet out of them, and removes them whatever happens.

#![cfg(test)]

mod children;
mod groups;
mod keepers;
mod links;
mod namespaces;
mod probes;
mod router;
mod rules;
mod site;
mod views;
