//! How much one app may call: its own rate, by the generic cell rate algorithm.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::app::Rate;

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// The app's own limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// When to try again.
    pub retry_after: Duration,
}

/// What is counted of one app while the process runs.
pub(super) struct Admission {
    rate: Option<Rate>,
    /// Most apps have none.
    limiter: Option<Box<Limiter>>,
    running: AtomicU32,
}

/// The most calls of one app that run at once, so that one app cannot take every place that there is.
const MOST_RUNNING: u32 = 4_096;

/// A call that runs, counted until this is dropped.
pub struct Running(Arc<Admission>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, limiter: rate.and_then(limiter).map(Box::new), running: AtomicU32::new(0) }
    }

    /// The same count when the rate stayed, so that a change of the app's name does not give it new calls.
    pub(super) fn renewed(old: Arc<Self>, rate: Option<Rate>) -> Arc<Self> {
        if old.rate == rate { old } else { Arc::new(Self::new(rate)) }
    }

    /// Counts a call that begins; nothing when too many run.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Running> {
        let running = Running(Arc::clone(self));
        (self.running.fetch_add(1, Ordering::Relaxed) < MOST_RUNNING).then_some(running)
    }

    pub(super) fn admit(&self) -> Result<(), RateLimited> {
        match self.limiter.as_ref().map(|limiter| limiter.check()) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(refused)) => Err(RateLimited { retry_after: refused.wait_time_from(MonotonicClock.now()) }),
        }
    }
}

fn limiter(rate: Rate) -> Option<Limiter> {
    let calls = NonZeroU32::new(rate.calls)?;
    let quota = Quota::with_period(rate.per / rate.calls)?.allow_burst(calls);
    Some(RateLimiter::direct_with_clock(quota, MonotonicClock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_runs_so_many_calls_at_once_and_more_when_some_have_ended() {
        let admission = Arc::new(Admission::new(None));
        let mut running: Vec<_> = std::iter::repeat_with(|| admission.begin()).take(MOST_RUNNING as usize).collect();
        assert!(running.iter().all(Option::is_some));
        assert!(admission.begin().is_none());
        running.pop();
        assert!(admission.begin().is_some());
    }
}
