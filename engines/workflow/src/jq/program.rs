//! The expressions of a workflow, compiled together once and evaluated many times.

use super::library;
use super::meter::{self, Budget, Trip};
use super::natives;
use super::syntax::{self, Checked, ExpressionError};
use super::value::{Value, write_json};
use jaq_core::compile::TermId;
use jaq_core::data::HasLut;
use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, DataT, Filter, Lut, Vars};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// How much of an expression's own error message is kept, in characters.
const MESSAGE_MAX: usize = 500;

/// What jaq's evaluator works on: our values.
pub(crate) struct Jq;

impl DataT for Jq {
    type V<'a> = Value;
    type Data<'a> = Env<'a>;
}

/// What natives see of their program.
#[derive(Clone)]
pub(crate) struct Env<'a> {
    lut: &'a Lut<Jq>,
    pub(crate) expressions: usize,
    pub(crate) collected: Option<&'a RefCell<Vec<TermId>>>,
}

impl<'a> HasLut<'a, Jq> for Env<'a> {
    fn lut(&self) -> &'a Lut<Jq> {
        self.lut
    }
}

/// One expression of a [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExpressionId(usize);

/// Compiled expressions.
pub(crate) struct Program {
    filter: Filter<Jq>,
    ids: Vec<TermId>,
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The budget of steps is spent.
    Steps,
    /// A value would be too large, or too deep.
    Memory,
    /// The expression failed on this input; the text may repeat it.
    Failed(String),
}

/// Checks expressions one by one, to compile them together: a program carries its library once.
#[derive(Default)]
pub(crate) struct Draft<'s> {
    known: BTreeMap<(&'s str, Vec<&'s str>), ExpressionId>,
    terms: Vec<Term<&'s str>>,
    uses: BTreeSet<(&'s str, usize)>,
}

// === impl Draft ===

impl<'s> Draft<'s> {
    /// Checks `code`, which may read `variables`; an expression that was seen before is not compiled again.
    pub(crate) fn add(
        &mut self,
        code: &'s str,
        variables: &[&'s str],
    ) -> Result<ExpressionId, ExpressionError> {
        if let Some(id) = self.known.get(&(code, variables.to_vec())) {
            return Ok(*id);
        }
        let Checked { term, uses } = syntax::check(code, variables)?;
        let id = ExpressionId(self.terms.len());
        self.terms.push(term);
        self.uses.extend(uses);
        self.known.insert((code, variables.to_vec()), id);
        Ok(id)
    }

    /// Compiles everything; `globals` names every variable that any expression reads, in the order of evaluation's
    /// values.
    pub(crate) fn compile(self, globals: &[&'s str]) -> Option<Program> {
        let names: Vec<String> = (0..self.terms.len()).map(|i| format!("_e{i}")).collect();
        let main = if names.is_empty() {
            natives::COLLECT.to_owned()
        } else {
            format!("{}({})", natives::COLLECT, names.join(";"))
        };
        let expressions = names.len();
        let library: Vec<Def<&str>> = library::needed(self.uses);
        let own = names.iter().zip(self.terms).map(|(name, body)| Def {
            name: name.as_str(),
            args: Vec::new(),
            body,
        });
        let arena = Arena::default();
        let loader = Loader::new(library.into_iter().chain(own));
        let modules = loader.load(&arena, File { code: main.as_str(), path: () }).ok()?;
        let filter = Compiler::default()
            .with_global_vars(globals.iter().copied())
            .with_funs(
                natives::all(expressions).map(|(name, arguments, native)| (name as &str, arguments, native)),
            )
            .compile(modules)
            .ok()?;
        let ids = collect(&filter, expressions, globals.len())?;
        Some(Program { filter, ids })
    }
}

/// Runs the main filter once, for the ids of the expressions that it names.
fn collect(filter: &Filter<Jq>, expressions: usize, globals: usize) -> Option<Vec<TermId>> {
    let collected = RefCell::new(Vec::new());
    let env = Env { lut: &filter.lut, expressions, collected: Some(&collected) };
    let nothing = std::iter::repeat_n(Value::Null, globals);
    let outputs = filter.id.run::<Jq>((Ctx::new(env, Vars::new(nothing)), Value::Null)).count();
    let mut ids = collected.into_inner();
    // Arguments come off the stack last first.
    ids.reverse();
    (outputs == 0 && ids.len() == expressions).then_some(ids)
}

// === impl Program ===

impl Program {
    /// Evaluates an expression on `input`: its value and the steps it took. No output is null.
    pub(crate) fn evaluate(
        &self,
        id: ExpressionId,
        input: Value,
        globals: impl IntoIterator<Item = Value>,
        budget: Budget,
    ) -> (Result<Value, Failure>, u64) {
        meter::start(budget);
        let outcome = self.run(id, input, globals);
        let (left, trip) = meter::finish();
        let spent = budget.ticks.saturating_sub(left);
        match trip {
            None => (outcome, spent),
            Some(Trip::Steps) => (Err(Failure::Steps), budget.ticks),
            Some(Trip::Memory | Trip::Nesting) => (Err(Failure::Memory), spent),
        }
    }

    #[inline(never)]
    fn run(
        &self,
        id: ExpressionId,
        input: Value,
        globals: impl IntoIterator<Item = Value>,
    ) -> Result<Value, Failure> {
        let unknown = || Failure::Failed("no such expression".to_owned());
        let term = self.ids.get(id.0).ok_or_else(unknown)?;
        let env = Env { lut: &self.filter.lut, expressions: self.ids.len(), collected: None };
        let mut outputs = term.run::<Jq>((Ctx::new(env, Vars::new(globals)), input));
        let Some(first) = outputs.next() else { return Ok(Value::Null) };
        let first = first.map_err(failed)?;
        match outputs.next() {
            None => Ok(first),
            Some(_) => Err(Failure::Failed(
                "the expression gave several values; collect them with `[...]`".to_owned(),
            )),
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("expressions", &self.ids.len()).finish_non_exhaustive()
    }
}

fn failed(exception: jaq_core::Exn<'_, Value>) -> Failure {
    let Ok(error) = exception.get_err() else { return Failure::Failed("stopped".to_owned()) };
    let message = match error.into_val() {
        Value::Text(text) => text.chars().take(MESSAGE_MAX).collect(),
        other => {
            let mut shown = String::new();
            write_json(&other, &mut shown, MESSAGE_MAX);
            shown.chars().take(MESSAGE_MAX).collect()
        }
    };
    Failure::Failed(message)
}
