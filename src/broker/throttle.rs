//! Slows down whoever guesses passwords, without locking the owner out: failures are counted by name and source together,
//! and by source alone; a name alone is never shut.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures that cost nothing.
const FREE: u32 = 5;
/// Failures of one source over all names that cost nothing.
const FREE_OF_SOURCE: u32 = 20;
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without a failure a count is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// How many counts are held; beyond it, the oldest go.
const MOST: usize = 20_000;

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    last: Duration,
}

/// Counts of failed sign-ins, in memory.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<(String, String), Count>>);

impl Throttle {
    /// How long this name must wait from this source; zero when it may try. Times are monotonic.
    pub(super) fn wait(&self, name: &str, source: &str, now: Duration) -> Duration {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |key: &(String, String), free: u32| {
            counts.get(key).filter(|count| now.saturating_sub(count.last) < FORGET).map_or(Duration::ZERO, |count| {
                let beyond = count.failures.saturating_sub(free);
                if beyond == 0 {
                    return Duration::ZERO;
                }
                let delay = Duration::from_secs(1 << beyond.saturating_sub(1).min(6)).min(LONGEST);
                (count.last + delay).saturating_sub(now)
            })
        };
        wait(&(name.to_lowercase(), source.to_owned()), FREE)
            .max(wait(&(String::new(), source.to_owned()), FREE_OF_SOURCE))
    }

    /// Counts a failure.
    pub(super) fn failed(&self, name: &str, source: &str, now: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST {
            counts.retain(|_, count| now.saturating_sub(count.last) < FORGET);
        }
        if counts.len() >= MOST {
            let mut ages: Vec<Duration> = counts.values().map(|count| count.last).collect();
            let (_, middle, _) = ages.select_nth_unstable(MOST / 2);
            let middle = *middle;
            counts.retain(|_, count| count.last > middle);
        }
        let name: String = name.to_lowercase().chars().take(64).collect();
        for key in [(name, source.to_owned()), (String::new(), source.to_owned())] {
            let count = counts.entry(key).or_insert(Count { failures: 0, last: now });
            if now.saturating_sub(count.last) >= FORGET {
                count.failures = 0;
            }
            count.failures = count.failures.saturating_add(1);
            count.last = now;
        }
    }

    /// Forgets the failures of this name from this source: its owner signed in.
    pub(super) fn succeeded(&self, name: &str, source: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(name.to_lowercase(), source.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_slows_down_and_the_owner_elsewhere_does_not_wait() {
        let throttle = Throttle::default();
        let mut now = Duration::from_secs(1_000);
        for _ in 0..FREE {
            assert_eq!(throttle.wait("Ada", "10.0.0.1", now), Duration::ZERO);
            throttle.failed("Ada", "10.0.0.1", now);
        }
        throttle.failed("ada", "10.0.0.1", now);
        assert_eq!(throttle.wait("ADA", "10.0.0.1", now), Duration::from_secs(1));
        for _ in 0..10 {
            throttle.failed("ada", "10.0.0.1", now);
        }
        assert_eq!(throttle.wait("ada", "10.0.0.1", now), LONGEST);
        assert_eq!(throttle.wait("ada", "10.0.0.2", now), Duration::ZERO);
        assert_eq!(throttle.wait("grace", "10.0.0.1", now), Duration::ZERO);
        for n in 0..FREE_OF_SOURCE {
            throttle.failed(&format!("user{n}"), "10.0.0.1", now);
        }
        assert!(throttle.wait("grace", "10.0.0.1", now) > Duration::ZERO);
        now += FORGET;
        assert_eq!(throttle.wait("ada", "10.0.0.1", now), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..30_000_u64 {
            throttle.failed(&format!("user{n}"), &format!("source{n}"), Duration::from_millis(n));
        }
        assert!(throttle.0.lock().unwrap().len() <= MOST + 2);
    }
}
