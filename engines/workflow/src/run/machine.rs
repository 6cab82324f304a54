//! The machine: begins tasks, ends them, and goes where they lead.

use super::effect::{Effect, Reply};
use super::evaluate::Surroundings;
use super::frame::{Activity, Frame, Phase, TaskFrame, Trying};
use super::problem::{FaultKind, RunFault, Stop};
use crate::Workflow;
use crate::jq::{Map, Value, write_json};
use crate::model::{Action, BlockId, Case, Definition, Loop, Slot, Task, Then};
use std::sync::Arc;
use terms::Timestamp;

/// What `$runtime.version` says. It changes when what a workflow can observe changes, not with every release, so
/// that a journal replays across releases.
const RUNTIME_VERSION: &str = "1";

/// What a run may use, as signed in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Task executions.
    pub steps: u64,
    /// Milliseconds from the start to the end.
    pub wall_time_ms: u64,
    /// The size of the largest value, in bytes: a task's data, the context, or what an expression makes.
    pub memory_bytes: u64,
    /// The size of the output as JSON, in bytes.
    pub output_bytes: u64,
    /// HTTP calls.
    pub http_calls: u64,
}

/// What a run knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeContext {
    /// The execution's id: `$workflow.id`.
    pub execution_id: String,
    /// When the run started; its deadline counts from here.
    pub started_at: Timestamp,
}

/// A run of a workflow.
#[derive(Debug, Clone)]
pub struct Run {
    workflow: Workflow,
    machine: Machine,
}

/// The state of a run.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) limits: Limits,
    pub(crate) execution_id: String,
    pub(crate) now: Timestamp,
    deadline: Timestamp,
    pub(crate) steps: u64,
    pub(crate) http_calls: u64,
    pub(crate) ticks: u64,
    /// `$context`, `$workflow`, `$runtime`, and the variables of `for` and `catch`.
    pub(crate) context: Value,
    pub(crate) workflow_value: Value,
    pub(crate) runtime: Value,
    pub(crate) variables: Vec<Value>,
    /// The workflow's input, as given and as transformed.
    raw_input: Value,
    input: Value,
    pub(crate) frames: Vec<Frame>,
    /// The effect that a reply is awaited for, or the last one.
    pub(crate) pending: Option<Effect>,
    ended: bool,
}

/// What happens next within one `advance`.
pub(crate) enum Flow {
    /// The block on top runs its next task with this data.
    Next(Value),
    /// What the task on top did inside has ended with this data.
    Done(Value),
    /// The workflow ends with this data.
    End(Value),
    /// The world must do something first.
    Emit(Effect),
}

type Going = Result<Flow, Stop>;

// === impl Run ===

impl Run {
    /// Prepares a run; [`Reply::Start`] begins it.
    #[must_use]
    pub fn start(
        workflow: &Workflow,
        input: serde_json::Value,
        limits: Limits,
        context: RuntimeContext,
    ) -> Self {
        let definition = workflow.definition();
        let raw_input = Value::from(&input);
        let wall_ms = definition.timeout_ms.map_or(limits.wall_time_ms, |ms| ms.min(limits.wall_time_ms));
        let workflow_value = if definition.reads_workflow {
            describe_workflow(workflow, &raw_input, &context)
        } else {
            Value::Null
        };
        let machine = Machine {
            limits,
            now: context.started_at,
            deadline: context.started_at.plus_ms(i64::try_from(wall_ms).unwrap_or(i64::MAX)),
            execution_id: context.execution_id,
            steps: 0,
            http_calls: 0,
            ticks: 0,
            context: Value::Null,
            workflow_value,
            runtime: object([("name", Value::text("palisade")), ("version", Value::text(RUNTIME_VERSION))]),
            variables: vec![Value::Null; definition.slots],
            input: raw_input.clone(),
            raw_input,
            frames: Vec::new(),
            pending: None,
            ended: false,
        };
        Self { workflow: workflow.clone(), machine }
    }

    /// Goes on as far as it can without the world, and says what must happen next.
    ///
    /// A reply that doesn't fit what is awaited changes nothing: the awaited effect is returned again. `now` is only
    /// compared with deadlines.
    pub fn advance(&mut self, reply: Reply, now: Timestamp) -> Effect {
        let workflow = self.workflow.clone();
        self.machine.advance(workflow.definition(), workflow.document(), reply, now)
    }

    /// How many tasks were executed.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.machine.steps
    }

    /// How many HTTP calls were asked for.
    #[must_use]
    pub const fn http_calls(&self) -> u64 {
        self.machine.http_calls
    }

    /// How many steps the expressions took.
    #[must_use]
    pub const fn expression_ticks(&self) -> u64 {
        self.machine.ticks
    }
}

// === impl Machine ===

impl Machine {
    fn advance(
        &mut self,
        definition: &Definition,
        document: &serde_json::Value,
        reply: Reply,
        now: Timestamp,
    ) -> Effect {
        if let Some(pending) = &self.pending
            && (self.ended || !answers(&reply, pending))
        {
            return pending.clone();
        }
        if self.pending.is_none() && reply != Reply::Start {
            return Effect::Faulted(RunFault::new(FaultKind::Runtime, "", "the run was not started"));
        }
        self.now = now;
        let mut going = match self.expired(definition) {
            Some(stop) => Err(stop),
            None => self.resume(definition, reply),
        };
        let effect = loop {
            going = match going {
                Ok(Flow::Next(value)) => self.next(definition, document, value),
                Ok(Flow::Done(value)) if self.frames.is_empty() => break self.complete(definition, value),
                Ok(Flow::End(value)) => break self.complete(definition, value),
                Ok(Flow::Done(value)) => self.inner_done(definition, value),
                Ok(Flow::Emit(effect)) => break effect,
                Err(Stop::Limit(fault)) => break Effect::Faulted(*fault),
                Err(Stop::Error(fault)) => match self.unwind(definition, fault) {
                    Ok(going) => going,
                    Err(fault) => break Effect::Faulted(*fault),
                },
            };
        };
        self.ended = matches!(effect, Effect::Completed(_) | Effect::Faulted(_));
        if self.ended {
            self.frames.clear();
        }
        self.pending = Some(effect.clone());
        effect
    }

    /// Goes on after a reply.
    fn resume(&mut self, definition: &Definition, reply: Reply) -> Going {
        match reply {
            Reply::Start => self.begin(definition),
            Reply::Http(outcome) => {
                let output = self.http_output(definition, outcome)?;
                self.finish(definition, output)
            }
            Reply::Waited => self.waited(definition),
        }
    }

    fn begin(&mut self, definition: &Definition) -> Going {
        self.admit(self.raw_input.clone(), "")?;
        if let Some(template) = &definition.input_from {
            let raw = self.raw_input.clone();
            self.input = self.fill(definition, template, nowhere(&raw))?;
        }
        self.frames.push(Frame::Block { block: definition.root, next: 0 });
        Ok(Flow::Next(self.input.clone()))
    }

    fn waited(&mut self, definition: &Definition) -> Going {
        let Some(Frame::Task(frame)) = self.frames.last_mut() else { return Err(lost()) };
        let until = match &frame.activity {
            Activity::Waiting { until } => *until,
            Activity::Trying(Trying { phase: Phase::Pause { until }, .. }) => *until,
            Activity::Plain | Activity::Calling | Activity::Looping { .. } | Activity::Trying(_) => {
                return Err(lost());
            }
        };
        if self.now < until {
            return Ok(self.wait_until(until));
        }
        let input = frame.input.clone();
        if matches!(frame.activity, Activity::Waiting { .. }) {
            return self.finish(definition, input);
        }
        self.attempt(definition)
    }

    // === tasks ===

    /// Runs the next task of the block on top.
    fn next(&mut self, definition: &Definition, document: &serde_json::Value, value: Value) -> Going {
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
        let descriptor =
            if definition.reads_task { self.describe(task, document, &value) } else { Value::Null };
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
    fn inner_done(&mut self, definition: &Definition, value: Value) -> Going {
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

    /// Ends the run with its output.
    fn complete(&mut self, definition: &Definition, value: Value) -> Effect {
        let input = self.input.clone();
        let around = Surroundings { data: &value, input: &input, output: &value, ..nowhere(&value) };
        let output = match &definition.output_as {
            Some(template) => self.fill(definition, template, around),
            None => Ok(value.clone()),
        };
        let output = match output {
            Ok(output) => output,
            Err(Stop::Error(fault) | Stop::Limit(fault)) => return Effect::Faulted(*fault),
        };
        let max = usize::try_from(self.limits.output_bytes).unwrap_or(usize::MAX);
        if !write_json(&output, &mut String::new(), max) {
            return Effect::Faulted(RunFault::new(FaultKind::OutputLimit, "", "the output is too large"));
        }
        Effect::Completed((&output).into())
    }

    // === variables and frames ===

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
    fn expired(&mut self, definition: &Definition) -> Option<Stop> {
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

    // === descriptions ===

    fn describe(&self, task: &Task, document: &serde_json::Value, input: &Value) -> Value {
        let definition = document.pointer(&task.pointer).map_or(Value::Null, Value::from);
        object([
            ("name", Value::Text(Arc::clone(&task.name))),
            ("reference", Value::text(task.pointer.as_str())),
            ("definition", definition),
            ("input", input.clone()),
            ("startedAt", time(self.now)),
        ])
    }
}

fn describe_workflow(workflow: &Workflow, input: &Value, context: &RuntimeContext) -> Value {
    object([
        ("id", Value::text(context.execution_id.as_str())),
        ("definition", Value::from(workflow.document())),
        ("input", input.clone()),
        ("startedAt", time(context.started_at)),
    ])
}

/// A date and time as the language describes it.
fn time(at: Timestamp) -> Value {
    let epoch = object([("seconds", Value::Int(at.unix_s())), ("milliseconds", Value::Int(at.unix_ms()))]);
    object([("iso8601", Value::text(at.to_string())), ("epoch", epoch)])
}

pub(crate) fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::map(entries.into_iter().map(|(key, value)| (Arc::from(key), value)).collect::<Map>())
}

fn answers(reply: &Reply, pending: &Effect) -> bool {
    matches!((reply, pending), (Reply::Http(_), Effect::Http(_)) | (Reply::Waited, Effect::Wait { .. }))
}

/// The surroundings of the workflow's own expressions.
const fn nowhere(data: &Value) -> Surroundings<'_> {
    Surroundings { data, input: &Value::Null, output: &Value::Null, task: &Value::Null, pointer: "" }
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

/// The fault of a stack that is not as the machine left it.
pub(crate) fn lost() -> Stop {
    Stop::limit(FaultKind::Runtime, "", "the machine lost its place")
}
