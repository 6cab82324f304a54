//! How fast callers may ask: token buckets by address before we know them, by actor after.

use crate::config::Rates as Config;
use serve::rate::{RateLimiter, RetryAfterMs};
use std::net::IpAddr;
use terms::{Action, Actor, Timestamp};

/// Most addresses or callers that are told apart; beyond, the oldest are forgotten and counted.
const KEYS_MAX: usize = 65_536;

/// The buckets.
pub(crate) struct Rates {
    public: RateLimiter<IpAddr>,
    refused: RateLimiter<IpAddr>,
    callers: RateLimiter<Actor>,
    enrolling: RateLimiter<IpAddr>,
    names: RateLimiter<Actor>,
}

impl Rates {
    /// Fills the buckets.
    pub(crate) fn new(config: &Config) -> Self {
        let bucket = |per_second: u32| (per_second, per_second.saturating_mul(2), KEYS_MAX);
        let make = |(rate, burst, keys)| RateLimiter::new(rate, burst, keys);
        let (rate, burst, keys) = bucket(config.per_caller);
        Self {
            public: make(bucket(config.per_address)),
            refused: make(bucket(config.refused_credentials)),
            callers: RateLimiter::new(rate, burst, keys),
            enrolling: make(bucket(config.refused_credentials)),
            names: {
                let (rate, burst, keys) = bucket(config.names);
                RateLimiter::new(rate, burst, keys)
            },
        }
    }

    /// A request to a public route.
    pub(crate) fn public(&self, address: IpAddr, now: Timestamp) -> Result<(), RetryAfterMs> {
        self.public.check(&address, now)
    }

    /// A credential of `address` was refused; too many in a row are not even told why.
    pub(crate) fn credential_refused(&self, address: IpAddr, now: Timestamp) -> Result<(), RetryAfterMs> {
        self.refused.check(&address, now)
    }

    /// A request of a known caller; those who enrol are told apart by address, and names have buckets of their own.
    pub(crate) fn caller(
        &self,
        actor: Actor,
        action: Action,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), RetryAfterMs> {
        match actor {
            Actor::Enrolling => self.enrolling.check(&address, now),
            Actor::DataPlane(_) if action == Action::ResolveName => self.names.check(&actor, now),
            Actor::Operator(_)
            | Actor::DataPlane(_)
            | Actor::Sidecar(..)
            | Actor::Node(_)
            | Actor::System => self.callers.check(&actor, now),
        }
    }
}
