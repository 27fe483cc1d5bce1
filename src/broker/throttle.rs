//! Slows down whoever guesses passwords, without locking the owner out: failures are counted by name and source together, by
//! source alone, and by name alone. A name that is guessed at from many sources is a little slow for those that never signed in
//! to it; where its owner did, it stays open. Whoever has a session waits for their own failures only, whatever others guess.
//! Names that nobody has are treated alike. Each process counts for itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::app::KeyHash;

/// Failures that cost nothing.
const FREE: u32 = 5;
/// Failures of one source over all names that cost nothing.
const FREE_OF_SOURCE: u32 = 20;
/// Failures of one name from all sources that cost nothing.
const FREE_OF_NAME: u32 = 100;
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait for the sake of the name alone: its owner, at a source that is not known, tries among those who guess.
const LONGEST_OF_NAME: Duration = Duration::from_secs(4);
/// After so long without a failure a count is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// How many counts are held; beyond it, the oldest go.
const MOST: usize = 20_000;

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    last: Duration,
}

/// What is counted by itself.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// A name from a source.
    Pair(String, String),
    Source(String),
    Name(String),
    /// A session: its owner was let in before.
    Session([u8; 32]),
}

/// Counts of failed sign-ins, in memory.
#[derive(Default)]
pub(super) struct Throttle(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    failures: HashMap<Key, Count>,
    /// Names and the sources from which their owners signed in, with when they last did.
    known: HashMap<Key, Duration>,
}

impl Throttle {
    /// How long this name must wait from this source; zero when it may try. An attempt counts as failed until
    /// [`Throttle::succeeded`] takes it back: else a thousand attempts sent at once would all be let through before the
    /// first of them has failed. Times are monotonic.
    pub(super) fn attempt(&self, name: &str, source: &str, now: Duration) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(name, source);
        let [pair, of_source, of_name] = &keys;
        let mut longest = counts.wait(pair, FREE, now).max(counts.wait(of_source, FREE_OF_SOURCE, now));
        if !counts.known.contains_key(pair) {
            longest = longest.max(counts.wait(of_name, FREE_OF_NAME, now));
        }
        if longest.is_zero() {
            counts.count(keys, now);
        }
        longest
    }

    /// The same for whoever has this session and shows its account's password again: they wait for their own failures only.
    pub(super) fn attempt_in(&self, session: KeyHash, now: Duration) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::Session(*session.as_bytes());
        let wait = counts.wait(&key, FREE, now);
        if wait.is_zero() {
            counts.count([key], now);
        }
        wait
    }

    /// Takes an attempt with this session back; where it was made the owner is known from now on.
    pub(super) fn succeeded_in(&self, session: KeyHash, name: &str, source: &str, now: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.failures.remove(&Key::Session(*session.as_bytes()));
        let [pair, ..] = keys(name, source);
        counts.know(pair, now);
    }

    /// Forgets the failures of this name from this source, whose owner signed in, and holds this attempt against neither
    /// the source nor the name.
    pub(super) fn succeeded(&self, name: &str, source: &str, now: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [pair, of_source, of_name] = keys(name, source);
        counts.failures.remove(&pair);
        for key in [of_source, of_name] {
            if let Some(count) = counts.failures.get_mut(&key) {
                count.failures = count.failures.saturating_sub(1);
            }
        }
        counts.know(pair, now);
    }
}

impl Counts {
    fn wait(&self, key: &Key, free: u32, now: Duration) -> Duration {
        let count = self.failures.get(key).filter(|count| now.saturating_sub(count.last) < FORGET);
        let Some((count, beyond)) = count.and_then(|count| Some((count, count.failures.checked_sub(free + 1)?))) else {
            return Duration::ZERO;
        };
        let longest = if matches!(key, Key::Name(_)) { LONGEST_OF_NAME } else { LONGEST };
        (count.last + Duration::from_secs(1 << beyond.min(6)).min(longest)).saturating_sub(now)
    }

    fn count(&mut self, keys: impl IntoIterator<Item = Key>, now: Duration) {
        make_room(&mut self.failures, |count| count.last, now.saturating_sub(FORGET));
        for key in keys {
            let count = self.failures.entry(key).or_insert(Count { failures: 0, last: now });
            if now.saturating_sub(count.last) >= FORGET {
                count.failures = 0;
            }
            count.failures = count.failures.saturating_add(1);
            count.last = now;
        }
    }

    fn know(&mut self, pair: Key, now: Duration) {
        make_room(&mut self.known, |last| *last, Duration::ZERO);
        self.known.insert(pair, now);
    }
}

/// What an attempt is counted under: name and source, the source alone, the name alone.
fn keys(name: &str, source: &str) -> [Key; 3] {
    // No account has a longer name; an IPv6 source is its /64, which one host has for itself.
    let name: String = name.to_lowercase().chars().take(64).collect();
    let source = match source.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(v6)) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).to_string(),
        Ok(v4) => v4.to_string(),
        Err(_) => source.to_owned(),
    };
    [Key::Pair(name.clone(), source.clone()), Key::Source(source), Key::Name(name)]
}

/// Where there is no room, what is from before `old` goes, and if that is not enough, the older half.
fn make_room<T>(kept: &mut HashMap<Key, T>, last: impl Fn(&T) -> Duration, old: Duration) {
    if kept.len() >= MOST {
        kept.retain(|_, one| last(one) > old);
    }
    if kept.len() >= MOST {
        let mut ages: Vec<Duration> = kept.values().map(&last).collect();
        let (_, middle, _) = ages.select_nth_unstable(MOST / 2);
        let middle = *middle;
        kept.retain(|_, one| last(one) > middle);
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
            throttle.succeeded("Ada", "10.0.0.2", now);
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
    fn a_name_guessed_at_from_everywhere_is_slow_but_where_its_owner_signed_in_and_nobody_learns_whether_it_is_one() {
        for name in ["ada", "nobody"] {
            let throttle = Throttle::default();
            let now = Duration::from_secs(1_000);
            assert_eq!(throttle.attempt("ada", "192.0.2.1", now), Duration::ZERO);
            throttle.succeeded("ada", "192.0.2.1", now);
            let tried = |n: u32| throttle.attempt(name, &format!("10.0.{}.{}", n / 200, n % 200), now);
            let let_through = (0..10_000).filter(|n| tried(*n).is_zero()).count();
            assert_eq!(let_through, 101, "{name}");
            let wait = throttle.attempt(name, "198.51.100.7", now);
            assert!(!wait.is_zero() && wait <= LONGEST_OF_NAME, "{wait:?}");
            assert_eq!(
                throttle.attempt("ada", "192.0.2.1", now),
                Duration::ZERO,
                "the owner gets in where they did before"
            );
            assert_eq!(throttle.attempt("grace", "198.51.100.7", now), Duration::ZERO);
        }
    }

    #[test]
    fn an_owner_at_a_new_source_gets_in_while_a_few_sources_guess_without_a_pause() {
        let throttle = Throttle::default();
        let (mut now, mut refused) = (Duration::from_secs(1_000), Duration::ZERO);
        let guess = |now| {
            for n in 0..6 {
                throttle.attempt("ada", &format!("10.0.0.{n}"), now);
            }
        };
        for _ in 0..3_600 {
            now += Duration::from_secs(1);
            guess(now);
        }
        // The guessers come first in each second; the owner tries again when they are told to.
        loop {
            let wait = throttle.attempt("ada", "198.51.100.7", now);
            if wait.is_zero() {
                break;
            }
            for _ in 0..wait.as_secs().max(1) {
                now += Duration::from_secs(1);
                guess(now);
            }
            refused += wait;
            assert!(refused < LONGEST, "shut out for {refused:?}");
        }
    }

    #[test]
    fn a_session_waits_for_its_own_failures_and_for_no_others() {
        let throttle = Throttle::default();
        let now = Duration::from_secs(1_000);
        let (one, other) = (KeyHash::of(b"one"), KeyHash::of(b"other"));
        for n in 0..10_000 {
            throttle.attempt("ada", &format!("10.0.{}.{}", n / 200, n % 200), now);
            throttle.attempt("ada", "192.0.2.1", now);
        }
        let let_through = (0..1_000).filter(|_| throttle.attempt_in(one, now).is_zero()).count();
        assert_eq!(let_through, 6, "whoever took a session away guesses no faster");
        assert_eq!(throttle.attempt_in(other, now), Duration::ZERO);
        throttle.succeeded_in(other, "ada", "203.0.113.9", now);
        assert_eq!(throttle.attempt_in(other, now), Duration::ZERO);
        assert_eq!(throttle.attempt("ada", "203.0.113.9", now), Duration::ZERO, "the owner is known there now");
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..30_000_u64 {
            throttle.attempt(&format!("user{n}"), &format!("source{n}"), Duration::from_millis(n));
        }
        assert!(throttle.0.lock().unwrap().failures.len() <= MOST + 3);
    }
}
