//! What a trial of networks makes outside of itself, and takes away whatever becomes of it.

use host::network::{Namespace, NamespaceName, Nft, Tag};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use trials::skipped;

/// What every name of a trial's namespace begins with; its process id follows.
const PREFIX: &str = "palisade-trial-";

/// The namespaces and the keeper of one trial.
#[derive(Default)]
pub(super) struct Guard {
    names: Vec<NamespaceName>,
    keeper: Option<u32>,
}

impl Guard {
    /// A guard; or none, and a loud word about it, where no trial of networks can be had.
    pub(super) fn new(trial: &str) -> Option<Self> {
        if !host::process::is_root() {
            skipped(trial, "this needs root");
            return None;
        }
        sweep();
        let mut guard = Self::default();
        let usable = guard.namespace().enter_blocking(|inside| Nft::open(inside).map(|_| ()));
        let missing = match usable {
            Ok(Ok(())) => return Some(guard),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        skipped(trial, &missing);
        None
    }

    /// A namespace with nothing in it.
    pub(super) fn namespace(&mut self) -> Namespace {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name: NamespaceName = format!("{PREFIX}{}-{count}", std::process::id()).parse().unwrap();
        self.names.push(name.clone());
        Namespace::create(&name, &tag()).unwrap()
    }

    /// Sees to the end of a keeper, which would outlive the trial.
    pub(super) fn ends(&mut self, keeper: u32) {
        self.keeper = Some(keeper);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A failure here must not hide the trial's own.
        if let Some(keeper) = self.keeper {
            let _ = trials::signal(keeper, "KILL");
        }
        for name in &self.names {
            let _ = Namespace::remove(name);
        }
    }
}

/// What marks everything here.
pub(super) fn tag() -> Tag {
    "palisade restricted=true tenant=trial".parse().unwrap()
}

/// Removes the names that killed runs left behind.
fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for owned in Namespace::list().unwrap_or_default() {
            let pid = owned.name.as_ref().strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = Namespace::remove(&owned.name);
            }
        }
    });
}
