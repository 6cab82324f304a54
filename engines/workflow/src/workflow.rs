//! A workflow: parsed, checked, compiled.

use crate::fault::Fault;
use crate::model::Definition;
use crate::node::Node;
use crate::parse::{self, Parsed};
use crate::yaml;
use std::sync::Arc;

/// A parsed and checked workflow. Clones share it.
#[derive(Debug, Clone)]
pub struct Workflow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parsed: Parsed,
    document: serde_json::Value,
}

/// Which checks a document must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checks {
    /// Lets endpoints have another port than 443: for an operator's own tests on loopback.
    pub any_port: bool,
}

impl Workflow {
    /// Reads a YAML 1.2 or JSON document.
    ///
    /// # Errors
    /// What is wrong with it, at most [`crate::FAULTS_MAX`] faults in the order of lines.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<Fault>> {
        Self::parse_with(document, Checks::default())
    }

    /// As [`Workflow::parse`], with other checks.
    ///
    /// # Errors
    /// As [`Workflow::parse`].
    pub fn parse_with(document: &[u8], checks: Checks) -> Result<Self, Vec<Fault>> {
        Self::from_node(&yaml::read(document)?, checks)
    }

    /// Takes the document of a plan over; the checks are the same.
    ///
    /// # Errors
    /// As [`Workflow::parse`]; the faults have no lines.
    pub fn from_json(document: &serde_json::Value) -> Result<Self, Vec<Fault>> {
        Self::from_json_with(document, Checks::default())
    }

    /// As [`Workflow::from_json`], with other checks.
    ///
    /// # Errors
    /// As [`Workflow::from_json`].
    pub fn from_json_with(document: &serde_json::Value, checks: Checks) -> Result<Self, Vec<Fault>> {
        Self::from_node(&Node::from_json(document)?, checks)
    }

    fn from_node(node: &Node, checks: Checks) -> Result<Self, Vec<Fault>> {
        let parsed = parse::parse(node, checks.any_port)?;
        Ok(Self(Arc::new(Inner { parsed, document: node.to_json() })))
    }

    /// The workflow's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.parsed.title.name
    }

    /// The workflow's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.parsed.title.namespace
    }

    /// The workflow's semantic version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.parsed.title.version
    }

    /// The document as JSON, as it goes into a plan.
    #[must_use]
    pub fn document(&self) -> &serde_json::Value {
        &self.0.document
    }

    /// Every host that the workflow may call, sorted, each once.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.0.parsed.hosts.clone()
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.0.parsed.definition
    }
}
