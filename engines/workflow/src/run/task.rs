//! Begins tasks, ends them, and goes where they lead.

use super::describe;
use super::evaluate::Surroundings;
use super::frame::{Activity, Frame, Phase, TaskFrame, Trying};
use super::machine::{Flow, Going, Machine, lost};
use super::problem::{FaultKind, Stop};
use crate::jq::Value;
use crate::model::{Action, BlockId, Case, Definition, Loop, Task, Then};

impl Machine {
    /// Runs the next task of the block on top.
    pub(crate) fn next(
        &mut self,
        definition: &Definition,
        document: &serde_json::Value,
        value: Value,
    ) -> Going {
        let Some(Frame::Block { block, next }) = self.frames.last_mut() else { return Err(lost()) };
        let Some(id) = definition.block(*block).and_then(|tasks| tasks.get(*next).copied()) else {
            self.frames.pop();
            return Ok(Flow::Done(value));
        };
        *next = next.saturating_add(1);
        let Some(task) = definition.task(id) else { return Err(lost()) };
        if self.steps >= self.limits.steps {
            return Err(Stop::limit(FaultKind::StepLimit, &task.pointer, "the run has no more steps"));
        }
        self.steps = self.steps.saturating_add(1);
        let descriptor = if definition.reads_task {
            describe::task(task, document, &value, self.now)
        } else {
            Value::Null
        };
        let around = Surroundings {
            data: &value,
            input: &value,
            output: &Value::Null,
            task: &descriptor,
            pointer: &task.pointer,
        };
        let input = match &task.input_from {
            Some(template) => self.fill(definition, template, around)?,
            None => value.clone(),
        };
        let around = Surroundings { data: &input, input: &input, ..around };
        if !self.holds(definition, task.when, around)? {
            return Ok(Flow::Next(value));
        }
        let deadline = task.timeout_ms.map(|ms| self.after(ms));
        self.frames.push(Frame::Task(Box::new(TaskFrame {
            id,
            input: input.clone(),
            descriptor: descriptor.clone(),
            deadline,
            shadowed: Vec::new(),
            activity: Activity::Plain,
        })));
        self.act(definition, task, input, &descriptor)
    }

    fn act(&mut self, definition: &Definition, task: &Task, input: Value, descriptor: &Value) -> Going {
        let around = Surroundings {
            data: &input,
            input: &input,
            output: &Value::Null,
            task: descriptor,
            pointer: &task.pointer,
        };
        match &task.action {
            Action::Do(block) => Ok(self.enter(*block, input)),
            Action::Set(template) => {
                let output = self.fill(definition, template, around)?;
                self.finish(definition, output)
            }
            Action::Switch(cases) => {
                let then = self.choose(definition, cases, around)?;
                self.finish_then(definition, input, then.unwrap_or(task.then))
            }
            Action::For(repetition) => self.begin_loop(definition, repetition, around),
            Action::Http(call) => self.http_call(definition, call, around).map(Flow::Emit),
            Action::Raise(raise) => Err(self.raised(definition, raise, around)?),
            Action::Try { .. } => {
                let began = self.now;
                self.set_activity(Activity::Trying(Trying {
                    phase: Phase::Attempt,
                    began,
                    retries: 0,
                    attempt_deadline: None,
                }));
                self.attempt(definition)
            }
            Action::Wait { ms } => {
                let until = self.after(*ms);
                self.set_activity(Activity::Waiting { until });
                Ok(self.wait_until(until))
            }
        }
    }

    pub(crate) fn enter(&mut self, block: BlockId, data: Value) -> Flow {
        self.frames.push(Frame::Block { block, next: 0 });
        Flow::Next(data)
    }

    fn choose(
        &mut self,
        definition: &Definition,
        cases: &[Case],
        around: Surroundings<'_>,
    ) -> Result<Option<Then>, Stop> {
        for case in cases {
            if self.holds(definition, case.when, around)? {
                return Ok(Some(case.then));
            }
        }
        Ok(None)
    }

    fn begin_loop(&mut self, definition: &Definition, repetition: &Loop, around: Surroundings<'_>) -> Going {
        let items = self.evaluate(definition, repetition.items, around)?;
        let Value::List(items) = items else {
            let detail = format!("`in` gave {} instead of an array", items.type_name());
            return Err(Stop::error(FaultKind::Expression, around.pointer, detail));
        };
        for slot in [repetition.each, repetition.at] {
            self.shadow(slot);
        }
        self.set_activity(Activity::Looping { items, next: 0 });
        self.iterate(definition, repetition, around.data.clone())
    }

    fn iterate(&mut self, definition: &Definition, repetition: &Loop, data: Value) -> Going {
        let Some(Frame::Task(frame)) = self.frames.last_mut() else { return Err(lost()) };
        let Activity::Looping { items, next } = &mut frame.activity else { return Err(lost()) };
        let at = *next;
        let Some(item) = items.items().get(at).cloned() else { return self.finish(definition, data) };
        *next = at.saturating_add(1);
        self.set_variable(repetition.each, item);
        self.set_variable(repetition.at, Value::count(at));
        if repetition.go_on.is_some() {
            let frame = self.top_task().ok_or_else(lost)?.clone();
            let Some(task) = definition.task(frame.id) else { return Err(lost()) };
            let around = Surroundings { data: &data, ..within(&frame, task) };
            if !self.holds(definition, repetition.go_on, around)? {
                return self.finish(definition, data);
            }
        }
        Ok(self.enter(repetition.body, data))
    }

    /// Goes on when a block within the task on top has ended.
    pub(crate) fn inner_done(&mut self, definition: &Definition, value: Value) -> Going {
        let Some(task) = self.top_task().and_then(|frame| definition.task(frame.id)) else {
            return Err(lost());
        };
        match &task.action {
            Action::For(repetition) => self.iterate(definition, repetition, value),
            Action::Do(_)
            | Action::Try { .. }
            | Action::Set(_)
            | Action::Switch(_)
            | Action::Http(_)
            | Action::Raise(_)
            | Action::Wait { .. } => self.finish(definition, value),
        }
    }

    /// Ends the task on top with its output.
    pub(crate) fn finish(&mut self, definition: &Definition, output: Value) -> Going {
        let Some(task) = self.top_task().and_then(|frame| definition.task(frame.id)) else {
            return Err(lost());
        };
        self.finish_then(definition, output, task.then)
    }

    fn finish_then(&mut self, definition: &Definition, output: Value, then: Then) -> Going {
        let frame = self.top_task().ok_or_else(lost)?.clone();
        let Some(task) = definition.task(frame.id) else { return Err(lost()) };
        let around = within(&frame, task);
        let output = match &task.output_as {
            Some(template) => {
                self.fill(definition, template, Surroundings { data: &output, output: &output, ..around })?
            }
            None => output,
        };
        if let Some(template) = &task.export_as {
            self.context =
                self.fill(definition, template, Surroundings { data: &output, output: &output, ..around })?;
        }
        self.pop();
        match then {
            Then::Continue => Ok(Flow::Next(output)),
            Then::Exit => {
                self.pop();
                Ok(Flow::Done(output))
            }
            Then::End => Ok(Flow::End(output)),
            Then::Task(at) => {
                if let Some(Frame::Block { next, .. }) = self.frames.last_mut() {
                    *next = at;
                }
                Ok(Flow::Next(output))
            }
        }
    }
}

/// The surroundings of a task's expressions.
pub(crate) fn within<'s>(frame: &'s TaskFrame, task: &'s Task) -> Surroundings<'s> {
    Surroundings {
        data: &frame.input,
        input: &frame.input,
        output: &Value::Null,
        task: &frame.descriptor,
        pointer: &task.pointer,
    }
}
