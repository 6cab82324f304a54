//! Evaluates expressions and templates in the surroundings of a task, and counts what they take.

use super::machine::Machine;
use super::problem::{FaultKind, Stop};
use crate::jq::{Budget, ExpressionId, Failure, List, Map, VALUE_DEPTH_MAX, Value};
use crate::model::{Definition, Template};
use std::sync::Arc;

/// How many steps one evaluation may take: a few tenths of a second at worst.
const EXPRESSION_TICKS_MAX: u64 = 1_000_000;
/// How many steps all evaluations of a run may take together: seconds of processor time.
const RUN_TICKS_MAX: u64 = 20_000_000;

/// What an expression sees besides the context and the workflow's variables.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'s> {
    /// The value of `.`.
    pub(crate) data: &'s Value,
    pub(crate) input: &'s Value,
    pub(crate) output: &'s Value,
    pub(crate) task: &'s Value,
    /// The task as a JSON pointer; empty for the workflow's own expressions.
    pub(crate) pointer: &'s str,
}

impl Machine {
    pub(crate) fn evaluate(
        &mut self,
        definition: &Definition,
        id: ExpressionId,
        around: Surroundings<'_>,
    ) -> Result<Value, Stop> {
        let left = RUN_TICKS_MAX.saturating_sub(self.ticks);
        let budget = Budget { ticks: left.min(EXPRESSION_TICKS_MAX), memory_bytes: self.limits.memory_bytes };
        let base =
            [&self.context, around.input, around.output, around.task, &self.workflow_value, &self.runtime];
        let globals = base.into_iter().chain(&self.variables).cloned();
        let (outcome, ticks) = definition.program.evaluate(id, around.data.clone(), globals, budget);
        self.ticks = self.ticks.saturating_add(ticks);
        outcome.map_err(|failure| match failure {
            Failure::Steps => {
                Stop::limit(FaultKind::StepLimit, around.pointer, "the expression takes too many steps")
            }
            Failure::Memory => {
                let detail = "the expression makes a value that is too large or nests too deeply";
                Stop::limit(FaultKind::MemoryLimit, around.pointer, detail)
            }
            Failure::Failed(detail) => Stop::error(FaultKind::Expression, around.pointer, detail),
        })
    }

    /// Whether a condition holds; without one it does.
    pub(crate) fn holds(
        &mut self,
        definition: &Definition,
        condition: Option<ExpressionId>,
        around: Surroundings<'_>,
    ) -> Result<bool, Stop> {
        match condition {
            None => Ok(true),
            Some(id) => Ok(self.evaluate(definition, id, around)?.is_true()),
        }
    }

    pub(crate) fn fill(
        &mut self,
        definition: &Definition,
        template: &Template,
        around: Surroundings<'_>,
    ) -> Result<Value, Stop> {
        let filled = match template {
            Template::Constant(value) => return Ok(value.clone()),
            Template::Expression(id) => return self.evaluate(definition, *id, around),
            Template::List(items) => {
                let items = items.iter().map(|item| self.fill(definition, item, around));
                Value::list(items.collect::<Result<List, _>>()?)
            }
            Template::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, item)| Ok((Arc::clone(key), self.fill(definition, item, around)?)));
                Value::map(entries.collect::<Result<Map, _>>()?)
            }
        };
        self.admit(filled, around.pointer)
    }

    /// Lets a value in whose parts were bounded, but not the whole.
    pub(crate) fn admit(&self, value: Value, pointer: &str) -> Result<Value, Stop> {
        if value.weight() > self.limits.memory_bytes || value.depth() > VALUE_DEPTH_MAX {
            return Err(Stop::limit(
                FaultKind::MemoryLimit,
                pointer,
                "a value is too large or nests too deeply",
            ));
        }
        Ok(value)
    }
}
