//! Reads what has to do with failing: `raise`, `try` and `catch`, retries.

use super::fields::{self, Fields};
use super::reader::{Part, Reader, Use, unwrapped};
use crate::fault::Place;
use crate::jq::Value;
use crate::model::{Action, Backoff, Catch, ErrorTemplate, Raise, Retry};
use crate::node::Kind;

/// What an error consists of (RFC 9457).
const ERROR_KEYS: [&str; 5] = ["type", "status", "instance", "title", "detail"];
/// How often a task is tried at most, whatever the policy says.
const ATTEMPTS_MAX: u64 = 1_000;

impl<'n> Reader<'n> {
    pub(crate) fn raise(&mut self, place: &Place<'n>) -> Option<Action> {
        let mut map = Fields::open(place, "`raise`", &mut self.faults)?;
        let error = map.require("error", "`raise`", &mut self.faults);
        map.finish("`raise`", &[], &mut self.faults);
        let error = error?;
        let raise = match error.node.as_text() {
            None => Raise::Fields(self.error(&error)?),
            Some(text) if unwrapped(text).is_some() => Raise::Whole(self.expression(&error, Use::Within)?),
            Some(name) => {
                let Some(named) = self.named_errors.get(name).cloned() else {
                    self.faults.add("reference", &error, format!("`{name}` is not under `use.errors`"));
                    return None;
                };
                self.used_names.insert((Part::Error, name));
                Raise::Fields(self.error(&named)?)
            }
        };
        Some(Action::Raise(Box::new(raise)))
    }

    /// An error with its parts; expressions are read where it is raised.
    pub(crate) fn error(&mut self, place: &Place<'n>) -> Option<ErrorTemplate> {
        let mut map = Fields::open(place, "an error", &mut self.faults)?;
        let kind = map.require("type", "an error", &mut self.faults);
        let status = map.require("status", "an error", &mut self.faults);
        let (instance, title, detail) = (map.take("instance"), map.take("title"), map.take("detail"));
        map.finish("an error", &[], &mut self.faults);
        if let Some(place) = &status
            && let Kind::Number(n) = &place.node.kind
            && !n.as_u64().is_some_and(|n| (100..=599).contains(&n))
        {
            self.faults.add("status", place, "a status is a whole number from 100 to 599");
        }
        let mut part = |place: Option<Place<'n>>| place.map(|place| self.template(&place, Use::Within));
        let (kind, status) = (part(kind), part(status));
        let (instance, title, detail) = (part(instance), part(title), part(detail));
        Some(ErrorTemplate {
            kind: kind??,
            status: status??,
            instance: instance.flatten(),
            title: title.flatten(),
            detail: detail.flatten(),
        })
    }

    pub(crate) fn attempt(&mut self, body: &Place<'n>, task: &mut Fields<'n>) -> Option<Action> {
        let body = self.block(body);
        let catch = task.require("catch", "a `try` task", &mut self.faults)?;
        let mut map = Fields::open(&catch, "`catch`", &mut self.faults)?;
        let (errors, name) = (map.take("errors"), map.take("as"));
        let (when, except_when) = (map.take("when"), map.take("exceptWhen"));
        let (retry, handler) = (map.take("retry"), map.take("do"));
        map.finish("`catch`", &[], &mut self.faults);
        let filter = errors.map_or_else(|| Some(Vec::new()), |place| self.filter(&place));
        let variable = self.slot(name.as_ref(), "error")?;
        let (when, except_when, retry, handler) = self.with(&[variable], |reader| {
            let when = when.map(|place| reader.expression(&place, Use::Within));
            let except_when = except_when.map(|place| reader.expression(&place, Use::Within));
            let retry = retry.map(|place| reader.retry(&place));
            (when, except_when, retry, handler.map(|place| reader.block(&place)))
        });
        let catch = Catch {
            filter: filter?,
            variable,
            when: when.flatten(),
            except_when: except_when.flatten(),
            retry: retry.flatten(),
            body: handler.flatten(),
        };
        Some(Action::Try { body: body?, catch: Box::new(catch) })
    }

    fn filter(&mut self, place: &Place<'n>) -> Option<Vec<(&'static str, Value)>> {
        let mut map = Fields::open(place, "`errors`", &mut self.faults)?;
        let with = map.take("with");
        map.finish("`errors`", &[], &mut self.faults);
        let Some(with) = with else { return Some(Vec::new()) };
        let mut with = Fields::open(&with, "`with`", &mut self.faults)?;
        let mut filter = Vec::new();
        for key in ERROR_KEYS {
            let Some(place) = with.take(key) else { continue };
            if key == "status" {
                fields::count(&place, "a status", &mut self.faults)?;
            } else {
                fields::text(&place, "what an error is compared with", &mut self.faults)?;
            }
            filter.push((key, Value::from(&place.node.to_json())));
        }
        with.finish("an error filter", &[], &mut self.faults);
        Some(filter)
    }

    /// A retry policy: inline, or the name of one under `use.retries`.
    fn retry(&mut self, place: &Place<'n>) -> Option<Retry> {
        let Some(name) = place.node.as_text() else { return self.retry_policy(place) };
        let Some(named) = self.named_retries.get(name).cloned() else {
            self.faults.add("reference", place, format!("`{name}` is not under `use.retries`"));
            return None;
        };
        self.used_names.insert((Part::Retry, name));
        self.retry_policy(&named)
    }

    pub(crate) fn retry_policy(&mut self, place: &Place<'n>) -> Option<Retry> {
        let mut map = Fields::open(place, "a retry policy", &mut self.faults)?;
        let (when, except_when) = (map.take("when"), map.take("exceptWhen"));
        let (limit, backoff) = (map.take("limit"), map.take("backoff"));
        let (delay, jitter) = (map.take("delay"), map.take("jitter"));
        map.finish("a retry policy", &[], &mut self.faults);
        let mut retry = Retry {
            when: when.and_then(|place| self.expression(&place, Use::Within)),
            except_when: except_when.and_then(|place| self.expression(&place, Use::Within)),
            delay_ms: delay.and_then(|place| self.duration(&place)).unwrap_or(0),
            backoff: backoff.and_then(|place| self.backoff(&place)).unwrap_or(Backoff::Constant),
            jitter_ms: jitter.and_then(|place| self.jitter(&place)),
            attempts: ATTEMPTS_MAX,
            attempt_ms: None,
            total_ms: None,
        };
        if let Some(limit) = limit {
            self.retry_limit(&limit, &mut retry);
        }
        Some(retry)
    }

    fn retry_limit(&mut self, place: &Place<'n>, retry: &mut Retry) -> Option<()> {
        let mut map = Fields::open(place, "a retry limit", &mut self.faults)?;
        let (attempt, total) = (map.take("attempt"), map.take("duration"));
        map.finish("a retry limit", &[], &mut self.faults);
        retry.total_ms = total.and_then(|place| self.duration(&place));
        let attempt = attempt?;
        let mut map = Fields::open(&attempt, "an attempt limit", &mut self.faults)?;
        let (count, each) = (map.take("count"), map.take("duration"));
        map.finish("an attempt limit", &[], &mut self.faults);
        if let Some(place) = count {
            let count = fields::count(&place, "`count`", &mut self.faults)?;
            retry.attempts = count.min(ATTEMPTS_MAX);
        }
        retry.attempt_ms = each.and_then(|place| self.duration(&place));
        Some(())
    }

    fn backoff(&mut self, place: &Place<'n>) -> Option<Backoff> {
        let kinds = [
            ("constant", Backoff::Constant),
            ("linear", Backoff::Linear),
            ("exponential", Backoff::Exponential),
        ];
        let mut map = Fields::open(place, "`backoff`", &mut self.faults)?;
        let mut found = None;
        for (name, kind) in kinds {
            let Some(place) = map.take(name) else { continue };
            let empty = match &place.node.kind {
                Kind::Null => true,
                Kind::Map(entries) => entries.is_empty(),
                Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::List(_) => false,
            };
            if !empty {
                self.faults.add(
                    "unsupported",
                    &place,
                    format!("`{name}` takes no settings; write `{name}: {{}}`"),
                );
            }
            found = Some(kind);
        }
        map.finish("`backoff`", &[], &mut self.faults);
        if found.is_none() {
            self.faults.add("missing", place, "`backoff` is one of: constant, linear, exponential");
        }
        found
    }

    fn jitter(&mut self, place: &Place<'n>) -> Option<(u64, u64)> {
        let mut map = Fields::open(place, "`jitter`", &mut self.faults)?;
        let from = map.require("from", "`jitter`", &mut self.faults);
        let upto = map.require("to", "`jitter`", &mut self.faults);
        map.finish("`jitter`", &[], &mut self.faults);
        let (from, upto) = (self.duration(&from?)?, self.duration(&upto?)?);
        if from > upto {
            self.faults.add("duration", place, "`from` is not longer than `to`");
        }
        Some((from, upto))
    }
}
