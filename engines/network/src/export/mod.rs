//! The same policy for platforms that bring their own networks.
//!
//! What a platform cannot say is not said weaker: NetworkPolicies know no caps, no spoofing and no bare SYN, which
//! a cluster's own network sees to; security groups keep state by themselves.

mod kubernetes;
mod terraform;
mod yaml;

pub use kubernetes::{cilium, kubernetes};
pub use terraform::terraform;
