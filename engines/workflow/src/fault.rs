//! What is wrong with a document, where, and what to do about it.

use crate::node::Node;

/// How many faults are reported at once; the rest show after the first are mended.
pub const FAULTS_MAX: usize = 32;

/// One thing that is wrong with a workflow document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(*.line, *.column, .pointer))]
pub struct Fault {
    /// A stable code, such as `unknown-key`.
    pub code: &'static str,
    /// The cause and the next step, for people.
    pub message: String,
    /// The place in the document as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The line, from 1; 0 if the document has no text.
    pub line: usize,
    /// The column in characters, from 1; 0 if the document has no text.
    pub column: usize,
}

fn place(line: usize, column: usize, pointer: &str) -> String {
    match (line, pointer) {
        (0, "") => String::new(),
        (0, pointer) => format!("{pointer}: "),
        _ => format!("line {line}, column {column}: "),
    }
}

/// The faults found so far, in the order of finding.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.add_at(code, &place.pointer, place.node.line, place.node.column, message);
    }

    pub(crate) fn add_at(
        &mut self,
        code: &'static str,
        pointer: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault { code, message: message.into(), pointer: pointer.to_owned(), line, column });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All faults, from the top of the document to its end.
    pub(crate) fn into_vec(mut self) -> Vec<Fault> {
        self.0.sort_by_key(|fault| (fault.line, fault.column));
        self.0
    }
}

/// A node and its pointer.
#[derive(Debug, Clone)]
pub(crate) struct Place<'n> {
    pub(crate) node: &'n Node,
    pub(crate) pointer: String,
}

impl<'n> Place<'n> {
    pub(crate) fn root(node: &'n Node) -> Self {
        Self { node, pointer: String::new() }
    }

    pub(crate) fn child(&self, key: &str, node: &'n Node) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        Self { node, pointer: format!("{}/{key}", self.pointer) }
    }
}
