//! Reads JSON text (RFC 8259) into a tree with lines and columns.
//!
//! JSON is nearly YAML, but not in its escapes and blanks, so it has a reader of its own. What this reader can't
//! read, the YAML reader judges.

use crate::node::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node};
use serde_json::Number;

/// Reads `text`, or nothing if it is not JSON within the bounds. Duplicate keys are kept for the caller to refuse.
pub(crate) fn read(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text, line: 1, column: 1, nodes: 0 };
    reader.blanks();
    let node = reader.value(0)?;
    reader.blanks();
    reader.rest.is_empty().then_some(node)
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
    nodes: usize,
}

impl<'t> Reader<'t> {
    /// Takes `len` bytes off.
    fn take(&mut self, len: usize) -> Option<&'t str> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        for c in taken.chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        Some(taken)
    }

    fn blanks(&mut self) {
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        let len = self.rest.bytes().take_while(blank).count();
        self.take(len);
    }

    /// Takes `mark` and the blanks after it, if it comes next.
    fn mark(&mut self, mark: char) -> Option<()> {
        if !self.rest.starts_with(mark) {
            return None;
        }
        self.take(1)?;
        self.blanks();
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        self.nodes = self.nodes.saturating_add(1);
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return None;
        }
        let (line, column) = (self.line, self.column);
        let kind = match self.rest.bytes().next()? {
            b'{' => self.map(depth)?,
            b'[' => self.list(depth)?,
            b'"' => Kind::Text(self.text()?),
            b't' => self.word("true", Kind::Bool(true))?,
            b'f' => self.word("false", Kind::Bool(false))?,
            b'n' => self.word("null", Kind::Null)?,
            _ => self.number()?,
        };
        self.blanks();
        Some(Node { kind, line, column })
    }

    fn map(&mut self, depth: usize) -> Option<Kind> {
        self.mark('{')?;
        let mut entries = Vec::new();
        if self.mark('}').is_some() {
            return Some(Kind::Map(entries));
        }
        loop {
            let (line, column) = (self.line, self.column);
            let key = self.text()?;
            self.blanks();
            self.mark(':')?;
            let value = self.value(depth.saturating_add(1))?;
            entries.push(Entry { key, line, column, value });
            if self.mark(',').is_none() {
                self.mark('}')?;
                return Some(Kind::Map(entries));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Kind> {
        self.mark('[')?;
        let mut items = Vec::new();
        if self.mark(']').is_some() {
            return Some(Kind::List(items));
        }
        loop {
            items.push(self.value(depth.saturating_add(1))?);
            if self.mark(',').is_none() {
                self.mark(']')?;
                return Some(Kind::List(items));
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        let inner = self.rest.strip_prefix('"')?;
        let mut escaped = false;
        let end = inner.bytes().position(|b| {
            let ends = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        })?;
        let text = self.take(end.checked_add(2)?)?;
        serde_json::from_str(text).ok()
    }

    fn word(&mut self, word: &str, kind: Kind) -> Option<Kind> {
        if !self.rest.starts_with(word) {
            return None;
        }
        self.take(word.len())?;
        Some(kind)
    }

    fn number(&mut self) -> Option<Kind> {
        let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let len = self.rest.bytes().take_while(part).count();
        let number: Number = serde_json::from_str(self.take(len)?).ok()?;
        Some(Kind::Number(number))
    }
}
