//! A host's networks as its node has them: brought there, kept, and closed whatever ends first.

mod agent;
mod attack;
mod base;
mod crash;
mod drift;
mod house;
mod probes;
mod reset;
mod tenants;

use std::net::Ipv4Addr;
use std::time::Duration;

/// Somebody on the internet.
const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// How long a state may take to come.
const SOON: Duration = Duration::from_secs(60);
