//! Walls that a process builds around itself or its children: capabilities, system calls, TCP ports, resources.
//!
//! Each says what it could not do, so that what is missing on a host is reported and not assumed. The walls around
//! the caller hold for its thread and those that it starts later: build them first in `main`.

mod capabilities;
pub mod cgroup;
mod ports;
mod system_calls;
mod walls;

pub(crate) use capabilities::bound_capabilities;
pub use capabilities::{keep_capabilities, keep_thread_capabilities};
pub use ports::only_tcp_ports;
pub use rustix::thread::CapabilitySet;
pub use system_calls::only_calls_of_a_server;
pub use walls::{WALLS_FILE, Walls};

use std::io;

/// Whether a wall stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wall {
    /// It stands.
    Raised,
    /// This kernel cannot build it.
    Absent {
        /// What is missing.
        why: String,
    },
}

/// Says why a wall that this kernel could build does not stand.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Other threads run already, and would stay outside.
    #[error("walls must be built before other threads start, and {0} run")]
    Threads(usize),
    /// The kernel refuses.
    #[error("cannot confine this process ({wall}): {source}")]
    Refused {
        /// Which wall.
        wall: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Refuses when this process has more threads than the calling one.
fn alone(wall: &'static str) -> Result<(), ConfineError> {
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(|source| ConfineError::Refused { wall, source })?;
    match threads.count() {
        1 => Ok(()),
        count => Err(ConfineError::Threads(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_other_threads_is_not_confined_by_halves() {
        // The test's own thread is not the only one.
        for refused in [
            keep_capabilities(CapabilitySet::empty()).map(|()| Wall::Raised),
            only_tcp_ports(&[5_678], &[443]),
            only_calls_of_a_server(),
        ] {
            assert!(matches!(refused, Err(ConfineError::Threads(2..))), "{refused:?}");
        }
    }
}
