//! Regular expressions. The engine is linear in pattern and text; both are bounded, and paid for.

use super::meter;
use super::natives::{Entry, Outcome, unless_stopped};
use super::text::text;
use super::value::{List, Value, length};
use jaq_core::Error;
use jaq_core::native::bome;
use regex_bites::{Captures, Regex, RegexBuilder};

/// The longest text that a pattern is matched against, in bytes: iterating over matches is quadratic at worst.
const TEXT_MAX: usize = 64 * 1024;
/// The size of the largest compiled pattern, in bytes: `((a{99}){99}){99}` is short but huge.
const COMPILED_MAX: usize = 32 * 1024;
/// How deep a pattern may nest; its compiler recurses.
const NESTING_MAX: u32 = 32;

pub(crate) fn natives() -> Vec<Entry> {
    vec![("_matches", 2, |mut cv| {
        let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
        bome(matches(&cv.1, &pattern, &flags))
    })]
}

/// All matches (or the first, without flag `g`), as objects.
fn matches(whole: &Value, pattern: &Value, flags: &Value) -> Outcome {
    let (whole, pattern, flags) = (text(whole)?, text(pattern)?, flags.as_text().unwrap_or(""));
    if whole.len() > TEXT_MAX {
        return Err(Error::str(format_args!("the text is longer than {TEXT_MAX} bytes")));
    }
    let cost = length(whole.len()).saturating_mul(2).saturating_add(length(pattern.len()).saturating_mul(16));
    meter::spend(cost);
    let regex = compile(pattern, flags)?;
    let mut found = List::default();
    let mut position = Position::default();
    for captures in regex.captures_iter(whole) {
        let Some(all) = captures.get(0) else { break };
        let rest = length(whole.len().saturating_sub(all.start()));
        // Finding a match may read to the end of the text.
        if !meter::spend(rest / 8 + 4) {
            break;
        }
        if flags.contains('n') && all.is_empty() {
            continue;
        }
        if !found.push(describe(whole, &regex, &captures, &mut position)) || !flags.contains('g') {
            break;
        }
    }
    unless_stopped(Value::list(found))
}

fn compile(pattern: &str, flags: &str) -> Result<Regex, Error<Value>> {
    if let Some(unknown) = flags.chars().find(|c| !"gnimslxp".contains(*c)) {
        return Err(Error::str(format_args!("`{unknown}` is not a flag of a regular expression")));
    }
    let has = |flag| flags.contains(flag);
    RegexBuilder::new(pattern)
        .case_insensitive(has('i'))
        .multi_line(has('m') || has('p'))
        .dot_matches_new_line(has('s') || has('p'))
        .swap_greed(has('l'))
        .ignore_whitespace(has('x'))
        .size_limit(COMPILED_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| Error::str(format_args!("not a regular expression: {error}")))
}

/// Turns ascending byte offsets into character offsets, reading the text once.
#[derive(Default)]
struct Position {
    bytes: usize,
    chars: usize,
}

impl Position {
    fn of(&mut self, whole: &str, bytes: usize) -> usize {
        if let Some(between) = whole.get(self.bytes..bytes) {
            self.chars = self.chars.saturating_add(between.chars().count());
            self.bytes = bytes;
            return self.chars;
        }
        whole.get(..bytes).map_or(0, |head| head.chars().count())
    }
}

fn describe(whole: &str, regex: &Regex, captures: &Captures<'_>, position: &mut Position) -> Value {
    let mut groups = List::default();
    let mut matched = (Value::Int(0), Value::text(""));
    for (i, (group, name)) in captures.iter().zip(regex.capture_names()).enumerate() {
        let (offset, string) = match group {
            Some(group) => (Value::count(position.of(whole, group.start())), Value::text(group.as_str())),
            None => (Value::Int(-1), Value::Null),
        };
        if i == 0 {
            matched = (offset, string);
            continue;
        }
        let length = string.as_text().map_or(0, |text| text.chars().count());
        groups.push(Value::object([
            ("offset", offset),
            ("length", Value::count(length)),
            ("string", string),
            ("name", name.map_or(Value::Null, Value::text)),
        ]));
    }
    let length = matched.1.as_text().map_or(0, |text| text.chars().count());
    Value::object([
        ("offset", matched.0),
        ("length", Value::count(length)),
        ("string", matched.1),
        ("captures", Value::list(groups)),
    ])
}
