//! The stack of frames: the variables that tasks bind, and the deadlines that they set.

use super::effect::Effect;
use super::frame::{Activity, Frame, TaskFrame};
use super::machine::{Flow, Machine};
use super::problem::{FaultKind, Stop};
use crate::jq::Value;
use crate::model::{Definition, Slot};
use terms::Timestamp;

impl Machine {
    // === frames and variables ===

    pub(crate) fn top_task(&self) -> Option<&TaskFrame> {
        match self.frames.last() {
            Some(Frame::Task(frame)) => Some(frame),
            Some(Frame::Block { .. }) | None => None,
        }
    }

    pub(crate) fn set_activity(&mut self, activity: Activity) {
        if let Some(Frame::Task(frame)) = self.frames.last_mut() {
            frame.activity = activity;
        }
    }

    pub(crate) fn set_variable(&mut self, slot: Slot, value: Value) {
        if let Some(variable) = self.variables.get_mut(slot.0) {
            *variable = value;
        }
    }

    /// Remembers what a variable is, for the end of the task on top.
    pub(crate) fn shadow(&mut self, slot: Slot) {
        let before = self.variables.get(slot.0).cloned().unwrap_or_default();
        if let Some(Frame::Task(frame)) = self.frames.last_mut()
            && !frame.shadowed.iter().any(|(known, _)| *known == slot)
        {
            frame.shadowed.push((slot, before));
        }
    }

    /// Takes the frame on top off, giving variables back what they were.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let mut frame = self.frames.pop()?;
        if let Frame::Task(task) = &mut frame {
            for (slot, before) in task.shadowed.drain(..) {
                self.set_variable(slot, before);
            }
        }
        Some(frame)
    }

    // === time ===

    pub(crate) fn after(&self, ms: u64) -> Timestamp {
        self.now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// Milliseconds until the earliest deadline around.
    pub(crate) fn remaining_ms(&self) -> u64 {
        let tasks = self.frames.iter().filter_map(|frame| match frame {
            Frame::Task(frame) => frame.earliest_deadline(),
            Frame::Block { .. } => None,
        });
        let earliest = tasks.chain([self.deadline]).min().unwrap_or(self.deadline);
        u64::try_from(earliest.ms_since(self.now)).unwrap_or(0)
    }

    pub(crate) fn wait_until(&self, until: Timestamp) -> Flow {
        let ms = u64::try_from(until.ms_since(self.now)).unwrap_or(0).min(self.remaining_ms());
        Flow::Emit(Effect::Wait { ms, step: self.steps })
    }

    /// Ends what has run out of time: the run, or the outermost task whose time is over.
    pub(crate) fn expired(&mut self, definition: &Definition) -> Option<Stop> {
        if self.now >= self.deadline {
            return Some(Stop::limit(FaultKind::Timeout, "", "the workflow took too long"));
        }
        let over = |deadline: Option<Timestamp>| deadline.is_some_and(|deadline| self.now >= deadline);
        let (at, whole, id) = self.frames.iter().enumerate().find_map(|(at, frame)| match frame {
            Frame::Task(frame) if over(frame.deadline) => Some((at, true, frame.id)),
            Frame::Task(frame) if over(frame.attempt_deadline()) => Some((at, false, frame.id)),
            Frame::Task(_) | Frame::Block { .. } => None,
        })?;
        // An attempt fails within its `try`, which may catch it; a task fails as a whole.
        let keep = if whole { at } else { at.saturating_add(1) };
        while self.frames.len() > keep {
            self.pop();
        }
        let pointer = definition.task(id).map_or("", |task| task.pointer.as_str());
        Some(Stop::error(FaultKind::Timeout, pointer, "the task took too long"))
    }
}
