//! Compiled workflows, kept by the digest of their document: the same workflow runs many times.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use terms::Digest;
use workflow::{Checks, Workflow};

/// Compiled workflows that are kept: a tenant has few, and each takes some tens of kilobytes.
const KEPT_MAX: usize = 256;

/// The cache.
#[derive(Debug)]
pub(super) struct Programs {
    checks: Checks,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    programs: HashMap<Digest, (Workflow, u64)>,
    /// Counts uses, so that the one unused for longest is known.
    uses: u64,
}

impl Programs {
    pub(super) fn new(checks: Checks) -> Self {
        Self { checks, kept: Mutex::default() }
    }

    /// The workflow of a plan's document; none if it cannot be compiled.
    pub(super) fn compile(&self, document: &str) -> Option<Workflow> {
        let digest = Digest::sha256(document.as_bytes());
        if let Some(program) = self.find(digest) {
            return Some(program);
        }
        let value: serde_json::Value = serde_json::from_str(document).ok()?;
        let program = Workflow::from_json_with(&value, self.checks).ok()?;
        self.keep(digest, program.clone());
        Some(program)
    }

    fn find(&self, digest: Digest) -> Option<Workflow> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { programs, uses } = &mut *kept;
        *uses += 1;
        programs.get_mut(&digest).map(|(program, used)| {
            *used = *uses;
            program.clone()
        })
    }

    fn keep(&self, digest: Digest, program: Workflow) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = kept.uses;
        if kept.programs.len() >= KEPT_MAX {
            let unused = kept.programs.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest);
            unused.map(|digest| kept.programs.remove(&digest));
        }
        kept.programs.insert(digest, (program, uses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_used() {
        let programs = Programs::new(Checks::default());
        let document = |at: usize| {
            format!(
                r#"{{"document":{{"dsl":"1.0.0","namespace":"n","name":"w{at}","version":"1.0.0"}},"do":[{{"a":{{"set":{{"x":{at}}}}}}}]}}"#
            )
        };
        for at in 0..KEPT_MAX + 20 {
            assert!(programs.compile(&document(at)).is_some());
            assert!(programs.compile(&document(0)).is_some());
        }
        let kept = programs.kept.lock().unwrap();
        assert_eq!(kept.programs.len(), KEPT_MAX);
        assert!(kept.programs.contains_key(&Digest::sha256(document(0).as_bytes())));
    }

    #[test]
    fn a_document_that_is_no_workflow_is_not_compiled() {
        let programs = Programs::new(Checks::default());
        for document in ["", "1", "{}", r#"{"document":{}}"#] {
            assert!(programs.compile(document).is_none(), "{document}");
        }
    }
}
