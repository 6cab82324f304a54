//! Compiled workflows, so that starting an execution parses nothing twice.

use crate::refusal::{Answer, Refusal};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use store::{Reader, Workflow as Row};
use terms::{HostPattern, Permit, WorkflowId};

/// Most versions that are kept compiled; beyond, all are forgotten and compiled again when used.
const KEPT_MAX: usize = 1_024;

/// One version, ready to go into a plan.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The document as JSON, the same bytes each time.
    pub(crate) document: Box<RawValue>,
    /// The hosts that it calls: what its plans allow.
    pub(crate) egress: Vec<HostPattern>,
}

/// The compiled versions.
#[derive(Debug, Default)]
pub(crate) struct WorkflowCache(RwLock<BTreeMap<(WorkflowId, u32), Arc<Compiled>>>);

impl WorkflowCache {
    /// One version of `row`, compiled.
    pub(crate) async fn compiled(
        &self,
        reader: &mut Reader,
        permit: &Permit,
        row: &Row,
        version: u32,
    ) -> Answer<Arc<Compiled>> {
        let key = (row.id, version);
        if let Some(there) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(there));
        }
        let stored = reader.workflows().document(permit, row.id, version).await?;
        let parsed = workflow::Workflow::parse(&stored.document)
            .map_err(|_| Refusal::internal("a stored workflow does not parse"))?;
        let compiled = Arc::new(compile(&parsed)?);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn compile(parsed: &workflow::Workflow) -> Answer<Compiled> {
    let document = serde_json::value::to_raw_value(parsed.document()).map_err(Refusal::internal)?;
    let egress = parsed.hosts().iter().map(|host| host.parse()).collect::<Result<_, _>>();
    Ok(Compiled { document, egress: egress.map_err(Refusal::internal)? })
}
