//! The data plane's copy of the control plane's plan keys: when to use it, when to fetch, when to refuse.

use crate::{KeyError, KeySet, PlanKey};
use std::sync::Arc;
use terms::{KeyId, Timestamp};
use wire::jwks::Jwks;

/// How long a fetched set is used. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// Without asking again.
    pub max_age_ms: i64,
    /// Past that, when the control plane cannot be asked (RFC 5861, stale-if-error).
    pub stale_if_error_ms: i64,
    /// From the end of one fetch to the start of the next; a fetch that itself takes longer counts as lost.
    pub cool_down_ms: i64,
}

/// What to do about a key id.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Verify with this key.
    Key(Arc<PlanKey>),
    /// Fetch if [`KeyCache::begin_fetch`] says so, else wait for the fetch under way; then look again.
    Refetch,
    /// The set may be out of date, and the last fetch failed.
    CoolingDown {
        /// When a fetch may be tried again.
        until: Timestamp,
    },
    /// A set that was fetched just now does not have the key.
    Unknown,
    /// There is no set, or it is too old, and the last fetch failed: nothing is verified.
    Closed {
        /// When a fetch may be tried again.
        until: Timestamp,
    },
}

/// The copy. Whoever holds it fetches, and reports what came of it.
#[derive(Debug, Clone)]
pub struct KeyCache {
    policy: CachePolicy,
    keys: KeySet,
    fetched_at: Option<Timestamp>,
    attempt: Option<Attempt>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Timestamp,
    result: AttemptResult,
}

#[derive(Debug, Clone, Copy)]
enum AttemptResult {
    UnderWay,
    Fetched,
    Failed,
}

enum Freshness {
    Fresh,
    Stale,
    Unusable,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self { max_age_ms: 300_000, stale_if_error_ms: 3_600_000, cool_down_ms: 10_000 }
    }
}

impl KeyCache {
    /// An empty cache.
    #[must_use]
    pub fn new(policy: CachePolicy) -> Self {
        Self { policy, keys: KeySet::default(), fetched_at: None, attempt: None }
    }

    /// What to do about the key with this id.
    ///
    /// A key id comes from an unverified token, so anybody may send any: however many unknown ones come,
    /// they cause at most one fetch per cool-down.
    #[must_use]
    pub fn lookup(&self, kid: &KeyId, now: Timestamp) -> Lookup {
        match (self.freshness(now), self.keys.find(kid), self.recent_attempt(now)) {
            (Freshness::Fresh, Some(key), _) => Lookup::Key(key),
            (_, _, None | Some((AttemptResult::UnderWay, _))) => Lookup::Refetch,
            (Freshness::Unusable, _, Some((_, until))) => Lookup::Closed { until },
            (Freshness::Stale, Some(key), Some(_)) => Lookup::Key(key),
            (_, None, Some((AttemptResult::Fetched, _))) => Lookup::Unknown,
            (_, None, Some((AttemptResult::Failed, until))) => Lookup::CoolingDown { until },
        }
    }

    /// Whether the caller fetches the set now: true for one caller, and once per cool-down.
    pub fn begin_fetch(&mut self, now: Timestamp) -> bool {
        if self.recent_attempt(now).is_some() {
            return false;
        }
        self.attempt = Some(Attempt { at: now, result: AttemptResult::UnderWay });
        true
    }

    /// Takes a fetched set in place of the last one, and says what is wrong with keys that are not used.
    pub fn fetched(&mut self, jwks: &Jwks, now: Timestamp) -> Vec<KeyError> {
        let (keys, refused) = KeySet::from_jwks(jwks);
        self.keys = keys;
        self.fetched_at = Some(now);
        self.attempt = Some(Attempt { at: now, result: AttemptResult::Fetched });
        refused
    }

    /// Notes that the fetch failed. The last set is used for a while yet, and the control plane left in peace
    /// for one cool-down.
    pub fn failed(&mut self, now: Timestamp) {
        self.attempt = Some(Attempt { at: now, result: AttemptResult::Failed });
    }

    /// The last attempt and the end of its cool-down, while that lasts. A clock that went back ends it.
    fn recent_attempt(&self, now: Timestamp) -> Option<(AttemptResult, Timestamp)> {
        let attempt = self.attempt?;
        let waited_ms = now.ms_since(attempt.at);
        let recent = (0..self.policy.cool_down_ms).contains(&waited_ms);
        recent.then(|| (attempt.result, attempt.at.plus_ms(self.policy.cool_down_ms)))
    }

    /// A set from the future (the clock went back) is never fresh, and too old as far ahead as behind.
    fn freshness(&self, now: Timestamp) -> Freshness {
        let Some(fetched_at) = self.fetched_at else {
            return Freshness::Unusable;
        };
        let CachePolicy { max_age_ms, stale_if_error_ms, .. } = self.policy;
        let age_ms = now.ms_since(fetched_at);
        if (0..max_age_ms).contains(&age_ms) {
            Freshness::Fresh
        } else if age_ms.saturating_abs() < max_age_ms.saturating_add(stale_if_error_ms) {
            Freshness::Stale
        } else {
            Freshness::Unusable
        }
    }
}
