//! Sign-in throttling: per account and source, per source, and per account, with waits that grow and end.
//!
//! Nobody is locked out: a wait is at most a minute, and failures from one source make another one wait only when there
//! are very many of them. Counts are kept in memory, in a bounded number, per process.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ambient::Clock;

/// Failures that cost nothing, for one account from one source.
const FREE_PAIR: u32 = 5;
/// The same for one source, whatever account it tries.
const FREE_SOURCE: u32 = 30;
/// The same for one account, wherever it is tried from.
const FREE_ACCOUNT: u32 = 60;
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// After so long without a failure, all is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// So many counts at once, each way; beyond that the oldest are forgotten.
const MAX_COUNTS: usize = 8_192;

/// Counts failed sign-ins. Clones share the counts.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    clock: Clock,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    pairs: HashMap<(String, IpAddr), Count>,
    sources: HashMap<IpAddr, Count>,
    accounts: HashMap<String, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failures: u32,
    last: Duration,
}

impl Count {
    /// How long to wait from now: nothing while failures are free, then doubling.
    fn wait(self, free: u32, now: Duration) -> Duration {
        let Some(over) = self.failures.checked_sub(free) else { return Duration::ZERO };
        let wait = Duration::from_secs(1 << over.min(6)).min(MAX_WAIT);
        (self.last + wait).saturating_sub(now)
    }
}

impl Throttle {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, counts: Arc::default() }
    }

    /// How many whole seconds an attempt must wait; none when it may go on. An attempt counts as failed until
    /// [`Throttle::succeeded`] says otherwise, so that many at once cannot slip through before the first has failed.
    pub(crate) fn attempt(&self, account: &str, source: IpAddr) -> Option<u64> {
        let (now, account, source) = (self.clock.elapsed(), folded(account), network(source));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (account.clone(), source);
        let wait = [
            counts.pairs.get(&pair).map(|count| count.wait(FREE_PAIR, now)),
            counts.sources.get(&source).map(|count| count.wait(FREE_SOURCE, now)),
            counts.accounts.get(&account).map(|count| count.wait(FREE_ACCOUNT, now)),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default();
        if !wait.is_zero() {
            return Some(wait.as_secs() + 1);
        }
        count(&mut counts.pairs, pair, now);
        count(&mut counts.sources, source, now);
        count(&mut counts.accounts, account, now);
        None
    }

    /// The attempt was a success: this account from this source starts anew, and the attempt is not held against the others.
    pub(crate) fn succeeded(&self, account: &str, source: IpAddr) {
        let (account, source) = (folded(account), network(source));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.sources.get_mut(&source) {
            count.failures = count.failures.saturating_sub(1);
        }
        if let Some(count) = counts.accounts.get_mut(&account) {
            count.failures = count.failures.saturating_sub(1);
        }
        counts.pairs.remove(&(account, source));
    }
}

fn folded(account: &str) -> String {
    account.trim().chars().take(64).collect::<String>().to_lowercase()
}

/// A source is an IPv4 address or an IPv6 /64, which one host has for itself.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn count<K: Hash + Eq + Clone>(counts: &mut HashMap<K, Count>, key: K, now: Duration) {
    if counts.len() >= MAX_COUNTS && !counts.contains_key(&key) {
        counts.retain(|_, count| now.saturating_sub(count.last) < FORGET);
        if counts.len() >= MAX_COUNTS {
            let oldest = counts.iter().min_by_key(|(_, count)| count.last).map(|(key, _)| key.clone());
            oldest.map(|key| counts.remove(&key));
        }
    }
    let count = counts.entry(key).or_default();
    if now.saturating_sub(count.last) >= FORGET {
        count.failures = 0;
    }
    count.failures = count.failures.saturating_add(1);
    count.last = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn guessing_slows_down_and_another_source_still_gets_in() {
        let clock = Clock::test(Timestamp::from_secs(0));
        let throttle = Throttle::new(clock.clone());
        clock.advance(FORGET);
        for _ in 0..5 {
            assert_eq!(throttle.attempt("Ada", source(1)), None);
        }
        assert!(throttle.attempt("ada", source(1)).is_some(), "case does not matter");
        assert_eq!(throttle.attempt("ada", source(2)), None, "the owner elsewhere is not locked out");
        clock.advance(Duration::from_secs(3));
        assert_eq!(throttle.attempt("ada", source(1)), None, "a wait ends");
        assert!(throttle.attempt("ada", source(1)).is_some());
        throttle.succeeded("ada", source(1));
        assert_eq!(throttle.attempt("ada", source(1)), None);
    }

    #[test]
    fn a_wait_is_never_longer_than_a_minute() {
        let clock = Clock::test(Timestamp::from_secs(0));
        let throttle = Throttle::new(clock.clone());
        clock.advance(FORGET);
        let mut longest = 0;
        for _ in 0..200 {
            match throttle.attempt("ada", source(1)) {
                Some(wait) => {
                    longest = longest.max(wait);
                    clock.advance(Duration::from_secs(wait));
                }
                None => clock.advance(Duration::from_millis(1)),
            }
        }
        assert!((50..=61).contains(&longest), "{longest}");
    }

    #[test]
    fn one_source_trying_many_accounts_is_slowed_too_and_the_counts_are_bounded() {
        let clock = Clock::test(Timestamp::from_secs(0));
        let throttle = Throttle::new(clock.clone());
        clock.advance(FORGET);
        let refused = (0..100).filter(|n| throttle.attempt(&format!("user{n}"), source(1)).is_some()).count();
        assert!(refused >= 60, "{refused}");
        for n in 0..(2 * MAX_COUNTS) {
            let source = IpAddr::from(u128::from(n as u64) << 64);
            throttle.attempt(&format!("x{n}"), source);
        }
        assert!(throttle.counts.lock().unwrap().pairs.len() <= MAX_COUNTS);
    }
}
