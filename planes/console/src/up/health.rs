//! When a process that died is started again, and when `up` gives up. Pure.

use terms::Timestamp;

/// Deaths further apart than this have nothing to do with each other.
const WINDOW_MS: i64 = 60_000;

/// How many deaths within [`WINDOW_MS`] are too many: what dies three times in a minute dies again.
const DEATHS_MAX: usize = 3;

/// The deaths of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Deaths(Vec<(&'static str, Timestamp)>);

impl Deaths {
    /// Takes down a death, and says whether the process may be started again.
    pub(crate) fn may_start_again(&mut self, name: &'static str, now: Timestamp) -> bool {
        self.0.retain(|(_, at)| now.ms_since(*at) < WINDOW_MS);
        self.0.push((name, now));
        self.0.iter().filter(|(died, _)| *died == name).count() < DEATHS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }

    #[test]
    fn three_deaths_in_a_minute_are_too_many() {
        let mut deaths = Deaths::default();
        assert!(deaths.may_start_again("a", at(0)));
        assert!(deaths.may_start_again("a", at(10)));
        assert!(deaths.may_start_again("b", at(11)), "each counts for itself");
        assert!(!deaths.may_start_again("a", at(20)));
    }

    #[test]
    fn old_deaths_are_forgotten() {
        let mut deaths = Deaths::default();
        for minute in 0..10 {
            assert!(deaths.may_start_again("a", at(minute * 40)));
        }
    }
}
