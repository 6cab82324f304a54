//! Callers that wait for an execution's end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use terms::ExecutionId;
use tokio::sync::Notify;

/// Most executions that are waited for at once; further callers are answered at once.
const WAITED_MAX: usize = 10_000;

/// Who waits for which execution.
#[derive(Debug, Default)]
pub(crate) struct Endings(Mutex<HashMap<ExecutionId, Weak<Notify>>>);

impl Endings {
    /// What is notified when `execution` ends. Ask before looking whether it has.
    pub(crate) fn of(&self, execution: ExecutionId) -> Option<Arc<Notify>> {
        let mut waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = waited.get(&execution).and_then(Weak::upgrade) {
            return Some(there);
        }
        if waited.len() >= WAITED_MAX {
            waited.retain(|_, waiting| waiting.strong_count() > 0);
        }
        if waited.len() >= WAITED_MAX {
            return None;
        }
        let notify = Arc::new(Notify::new());
        waited.insert(execution, Arc::downgrade(&notify));
        Some(notify)
    }

    /// Tells everybody who waits that `execution` has ended.
    pub(crate) fn ended(&self, execution: ExecutionId) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&execution);
        if let Some(notify) = waiting.and_then(|weak| weak.upgrade()) {
            notify.notify_waiters();
        }
    }
}
