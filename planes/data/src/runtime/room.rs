//! How many executions there may be: that run, that wait for their turn, and the memory that they hold.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Executions that run at once.
const RUNNING_MAX: usize = 256;

/// Executions that have not ended, whatever they wait for.
const LIVE_MAX: usize = 10_000;

/// Kilobytes of plans in memory.
const PLAN_KB_MAX: usize = 64 * 1024;

/// The bounds.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    live: Arc<Semaphore>,
    plan_kb: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Room for one execution, until dropped.
#[derive(Debug)]
pub struct Room {
    #[expect(dead_code, reason = "given back when dropped")]
    live: OwnedSemaphorePermit,
    plan: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    pub(super) fn new() -> Self {
        Self {
            live: Arc::new(Semaphore::new(LIVE_MAX)),
            plan_kb: Arc::new(Semaphore::new(PLAN_KB_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
        }
    }

    /// Room for a plan of `bytes`, if there is any now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Room> {
        let live = Arc::clone(&self.live).try_acquire_owned().ok()?;
        let plan = Arc::clone(&self.plan_kb).try_acquire_many_owned(kilobytes(bytes)).ok()?;
        Some(Room { live, plan: Some(plan) })
    }

    /// Room for an execution that was let through before a restart, once there is any. Its plan is read later.
    pub(super) async fn reserve(&self) -> Option<Room> {
        let live = Arc::clone(&self.live).acquire_owned().await.ok()?;
        Some(Room { live, plan: None })
    }

    /// Makes sure that `room` has room for a plan of `bytes`.
    pub(super) async fn hold_plan(&self, room: &mut Room, bytes: usize) {
        if room.plan.is_none() {
            room.plan = Arc::clone(&self.plan_kb).acquire_many_owned(kilobytes(bytes)).await.ok();
        }
    }

    /// A turn to run, until dropped.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.running).acquire_owned().await.ok()
    }
}

impl Room {
    /// Gives back what the plan took.
    pub(super) fn release_plan(mut self) -> Self {
        self.plan = None;
        self
    }
}

fn kilobytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1_024).clamp(1, PLAN_KB_MAX)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_plans_is_bounded_before_their_number() {
        let rooms = Rooms::new();
        let held: Vec<_> = std::iter::from_fn(|| rooms.try_reserve(2 * 1024 * 1024)).collect();
        assert_eq!(held.len(), 32);
        drop(held);
        assert!(rooms.try_reserve(2 * 1024 * 1024).is_some());
    }

    #[test]
    fn the_number_of_executions_is_bounded() {
        let rooms = Rooms::new();
        let held: Vec<_> = std::iter::from_fn(|| rooms.try_reserve(1)).collect();
        assert_eq!(held.len(), LIVE_MAX);
    }
}
