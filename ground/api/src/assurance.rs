//! Controls and what the last checks found.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use terms::{Digest, Timestamp};

/// Runs checks.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunAssurance {
    /// Only this control; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

/// What checks found, in the order of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Findings {
    /// One for each control.
    pub findings: Vec<FindingView>,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FindingView {
    /// The control's id, such as `PLAN-1`.
    pub control: String,
    /// The group it belongs to.
    pub group: String,
    /// What is promised.
    pub promise: String,
    /// `pass`, `fail`, `not_enforced`, `not_run` or `not_built`. Only `pass` is green.
    pub outcome: String,
    /// When it was checked; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// What was seen.
    pub facts: BTreeMap<String, String>,
    /// SHA-256 over the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_digest: Option<Digest>,
}
