//! What reading a document collects: faults, expressions, tasks and blocks; and the reading of small parts.

use super::fields::{self, Fields};
use crate::duration;
use crate::fault::{Faults, Place};
use crate::jq::{Draft, ExpressionId, List, Map, Value};
use crate::model::{BlockId, Slot, Task, TaskId, Template};
use crate::node::{Kind, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The variables that the language itself gives to expressions, in the order of evaluation.
pub(crate) const BASE_VARIABLES: [&str; 6] =
    ["$context", "$input", "$output", "$task", "$workflow", "$runtime"];
/// How many different names `for` and `catch` may give to variables.
const SLOTS_MAX: usize = 32;

/// How an expression is used; it decides which variables it may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// `input.from` of the workflow: nothing ran yet.
    WorkflowInput,
    /// `input.from` of a task: `$input` is not there yet.
    TaskInput,
    /// Anything that runs within a task.
    Within,
    /// `output.as` and `export.as`: `$output` is there too.
    Output,
}

impl Use {
    const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::WorkflowInput => &["$workflow", "$runtime"],
            Self::TaskInput => &["$context", "$task", "$workflow", "$runtime"],
            Self::Within => &["$context", "$input", "$task", "$workflow", "$runtime"],
            Self::Output => &BASE_VARIABLES,
        }
    }
}

/// What `use` gives names to, besides timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Error,
    Retry,
}

pub(crate) struct Reader<'n> {
    pub(crate) any_port: bool,
    pub(crate) faults: Faults,
    pub(crate) draft: Draft<'n>,
    pub(crate) blocks: Vec<Vec<TaskId>>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) reads_task: bool,
    pub(crate) reads_workflow: bool,
    /// The names of the workflow's own variables, each with its `$`.
    names: &'n [String],
    /// The variables that are bound around the place being read.
    scope: Vec<Slot>,
    pub(crate) named_timeouts: BTreeMap<&'n str, u64>,
    pub(crate) named_errors: BTreeMap<&'n str, Place<'n>>,
    pub(crate) named_retries: BTreeMap<&'n str, Place<'n>>,
    pub(crate) used_names: BTreeSet<(Part, &'n str)>,
}

impl<'n> Reader<'n> {
    pub(crate) fn new(names: &'n [String], any_port: bool) -> Self {
        Self {
            any_port,
            faults: Faults::default(),
            draft: Draft::default(),
            blocks: Vec::new(),
            tasks: Vec::new(),
            hosts: BTreeSet::new(),
            reads_task: false,
            reads_workflow: false,
            names,
            scope: Vec::new(),
            named_timeouts: BTreeMap::new(),
            named_errors: BTreeMap::new(),
            named_retries: BTreeMap::new(),
            used_names: BTreeSet::new(),
        }
    }

    pub(crate) fn add_task(&mut self, task: Task) -> TaskId {
        self.tasks.push(task);
        TaskId(self.tasks.len().saturating_sub(1))
    }

    pub(crate) fn add_block(&mut self, tasks: Vec<TaskId>) -> BlockId {
        self.blocks.push(tasks);
        BlockId(self.blocks.len().saturating_sub(1))
    }

    // === variables ===

    /// The slot of a variable's name, which must be an identifier that the language doesn't use itself.
    pub(crate) fn slot(&mut self, place: Option<&Place<'n>>, default: &str) -> Option<Slot> {
        let name = match place {
            Some(place) => fields::text(place, "a variable's name", &mut self.faults)?,
            None => default,
        };
        let with_sign = format!("${name}");
        let taken = BASE_VARIABLES.contains(&with_sign.as_str());
        let slot = self.names.iter().position(|known| *known == with_sign);
        if let Some(place) = place
            && (taken || slot.is_none_or(|slot| slot >= SLOTS_MAX))
        {
            self.faults.add(
                "name",
                place,
                format!("`{name}` can't name a variable; use letters, digits and `_`"),
            );
            return None;
        }
        slot.map(Slot)
    }

    /// Reads something with more variables in scope.
    pub(crate) fn with<T>(&mut self, slots: &[Slot], read: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.scope.len();
        self.scope.extend_from_slice(slots);
        let out = read(self);
        self.scope.truncate(depth);
        out
    }

    // === expressions ===

    /// An expression, with or without `${ }`: for places that hold nothing else.
    pub(crate) fn expression(&mut self, place: &Place<'n>, usage: Use) -> Option<ExpressionId> {
        let text = fields::text(place, "an expression", &mut self.faults)?;
        self.compile(unwrapped(text).unwrap_or(text), place, usage)
    }

    pub(crate) fn compile(&mut self, code: &'n str, place: &Place<'n>, usage: Use) -> Option<ExpressionId> {
        let mut variables = usage.variables().to_vec();
        for slot in &self.scope {
            if let Some(name) = self.names.get(slot.0) {
                variables.push(name);
            }
        }
        self.reads_task |= code.contains("$task");
        self.reads_workflow |= code.contains("$workflow");
        match self.draft.add(code, &variables) {
            Ok(id) => Some(id),
            Err(error) => {
                self.faults.add("expression", place, error.to_string());
                None
            }
        }
    }

    /// A value in which texts of the form `${ .. }` are computed.
    pub(crate) fn template(&mut self, place: &Place<'n>, usage: Use) -> Option<Template> {
        match &place.node.kind {
            Kind::Text(text) => match unwrapped(text) {
                Some(code) => self.compile(code, place, usage).map(Template::Expression),
                None if text.contains("${") => {
                    let message = "an expression is the whole text; write `${ \"..\\(.name)..\" }`";
                    self.faults.add("expression", place, message);
                    None
                }
                None => Some(Template::Constant(Value::text(text.as_str()))),
            },
            Kind::List(_) => {
                let items = fields::items(place, "a list", &mut self.faults)?;
                let templates: Vec<_> = items.iter().map(|item| self.template(item, usage)).collect();
                Some(list_template(templates.into_iter().collect::<Option<_>>()?))
            }
            Kind::Map(_) => {
                let entries = fields::entries(place, "a map", &mut self.faults)?;
                let templates: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| Some((Arc::from(*key), self.template(value, usage)?)))
                    .collect();
                Some(map_template(templates.into_iter().collect::<Option<_>>()?))
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) => {
                Some(Template::Constant(Value::from(&place.node.to_json())))
            }
        }
    }

    /// As [`Reader::template`], but a text is an expression also without `${ }`.
    pub(crate) fn shape(&mut self, place: &Place<'n>, usage: Use) -> Option<Template> {
        match place.node.kind {
            Kind::Text(_) => self.expression(place, usage).map(Template::Expression),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::List(_) | Kind::Map(_) => {
                self.template(place, usage)
            }
        }
    }

    // === durations ===

    pub(crate) fn duration(&mut self, place: &Place<'n>) -> Option<u64> {
        if let Some(text) = place.node.as_text() {
            let found = duration::parse_iso(text);
            if found.is_none() {
                let message =
                    "not a duration of at most 366 days; write `PT1M30S`, or a map such as `minutes: 1`";
                self.faults.add("duration", place, message);
            }
            return found;
        }
        let mut map = Fields::open(place, "a duration", &mut self.faults)?;
        let mut total = Some(0_u64);
        for (unit, ms) in duration::UNITS {
            if let Some(place) = map.take(unit) {
                let count = fields::count(&place, unit, &mut self.faults)?;
                total = total.and_then(|total| total.checked_add(count.checked_mul(ms)?));
            }
        }
        map.finish("a duration", &[], &mut self.faults);
        let total = total.and_then(duration::bounded);
        if total.is_none() {
            self.faults.add("duration", place, "a duration is at most 366 days");
        }
        total
    }

    /// A timeout: inline, or the name of one under `use.timeouts`.
    pub(crate) fn timeout(&mut self, place: &Place<'n>) -> Option<u64> {
        if let Some(name) = place.node.as_text() {
            let found = self.named_timeouts.get(name).copied();
            if found.is_none() {
                self.faults.add("reference", place, format!("`{name}` is not under `use.timeouts`"));
            }
            return found;
        }
        let mut map = Fields::open(place, "a timeout", &mut self.faults)?;
        let after = map.require("after", "a timeout", &mut self.faults);
        map.finish("a timeout", &[], &mut self.faults);
        self.duration(&after?)
    }
}

/// The code within `${` and `}`, if that is the whole text.
pub(crate) fn unwrapped(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}')
}

fn list_template(items: Vec<Template>) -> Template {
    let constants = items.iter().map(|item| match item {
        Template::Constant(value) => Some(value.clone()),
        Template::Expression(_) | Template::List(_) | Template::Map(_) => None,
    });
    match constants.collect::<Option<List>>() {
        Some(list) => Template::Constant(Value::list(list)),
        None => Template::List(items),
    }
}

fn map_template(entries: Vec<(Arc<str>, Template)>) -> Template {
    let constants = entries.iter().map(|(key, item)| match item {
        Template::Constant(value) => Some((Arc::clone(key), value.clone())),
        Template::Expression(_) | Template::List(_) | Template::Map(_) => None,
    });
    match constants.collect::<Option<Map>>() {
        Some(map) => Template::Constant(Value::map(map)),
        None => Template::Map(entries),
    }
}

/// Finds the names that `for` and `catch` give to variables, each with its `$`, so that expressions can refer
/// to them for as long as the document is read.
pub(crate) fn variable_names(node: &Node) -> Vec<String> {
    let mut names = BTreeSet::new();
    collect_names(node, &mut names);
    names.into_iter().map(|name| format!("${name}")).collect()
}

fn collect_names<'n>(node: &'n Node, names: &mut BTreeSet<&'n str>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| collect_names(item, names)),
        Kind::Map(entries) => {
            for entry in entries {
                let given: &[(&str, &'static str)] = match entry.key.as_str() {
                    "for" => &[("each", "item"), ("at", "index")],
                    "catch" => &[("as", "error")],
                    _ => &[],
                };
                for (key, default) in given {
                    let name = member(&entry.value, key).unwrap_or(default);
                    if is_identifier(name) {
                        names.insert(name);
                    }
                }
                collect_names(&entry.value, names);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
    }
}

fn member<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|entry| entry.key == key)?.value.as_text()
}

fn is_identifier(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
