//! Slows down whoever guesses passwords, without locking the owner out: failures are counted by name and source together,
//! and by source alone; a name alone is never shut.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
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
    /// How long this name must wait from this source; zero when it may try. An attempt counts as failed until
    /// [`Throttle::succeeded`] takes it back: else a thousand attempts sent at once would all be let through before the
    /// first of them has failed. Times are monotonic.
    pub(super) fn attempt(&self, name: &str, source: &str, now: Duration) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [pair, alone] = keys(name, source);
        let wait = |key: &(String, String), free: u32| {
            counts.get(key).filter(|count| now.saturating_sub(count.last) < FORGET).map_or(Duration::ZERO, |count| {
                let Some(beyond) = count.failures.checked_sub(free + 1) else { return Duration::ZERO };
                let delay = Duration::from_secs(1 << beyond.min(6)).min(LONGEST);
                (count.last + delay).saturating_sub(now)
            })
        };
        let wait = wait(&pair, FREE).max(wait(&alone, FREE_OF_SOURCE));
        if !wait.is_zero() {
            return wait;
        }
        make_room(&mut counts, now);
        for key in [pair, alone] {
            let count = counts.entry(key).or_insert(Count { failures: 0, last: now });
            if now.saturating_sub(count.last) >= FORGET {
                count.failures = 0;
            }
            count.failures = count.failures.saturating_add(1);
            count.last = now;
        }
        Duration::ZERO
    }

    /// Forgets the failures of this name from this source, whose owner signed in, and does not hold this attempt against
    /// the source.
    pub(super) fn succeeded(&self, name: &str, source: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [pair, alone] = keys(name, source);
        counts.remove(&pair);
        if let Some(count) = counts.get_mut(&alone) {
            count.failures = count.failures.saturating_sub(1);
        }
    }
}

/// What an attempt is counted under: name and source, and the source alone.
fn keys(name: &str, source: &str) -> [(String, String); 2] {
    // No account has a longer name; an IPv6 source is its /64, which one host has for itself.
    let name = name.to_lowercase().chars().take(64).collect();
    let source = match source.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(v6)) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).to_string(),
        Ok(v4) => v4.to_string(),
        Err(_) => source.to_owned(),
    };
    [(name, source.clone()), (String::new(), source)]
}

fn make_room(counts: &mut HashMap<(String, String), Count>, now: Duration) {
    if counts.len() >= MOST {
        counts.retain(|_, count| now.saturating_sub(count.last) < FORGET);
    }
    if counts.len() >= MOST {
        let mut ages: Vec<Duration> = counts.values().map(|count| count.last).collect();
        let (_, middle, _) = ages.select_nth_unstable(MOST / 2);
        let middle = *middle;
        counts.retain(|_, count| count.last > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_slows_down_and_the_owner_elsewhere_does_not_wait() {
        let throttle = Throttle::default();
        let mut now = Duration::from_secs(1_000);
        for _ in 0..=FREE {
            assert_eq!(throttle.attempt("Ada", "10.0.0.1", now), Duration::ZERO);
        }
        assert_eq!(throttle.attempt("ADA", "10.0.0.1", now), Duration::from_secs(1));
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let wait = throttle.attempt("ada", "10.0.0.1", now);
            longest = longest.max(wait);
            now += wait;
        }
        assert_eq!(longest, LONGEST);
        assert!(!throttle.attempt("ada", "10.0.0.1", now).is_zero());
        assert_eq!(throttle.attempt("ada", "10.0.0.2", now), Duration::ZERO);
        assert_eq!(throttle.attempt("grace", "10.0.0.1", now), Duration::ZERO);
        now += FORGET;
        assert_eq!(throttle.attempt("ada", "10.0.0.1", now), Duration::ZERO);
    }

    #[test]
    fn one_source_that_tries_many_names_waits_too_and_an_owner_who_signs_in_often_does_not() {
        let throttle = Throttle::default();
        let now = Duration::from_secs(1_000);
        let refused = (0..100).filter(|n| !throttle.attempt(&format!("u{n}"), "10.0.0.1", now).is_zero()).count();
        assert!(refused >= 70, "{refused}");
        for _ in 0..200 {
            assert_eq!(throttle.attempt("ada", "10.0.0.2", now), Duration::ZERO);
            throttle.succeeded("Ada", "10.0.0.2");
        }
        let of_one_host = (0..100_u16).filter(|n| !throttle.attempt("ada", &format!("2001:db8::{n:x}"), now).is_zero());
        assert!(of_one_host.count() >= 90);
    }

    #[test]
    fn attempts_that_come_at_once_are_not_let_through_together() {
        let throttle = Throttle::default();
        let now = Duration::from_secs(1_000);
        let let_through = (0..1_000).filter(|_| throttle.attempt("ada", "10.0.0.1", now).is_zero()).count();
        assert_eq!(let_through, 6);
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..30_000_u64 {
            throttle.attempt(&format!("user{n}"), &format!("source{n}"), Duration::from_millis(n));
        }
        assert!(throttle.0.lock().unwrap().len() <= MOST + 2);
    }
}
