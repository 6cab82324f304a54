//! The machine: begins tasks, ends them, and goes where they lead.

use super::describe;
use super::effect::{Effect, Reply};
use super::evaluate::Surroundings;
use super::frame::{Activity, Frame, Phase, Trying};
use super::problem::{FaultKind, RunFault, Stop};
use crate::Workflow;
use crate::jq::{Value, write_json};
use crate::model::Definition;
use terms::Timestamp;

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
    pub(crate) deadline: Timestamp,
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

/// What the machine does next, or why it can't go on.
pub(crate) type Going = Result<Flow, Stop>;

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
            describe::workflow(workflow, &raw_input, &context)
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
            runtime: describe::runtime(),
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
}

fn answers(reply: &Reply, pending: &Effect) -> bool {
    matches!((reply, pending), (Reply::Http(_), Effect::Http(_)) | (Reply::Waited, Effect::Wait { .. }))
}

/// The surroundings of the workflow's own expressions.
const fn nowhere(data: &Value) -> Surroundings<'_> {
    Surroundings { data, input: &Value::Null, output: &Value::Null, task: &Value::Null, pointer: "" }
}

/// The fault of a stack that is not as the machine left it.
pub(crate) fn lost() -> Stop {
    Stop::limit(FaultKind::Runtime, "", "the machine lost its place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_workflows_move_between_threads() {
        fn moves<T: Send + Sync + 'static>() {}
        moves::<Run>();
        moves::<Workflow>();
        moves::<crate::Expression>();
    }
}
