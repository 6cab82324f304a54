//! A checked workflow: tasks in blocks, by index, with every expression compiled.

use crate::jq::{ExpressionId, Program, Value};
use std::sync::Arc;

/// Where a block or task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockId(pub(crate) usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(pub(crate) usize);
/// Which of the workflow's own variables (`for.each`, `for.at`, `catch.as`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) usize);

#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) blocks: Vec<Vec<TaskId>>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) root: BlockId,
    pub(crate) input_from: Option<Template>,
    pub(crate) output_as: Option<Template>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) program: Program,
    pub(crate) slots: usize,
    /// Whether any expression reads `$task`, or `$workflow`; making them costs more than most tasks.
    pub(crate) reads_task: bool,
    pub(crate) reads_workflow: bool,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: Arc<str>,
    pub(crate) pointer: String,
    pub(crate) when: Option<ExpressionId>,
    pub(crate) input_from: Option<Template>,
    pub(crate) output_as: Option<Template>,
    pub(crate) export_as: Option<Template>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) then: Then,
    pub(crate) action: Action,
}

/// What follows a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Continue,
    /// The rest of the block is skipped; in a loop, the rest of this iteration.
    Exit,
    /// The workflow ends.
    End,
    /// The task at this place of the same block.
    Task(usize),
}

#[derive(Debug)]
pub(crate) enum Action {
    Do(BlockId),
    Set(Template),
    Switch(Vec<Case>),
    For(Loop),
    Http(Box<Call>),
    Raise(Box<Raise>),
    Try { body: BlockId, catch: Box<Catch> },
    Wait { ms: u64 },
}

/// One case of a switch; without a condition it always holds.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: Option<ExpressionId>,
    pub(crate) then: Then,
}

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) each: Slot,
    pub(crate) at: Slot,
    pub(crate) items: ExpressionId,
    pub(crate) go_on: Option<ExpressionId>,
    pub(crate) body: BlockId,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) query: Vec<(String, Template)>,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) body: Option<Template>,
    pub(crate) output: crate::HttpOutput,
}

/// Where a call goes: the origin never varies.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// `https://host`, with the port if one was given.
    pub(crate) origin: String,
    pub(crate) host: String,
    pub(crate) target: Target,
}

#[derive(Debug)]
pub(crate) enum Target {
    /// Path and query, with `{name}` parts.
    Parts(Vec<UriPart>),
    /// An expression for the whole URL, whose text begins with the origin.
    Whole(ExpressionId),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UriPart {
    Literal(String),
    /// A path into the task's input.
    Input(Vec<String>),
}

#[derive(Debug)]
pub(crate) enum Raise {
    Fields(ErrorTemplate),
    /// An expression for the whole error, such as the one that was caught.
    Whole(ExpressionId),
}

#[derive(Debug)]
pub(crate) struct ErrorTemplate {
    pub(crate) kind: Template,
    pub(crate) status: Template,
    pub(crate) title: Option<Template>,
    pub(crate) detail: Option<Template>,
    pub(crate) instance: Option<Template>,
}

#[derive(Debug)]
pub(crate) struct Catch {
    /// What an error must have to be caught; every entry must match.
    pub(crate) filter: Vec<(&'static str, Value)>,
    pub(crate) variable: Slot,
    pub(crate) when: Option<ExpressionId>,
    pub(crate) except_when: Option<ExpressionId>,
    pub(crate) retry: Option<Retry>,
    pub(crate) body: Option<BlockId>,
}

#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) when: Option<ExpressionId>,
    pub(crate) except_when: Option<ExpressionId>,
    pub(crate) delay_ms: u64,
    pub(crate) backoff: Backoff,
    pub(crate) jitter_ms: Option<(u64, u64)>,
    /// How often the task is tried again.
    pub(crate) attempts: u64,
    pub(crate) attempt_ms: Option<u64>,
    pub(crate) total_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backoff {
    Constant,
    Linear,
    Exponential,
}

/// A value that is computed where it contains expressions.
#[derive(Debug, Clone)]
pub(crate) enum Template {
    Constant(Value),
    Expression(ExpressionId),
    List(Vec<Template>),
    Map(Vec<(Arc<str>, Template)>),
}

impl Definition {
    pub(crate) fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(id.0)
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<&[TaskId]> {
        self.blocks.get(id.0).map(Vec::as_slice)
    }
}
