//! Where a run is: a stack of blocks and of the tasks around them.

use crate::jq::{List, Value};
use crate::model::{BlockId, Slot, TaskId};
use std::sync::Arc;
use terms::Timestamp;

#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// A list of tasks, and which comes next.
    Block {
        block: BlockId,
        next: usize,
    },
    Task(Box<TaskFrame>),
}

/// A task that has begun.
#[derive(Debug, Clone)]
pub(crate) struct TaskFrame {
    pub(crate) id: TaskId,
    pub(crate) input: Value,
    /// `$task`, if anything reads it.
    pub(crate) descriptor: Value,
    pub(crate) deadline: Option<Timestamp>,
    /// The variables that this task bound, with what they were before.
    pub(crate) shadowed: Vec<(Slot, Value)>,
    pub(crate) activity: Activity,
}

/// What a task is doing.
#[derive(Debug, Clone)]
pub(crate) enum Activity {
    /// Its tasks, or nothing that lasts.
    Plain,
    Calling,
    Waiting {
        until: Timestamp,
    },
    Looping {
        items: Arc<List>,
        next: usize,
    },
    Trying(Trying),
}

#[derive(Debug, Clone)]
pub(crate) struct Trying {
    pub(crate) phase: Phase,
    pub(crate) began: Timestamp,
    /// How often it was tried again.
    pub(crate) retries: u64,
    /// When this attempt must have ended.
    pub(crate) attempt_deadline: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The tasks under `try` run.
    Attempt,
    /// It waits before it tries again.
    Pause { until: Timestamp },
    /// The tasks under `catch` run.
    Handler,
}

impl TaskFrame {
    /// The earliest time at which this task, or its attempt, must have ended.
    pub(crate) fn earliest_deadline(&self) -> Option<Timestamp> {
        [self.deadline, self.attempt_deadline()].into_iter().flatten().min()
    }

    /// When the running attempt must have ended.
    pub(crate) fn attempt_deadline(&self) -> Option<Timestamp> {
        match &self.activity {
            Activity::Trying(Trying { phase: Phase::Attempt, attempt_deadline, .. }) => *attempt_deadline,
            Activity::Trying(_)
            | Activity::Plain
            | Activity::Calling
            | Activity::Waiting { .. }
            | Activity::Looping { .. } => None,
        }
    }
}
