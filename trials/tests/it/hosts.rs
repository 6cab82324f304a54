//! A host's networks as its node has them: brought there, kept, and closed whatever ends first.

mod base;
mod house;

use std::net::Ipv4Addr;

/// Somebody on the internet.
const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
