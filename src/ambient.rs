//! The two things that only the operating system can tell: what time it is, and randomness.
//!
//! Nothing else in the crate asks the system for either, so that tests can steer both.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the time of day, corrected by what the provider's `Date` header said, and monotonic time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Milliseconds since 1970 when this is a test's clock; `None` asks the system.
    test: Option<AtomicI64>,
    /// Added to the system's time of day, in milliseconds.
    correction: AtomicI64,
    start: Instant,
    /// Monotonic milliseconds that a test has let pass.
    test_elapsed: AtomicU64,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::of(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn test(now: Timestamp) -> Self {
        Self::of(Some(AtomicI64::new(now.millis())))
    }

    #[expect(clippy::disallowed_methods, reason = "one of the two places that ask the system")]
    fn of(test: Option<AtomicI64>) -> Self {
        Self(Arc::new(Inner {
            test,
            correction: AtomicI64::new(0),
            start: Instant::now(),
            test_elapsed: AtomicU64::new(0),
        }))
    }

    /// The time of day, corrected.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.uncorrected().plus_millis(self.0.correction.load(Ordering::Relaxed))
    }

    /// The time of day as this machine has it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "one of the two places that ask the system")]
    pub fn uncorrected(&self) -> Timestamp {
        let millis = match &self.0.test {
            Some(at) => at.load(Ordering::Relaxed),
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            },
        };
        Timestamp::from_millis(millis)
    }

    /// Sets what is added to this machine's time of day, in milliseconds.
    pub fn set_correction(&self, millis: i64) {
        self.0.correction.store(millis, Ordering::Relaxed);
    }

    /// What is added to this machine's time of day, in milliseconds.
    #[must_use]
    pub fn correction(&self) -> i64 {
        self.0.correction.load(Ordering::Relaxed)
    }

    /// Monotonic time since this clock was made; wall-clock jumps do not move it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "one of the two places that ask the system")]
    pub fn elapsed(&self) -> Duration {
        match self.0.test {
            Some(_) => Duration::from_millis(self.0.test_elapsed.load(Ordering::Relaxed)),
            None => Instant::now().duration_since(self.0.start),
        }
    }

    /// Moves a test's clock; the system's clock does not obey.
    pub fn advance(&self, by: Duration) {
        if let Some(at) = &self.0.test {
            let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            at.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::Relaxed);
            self.0.test_elapsed.fetch_add(millis, Ordering::Relaxed);
        }
    }
}

/// Gives random bytes: the system's, or a test's repeatable ones.
#[derive(Clone, Debug)]
pub struct Entropy(Option<Arc<AtomicU64>>);

impl Entropy {
    /// The system's random numbers.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// Repeatable numbers for tests; never secret.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    /// When the system has no randomness to give: nothing safe can be done without it.
    #[must_use]
    #[expect(clippy::disallowed_methods, clippy::expect_used, reason = "one of the two places that ask the system")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match &self.0 {
            None => getrandom::fill(&mut out).expect("the system gives random bytes"),
            Some(state) => {
                for chunk in out.chunks_mut(8) {
                    // SplitMix64, so that two draws differ and a seed repeats.
                    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
                }
            }
        }
        out
    }
}
