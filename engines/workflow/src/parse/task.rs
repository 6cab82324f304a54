//! Reads blocks and tasks.

use super::fields::{self, Fields};
use super::reader::{Reader, Use};
use crate::fault::Place;
use crate::model::{Action, BlockId, Case, Loop, Task, Then};
use std::sync::Arc;

/// What makes a task one of its kind. `for` also has a `do`, and so comes before it.
const KINDS: [&str; 8] = ["for", "try", "do", "set", "switch", "call", "raise", "wait"];
/// Kinds of the language that this platform does not run.
const OTHER_KINDS: [&str; 4] = ["emit", "fork", "listen", "run"];
/// Names that mean something else after `then`.
const DIRECTIVES: [&str; 3] = ["continue", "exit", "end"];

impl<'n> Reader<'n> {
    /// Reads a list of named tasks.
    pub(crate) fn block(&mut self, place: &Place<'n>) -> Option<BlockId> {
        let named = fields::named_items(place, "a list of tasks", &mut self.faults)?;
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let mut ids = Vec::new();
        for (name, place) in &named {
            if DIRECTIVES.contains(name) {
                self.faults.add("name", place, format!("`{name}` is a directive and can't name a task"));
            }
            if let Some(task) = self.task(name, place, &names) {
                ids.push(self.add_task(task));
            }
        }
        Some(self.add_block(ids))
    }

    fn task(&mut self, name: &str, place: &Place<'n>, siblings: &[&str]) -> Option<Task> {
        let mut map = Fields::open(place, "a task", &mut self.faults)?;
        if let Some(kind) = OTHER_KINDS.iter().find(|kind| map.has(kind)) {
            map.finish("a task", &[kind], &mut self.faults);
            return None;
        }
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| map.has(kind)).collect();
        let kind = match kinds.as_slice() {
            [kind] | ["for", kind @ "do"] if *kind != "do" || !map.has("for") => *kind,
            ["for", "do"] => "for",
            [] => {
                self.faults.add("task", place, format!("a task has one of: {}", KINDS.join(", ")));
                return None;
            }
            several => {
                self.faults.add("task", place, format!("a task is one thing, not {}", several.join(" and ")));
                return None;
            }
        };
        let when = map.take("if").and_then(|place| self.expression(&place, Use::Within));
        let input_from =
            map.take("input").and_then(|place| self.wrapped_shape(&place, "from", Use::TaskInput));
        let output_as = map.take("output").and_then(|place| self.wrapped_shape(&place, "as", Use::Output));
        let export_as = map.take("export").and_then(|place| self.wrapped_shape(&place, "as", Use::Output));
        let timeout_ms = map.take("timeout").and_then(|place| self.timeout(&place));
        let then = map.take("then").and_then(|place| self.then(&place, siblings)).unwrap_or(Then::Continue);
        map.take("metadata");
        let action = self.action(kind, &mut map, siblings);
        map.finish(&format!("a `{kind}` task"), &[], &mut self.faults);
        Some(Task {
            name: Arc::from(name),
            pointer: place.pointer.clone(),
            when,
            input_from,
            output_as,
            export_as,
            timeout_ms,
            then,
            action: action?,
        })
    }

    /// `{from: ..}` or `{as: ..}`.
    pub(crate) fn wrapped_shape(
        &mut self,
        place: &Place<'n>,
        key: &str,
        usage: Use,
    ) -> Option<crate::model::Template> {
        let what = if key == "from" { "`input`" } else { "`output` or `export`" };
        let mut map = Fields::open(place, what, &mut self.faults)?;
        let shape = map.take(key);
        map.finish(what, &["schema"], &mut self.faults);
        self.shape(&shape?, usage)
    }

    fn then(&mut self, place: &Place<'n>, siblings: &[&str]) -> Option<Then> {
        let name = fields::text(place, "`then`", &mut self.faults)?;
        match name {
            "continue" => return Some(Then::Continue),
            "exit" => return Some(Then::Exit),
            "end" => return Some(Then::End),
            _ => {}
        }
        let found = siblings.iter().position(|sibling| *sibling == name);
        if found.is_none() {
            let message = format!(
                "`{name}` is not a task of this list; `then` takes continue, exit, end or such a name"
            );
            self.faults.add("reference", place, message);
        }
        found.map(Then::Task)
    }

    fn action(&mut self, kind: &str, map: &mut Fields<'n>, siblings: &[&str]) -> Option<Action> {
        let body = map.take(kind)?;
        match kind {
            "do" => self.block(&body).map(Action::Do),
            "set" => self.set(&body),
            "switch" => self.switch(&body, siblings),
            "for" => self.repetition(&body, map),
            "try" => self.attempt(&body, map),
            "call" => self.call(&body, map),
            "raise" => self.raise(&body),
            _ => self.duration(&body).map(|ms| Action::Wait { ms }),
        }
    }

    fn set(&mut self, place: &Place<'n>) -> Option<Action> {
        let whole = place.node.as_text().and_then(super::reader::unwrapped);
        if whole.is_none() {
            fields::entries(place, "`set`", &mut self.faults)?;
        }
        self.template(place, Use::Within).map(Action::Set)
    }

    fn switch(&mut self, place: &Place<'n>, siblings: &[&str]) -> Option<Action> {
        let mut cases = Vec::new();
        for (_, place) in fields::named_items(place, "`switch`", &mut self.faults)? {
            let mut map = Fields::open(&place, "a case", &mut self.faults)?;
            let when = map.take("when");
            let then = map.require("then", "a case", &mut self.faults);
            map.finish("a case", &[], &mut self.faults);
            // A condition that doesn't compile is a fault, never a case that always holds.
            let when = when.map(|place| self.expression(&place, Use::Within));
            if let Some(then) = then.and_then(|place| self.then(&place, siblings)) {
                cases.push(Case { when: when.flatten(), then });
            }
        }
        Some(Action::Switch(cases))
    }

    fn repetition(&mut self, place: &Place<'n>, task: &mut Fields<'n>) -> Option<Action> {
        let mut map = Fields::open(place, "`for`", &mut self.faults)?;
        let (each, at) = (map.take("each"), map.take("at"));
        let items = map.require("in", "`for`", &mut self.faults);
        map.finish("`for`", &[], &mut self.faults);
        let go_on = task.take("while");
        let body = task.require("do", "a `for` task", &mut self.faults);
        let (each, at) = (self.slot(each.as_ref(), "item"), self.slot(at.as_ref(), "index"));
        let items = items.and_then(|place| self.expression(&place, Use::Within));
        let (each, at) = (each?, at?);
        if each == at {
            self.faults.add("name", place, "`each` and `at` need different names");
        }
        let (go_on, body) = self.with(&[each, at], |reader| {
            let go_on = go_on.map(|place| reader.expression(&place, Use::Within));
            (go_on, body.and_then(|place| reader.block(&place)))
        });
        Some(Action::For(Loop { each, at, items: items?, go_on: go_on.flatten(), body: body? }))
    }
}
