//! The control plane's plan keys: fetched over TLS, one fetch at a time, and not used when too old.

use crate::uplink::Uplink;
use host::clock::Clock;
use notary::{CachePolicy, KeyCache, Lookup, PlanKey};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terms::{KeyId, Timestamp};
use tokio::sync::watch;

/// How long a plan waits for a fetch: below the time in which the control plane expects an answer.
const FETCH_WAIT: Duration = Duration::from_secs(10);

/// The keys; clones share them.
#[derive(Clone)]
pub struct PlanKeys(Arc<Inner>);

struct Inner {
    cache: Mutex<KeyCache>,
    uplink: Arc<dyn Uplink>,
    clock: Clock,
    /// Counts fetches that ended.
    fetches: watch::Sender<u64>,
}

/// Says why there is no key for a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// A set that was fetched just now does not have it.
    #[error("the key `{0}` is not among the control plane's keys")]
    Unknown(KeyId),
    /// The set cannot be fetched, and what there is may not be used for this plan.
    #[error("the control plane's keys cannot be fetched; the next try is at {until}")]
    Unavailable {
        /// When the next try is.
        until: Timestamp,
    },
}

impl PlanKeys {
    /// No keys yet; they come from `uplink`.
    #[must_use]
    pub fn new(uplink: Arc<dyn Uplink>, clock: Clock) -> Self {
        let cache = Mutex::new(KeyCache::new(CachePolicy::default()));
        Self(Arc::new(Inner { cache, uplink, clock, fetches: watch::Sender::new(0) }))
    }

    /// The key with this id, fetched if need be.
    ///
    /// # Errors
    /// [`KeyRefusal`]; nothing is verified without a key.
    pub async fn find(&self, kid: &KeyId) -> Result<Arc<PlanKey>, KeyRefusal> {
        // Subscribed before the look, so that no fetch ends unseen between the two.
        let mut fetches = self.0.fetches.subscribe();
        loop {
            let now = self.0.clock.now();
            let begins = {
                let mut cache = self.cache();
                match cache.lookup(kid, now) {
                    Lookup::Key(key) => return Ok(key),
                    Lookup::Unknown => return Err(KeyRefusal::Unknown(kid.clone())),
                    Lookup::CoolingDown { until } | Lookup::Closed { until } => {
                        return Err(KeyRefusal::Unavailable { until });
                    }
                    Lookup::Refetch => cache.begin_fetch(now),
                }
            };
            if begins {
                self.fetch();
            }
            if tokio::time::timeout(FETCH_WAIT, fetches.changed()).await.is_err() {
                return Err(KeyRefusal::Unavailable { until: now.plus_ms(1_000) });
            }
        }
    }

    /// Fetches the set now, unless a fetch is under way or was just made: so that the first plan need not wait.
    pub fn warm(&self) {
        let begins = self.cache().begin_fetch(self.0.clock.now());
        if begins {
            self.fetch();
        }
    }

    /// Fetches in a task of its own: whoever asked may go away, those who wait stay.
    fn fetch(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            let fetched = this.0.uplink.plan_keys().await;
            let now = this.0.clock.now();
            match fetched {
                Ok(set) => {
                    for error in this.cache().fetched(&set, now) {
                        tracing::warn!(%error, "a key of the control plane's set is not used");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the control plane's keys were not fetched");
                    this.cache().failed(now);
                }
            }
            this.0.fetches.send_modify(|count| *count += 1);
        });
    }

    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl core::fmt::Debug for PlanKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PlanKeys").field(&*self.cache()).finish()
    }
}
