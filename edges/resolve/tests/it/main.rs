//! The resolver against name servers of this machine's own loopback.
#![cfg(test)]

mod resolving;
mod server;
