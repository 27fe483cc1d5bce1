//! The two things that only the operating system can tell: what time it is, and randomness.
//!
//! Nothing else in the crate asks the system for either, so that tests can steer both.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Clocks are set by more milliseconds than this; less is how they are slowed down or hurried on.
const LEAST_STEP: i64 = 1_000;

/// Tells the time of day, corrected by what the provider's `Date` header said, and monotonic time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Milliseconds since 1970 when this is a test's clock; `None` asks the system.
    test: Option<AtomicI64>,
    /// Added to the system's time of day, in milliseconds.
    correction: AtomicI64,
    /// The machine's time of day less the time since its start, as it was when that was last looked at; once somebody
    /// has told the true time.
    offset: Mutex<Option<i64>>,
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
            offset: Mutex::new(None),
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

    /// Sets what is added to this machine's time of day, in milliseconds, by what somebody says who knows the true time.
    pub fn set_correction(&self, millis: i64) {
        let mut offset = self.0.offset.lock().unwrap_or_else(PoisonError::into_inner);
        *offset = Some(self.offset());
        self.0.correction.store(millis, Ordering::Relaxed);
    }

    /// Whether this machine's clock was set since this was last asked or the true time was told: then the correction
    /// makes up for it, so that the corrected time runs on evenly. Gives by how many milliseconds. To sleep is no such step,
    /// and without a true time that was told the machine's own is believed.
    pub fn make_up_for_step(&self) -> Option<i64> {
        let mut offset = self.0.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = ((*offset)?, self.offset());
        *offset = Some(now);
        let step = now - before;
        (step.abs() > LEAST_STEP).then(|| {
            self.0.correction.fetch_sub(step, Ordering::Relaxed);
            step
        })
    }

    /// What a step of the machine's clock changes, and neither the passing of time nor a suspend does.
    fn offset(&self) -> i64 {
        let since_start = match &self.0.test {
            Some(_) => self.0.test_elapsed.load(Ordering::Relaxed).cast_signed(),
            None => since_start(),
        };
        self.uncorrected().millis() - since_start
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

    /// Sets a test's clock as somebody sets a machine's: no time passes.
    pub fn jump(&self, millis: i64) {
        if let Some(at) = &self.0.test {
            at.fetch_add(millis, Ordering::Relaxed);
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

/// Milliseconds since the machine was started, those that it slept among them.
fn since_start() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_made_up_for_once_the_true_time_was_told() {
        let (begun, hours) = (Timestamp::from_secs(1_795_000_000), 7 * 3_600_000);
        let clock = Clock::test(begun);
        clock.jump(hours);
        assert_eq!(clock.make_up_for_step(), None, "nobody has told a better time");
        assert_eq!(clock.now(), begun.plus_millis(hours));
        clock.set_correction(-hours);
        assert_eq!((clock.now(), clock.make_up_for_step()), (begun, None));
        // It is put right, put wrong the other way, and in between an hour passes.
        for step in [-hours, -hours, hours] {
            clock.jump(step);
            assert_eq!(clock.make_up_for_step(), Some(step));
            clock.advance(Duration::from_secs(1_200));
            assert_eq!(clock.make_up_for_step(), None, "time that passes is no step");
        }
        assert_eq!(clock.now(), begun.plus(Duration::from_secs(3_600)));
        clock.jump(LEAST_STEP);
        assert_eq!(clock.make_up_for_step(), None, "that little is how a clock is hurried on");
    }
}
