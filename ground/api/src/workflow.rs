//! Workflows and their versions.

use serde::{Deserialize, Serialize};
use terms::{Digest, Name, Timestamp, WorkflowId};

/// Most bytes of a workflow document.
pub const DOCUMENT_MAX: usize = 1024 * 1024;

/// Most versions of one workflow.
pub const VERSIONS_MAX: u32 = 10_000;

/// Applies a workflow: a new one, or a new version of one.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyWorkflow {
    /// The document, an Open Workflow DSL 1.0 document in YAML 1.2 or JSON.
    pub document: String,
}

/// What applying did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AppliedWorkflow {
    /// The workflow after it.
    pub workflow: WorkflowView,
    /// Whether this made a new version; the same document again does not.
    pub changed: bool,
}

/// A workflow as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WorkflowView {
    /// The id.
    pub id: WorkflowId,
    /// The name, from the document.
    pub name: Name,
    /// Whether it may be run.
    pub state: WorkflowState,
    /// The latest version, from 1.
    pub version: u32,
    /// SHA-256 of the latest version's document, as applied.
    pub digest: Digest,
    /// Hosts that it calls.
    pub hosts: Vec<String>,
    /// When it was first applied.
    pub created_at: Timestamp,
    /// When the latest version was applied, or it was disabled.
    pub updated_at: Timestamp,
    /// The document; only where one workflow is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// Whether a workflow may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// It may.
    Enabled,
    /// It may not.
    Disabled,
}

impl WorkflowState {
    /// The state's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}
