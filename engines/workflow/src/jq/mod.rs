//! Runtime expressions: jq, read and run by jaq on values of our own, within a budget of steps, size and depth.
//!
//! What ends an endless expression: the reader puts a step before every function body, filter argument, further
//! alternative and iteration (`syntax`), and every operator pays for the bytes it touches (`value`, `access`,
//! `arithmetic`, `order`, the natives). What ends a deep one: each step looks at the native stack, values know
//! their depth, and the text of an expression is bounded in every direction in which its tree could grow.

mod access;
mod arithmetic;
mod library;
mod math;
mod meter;
mod natives;
mod order;
mod pattern;
mod program;
mod syntax;
mod text;
mod value;

pub use meter::Budget;
pub use syntax::{EXPRESSION_BYTES_MAX, ExpressionError};

pub(crate) use meter::VALUE_DEPTH_MAX;
pub(crate) use program::{Draft, ExpressionId, Failure, Program};
pub(crate) use syntax::literal_beginning;
pub(crate) use text::percent_encode;
pub(crate) use value::{List, Map, Value, write_json};

use std::sync::Arc;

/// One jq expression, without the variables of a workflow.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Program>, ExpressionId);

/// Says why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The budget of steps is spent.
    #[error("the expression takes too many steps")]
    Steps,
    /// A value would be too large, or nest too deeply.
    #[error("the expression makes a value that is too large or nests too deeply")]
    Memory,
    /// The expression failed on this input. The text may repeat parts of it.
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    /// Reads and compiles `code`, without `${` and `}`.
    ///
    /// # Errors
    /// When the code is not jq, or uses what is not there.
    pub fn compile(code: &str) -> Result<Self, ExpressionError> {
        let mut draft = Draft::default();
        let id = draft.add(code, &[])?;
        let program = draft.compile(&[]).ok_or(ExpressionError::Deep)?;
        Ok(Self(Arc::new(program), id))
    }

    /// Evaluates the expression on `input` within `budget`. No output is null; more than one is an error.
    ///
    /// # Errors
    /// When the budget is spent, or the expression fails on this input.
    pub fn evaluate(
        &self,
        input: &serde_json::Value,
        budget: Budget,
    ) -> Result<serde_json::Value, EvaluationError> {
        let (outcome, _) = self.0.evaluate(self.1, Value::from(input), [], budget);
        match outcome {
            Ok(value) => Ok((&value).into()),
            Err(Failure::Steps) => Err(EvaluationError::Steps),
            Err(Failure::Memory) => Err(EvaluationError::Memory),
            Err(Failure::Failed(message)) => Err(EvaluationError::Failed(message)),
        }
    }
}
