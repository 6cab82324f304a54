//! What names stand for, kept for as long as their records say, in a table that cannot grow.

use crate::host_name::HostName;
use crate::outcome::Found;
use std::collections::BTreeMap;
use terms::Timestamp;

/// The cache. It holds two generations: what is put goes into the young one; when that is full, the old one is
/// forgotten.
#[derive(Debug)]
pub struct Cache {
    generation: usize,
    young: BTreeMap<HostName, Kept>,
    old: BTreeMap<HostName, Kept>,
}

#[derive(Debug)]
struct Kept {
    found: Found,
    since: Timestamp,
}

impl Cache {
    /// An empty cache for at most `max` names.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        let generation = if max < 2 { 1 } else { max / 2 };
        Self { generation, young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// What `host` stands for, unless it is not known or too old; what is left of its time stands in it.
    #[must_use]
    pub fn find(&self, host: &HostName, now: Timestamp) -> Option<Found> {
        let kept = self.young.get(host).or_else(|| self.old.get(host))?;
        // A clock that was set back says nothing of how old it is.
        let age_s = u32::try_from(now.ms_since(kept.since)).ok()? / 1_000;
        (age_s < kept.found.ttl_s()).then(|| kept.found.aged(age_s))
    }

    /// Keeps what `host` stands for, unless it may not be kept.
    pub fn keep(&mut self, host: HostName, found: Found, now: Timestamp) {
        if found.ttl_s() == 0 {
            return;
        }
        if self.young.len() >= self.generation && !self.young.contains_key(&host) {
            self.old = core::mem::take(&mut self.young);
        }
        self.old.remove(&host);
        self.young.insert(host, Kept { found, since: now });
    }
}
