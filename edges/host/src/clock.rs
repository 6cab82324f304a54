//! What time it is. Code that decides takes a `Timestamp`; code that acts asks a [`Clock`] once and passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use terms::Timestamp;

/// A source of the current time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

/// The system's time, now.
#[must_use]
pub fn now() -> Timestamp {
    let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, i64::wrapping_neg),
    };
    Timestamp::from_unix_ms(ms)
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `at` until it is moved; for tests and simulations.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.unix_ms()))))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => now(),
            Source::Fixed(ms) => Timestamp::from_unix_ms(ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock by `ms` milliseconds (negative: back). The system's clock does not move.
    pub fn advance(&self, ms: i64) {
        match &self.0 {
            Source::System => {}
            Source::Fixed(at) => {
                at.fetch_add(ms, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_fixed_clock_move_together() {
        let clock = Clock::fixed(Timestamp::from_unix_ms(1_000));
        let other = clock.clone();
        clock.advance(500);
        other.advance(-1_000);
        assert_eq!(clock.now(), Timestamp::from_unix_ms(500));
    }

    #[test]
    fn the_system_clock_ignores_advance() {
        let clock = Clock::system();
        clock.advance(i64::MAX / 2);
        assert!(clock.now() < Timestamp::from_unix_s(32_503_680_000), "the year 3000");
    }
}
