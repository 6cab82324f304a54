//! Faults of the world around the system: a clear error or a wait, and nothing lost.

mod clock;
mod conflicts;
mod damage;
mod files;
mod full_disk;
mod keys;
pub(crate) mod load;
mod mounts;
mod said;
mod unreachable;
