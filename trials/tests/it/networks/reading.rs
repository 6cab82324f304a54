//! What the kernel has, read and compared as a node does.

use super::world::World;
use network::{Actual, Drift, drift};

impl World {
    /// Where the kernel differs from what was asked for.
    pub(super) async fn drift(&self) -> Vec<Drift> {
        let mut actual = Actual::default();
        for (place, expected) in &self.topology.namespaces {
            let namespace = self.namespace(*place).await;
            let seen = node::networks::seen(*place, &namespace, expected, &self.keeper).await.unwrap();
            actual.namespaces.insert(*place, seen);
        }
        drift(&self.desired, &actual)
    }
}
