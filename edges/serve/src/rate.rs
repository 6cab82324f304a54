//! Rate limits per client: a token bucket for each key in a table that cannot grow.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use terms::Timestamp;

/// How long a refused client should wait, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {0} ms")]
pub struct RetryAfterMs(pub u64);

/// Token buckets by key (the generic cell rate algorithm: one number per bucket, the time at which it will be
/// full again).
///
/// The table holds two generations. A key that is used moves to the young one; when that is full, the old one
/// is forgotten, which gives idle keys a full bucket again: never a refusal to a client that did nothing.
#[derive(Debug)]
pub struct RateLimiter<K> {
    interval_us: i64,
    depth_us: i64,
    generation: usize,
    tables: Mutex<Tables<K>>,
}

#[derive(Debug)]
struct Tables<K> {
    young: HashMap<K, i64>,
    old: HashMap<K, i64>,
    evicted: u64,
}

impl<K: Hash + Eq> RateLimiter<K> {
    /// Allows each key `per_second` requests per second and `burst` at once, for at most `max_keys` keys.
    /// Zero is read as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, max_keys: usize) -> Self {
        let interval_us = 1_000_000 / i64::from(per_second.max(1));
        let interval_us = interval_us.max(1);
        let tables = Tables { young: HashMap::new(), old: HashMap::new(), evicted: 0 };
        Self {
            interval_us,
            depth_us: interval_us.saturating_mul(i64::from(burst.max(1))),
            generation: (max_keys / 2).max(1),
            tables: Mutex::new(tables),
        }
    }

    /// Takes one request out of `key`'s bucket.
    ///
    /// # Errors
    /// [`RetryAfterMs`] when the bucket is empty; a refused request costs nothing.
    pub fn check<Q>(&self, key: &Q, now: Timestamp) -> Result<(), RetryAfterMs>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now_us = now.unix_ms().saturating_mul(1_000);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = tables.take(key).unwrap_or(now_us);
        // A clock set back would leave a bucket empty for as long as the step; an empty bucket is enough.
        let full_at = full_at.clamp(now_us, now_us.saturating_add(self.depth_us));
        let next = full_at.saturating_add(self.interval_us);
        let over_us = next.saturating_sub(now_us).saturating_sub(self.depth_us);
        let allowed = over_us <= 0;
        tables.put(key.to_owned(), if allowed { next } else { full_at }, self.generation);
        if allowed { Ok(()) } else { Err(RetryAfterMs(over_us.unsigned_abs().div_ceil(1_000))) }
    }

    /// How many keys were forgotten to make room.
    pub fn evicted(&self) -> u64 {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).evicted
    }
}

impl<K: Hash + Eq> Tables<K> {
    fn take<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<i64>
    where
        K: Borrow<Q>,
    {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    fn put(&mut self, key: K, full_at: i64, generation: usize) {
        if self.young.len() >= generation {
            let young = core::mem::take(&mut self.young);
            let forgotten = core::mem::replace(&mut self.old, young).len();
            self.evicted = self.evicted.saturating_add(u64::try_from(forgotten).unwrap_or(u64::MAX));
        }
        self.young.insert(key, full_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_burst_passes_and_the_next_request_is_told_how_long_to_wait() {
        let limiter = RateLimiter::<String>::new(10, 3, 100);
        for _ in 0..3 {
            assert_eq!(limiter.check("a", at(0)), Ok(()));
        }
        assert_eq!(limiter.check("a", at(0)), Err(RetryAfterMs(100)));
        assert_eq!(limiter.check("a", at(99)), Err(RetryAfterMs(1)));
        assert_eq!(limiter.check("a", at(100)), Ok(()));
        assert_eq!(limiter.check("b", at(0)), Ok(()), "each key has its own bucket");
    }

    #[test]
    fn a_clock_set_back_costs_a_client_no_more_than_its_bucket() {
        let limiter = RateLimiter::<IpAddr>::new(1, 1, 100);
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(limiter.check(&client, at(3_600_000)), Ok(()));
        assert_eq!(limiter.check(&client, at(0)), Err(RetryAfterMs(1_000)));
        assert_eq!(limiter.check(&client, at(1_000)), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_does_not_grow_the_table_and_does_not_free_a_busy_key() {
        let limiter = RateLimiter::<u32>::new(1, 1, 10);
        assert_eq!(limiter.check(&u32::MAX, at(0)), Ok(()));
        for key in 0..1_000 {
            assert_eq!(limiter.check(&key, at(0)), Ok(()));
            assert!(limiter.check(&u32::MAX, at(0)).is_err());
        }
        let tables = limiter.tables.lock().unwrap();
        assert!(tables.young.len() + tables.old.len() <= 10);
        assert!(tables.evicted > 900);
    }

    proptest! {
        #[test]
        fn no_key_ever_gets_more_than_its_burst_and_its_rate(
            per_second in 1_u32..1_000,
            burst in 1_u32..50,
            steps in proptest::collection::vec(0_i64..500, 1..200),
        ) {
            let limiter = RateLimiter::<u8>::new(per_second, burst, 10);
            let (mut now, mut passed) = (0, 0_i64);
            for step in steps {
                now += step;
                passed += i64::from(limiter.check(&0, at(now)).is_ok());
                // Whole microseconds between requests make the real rate a little higher than asked.
                let interval_us = 1_000_000 / i64::from(per_second);
                prop_assert!(passed <= i64::from(burst) + now * 1_000 / interval_us);
            }
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }
}
