//! How much one app may call: its own rate, by the generic cell rate algorithm.

use std::num::NonZeroU32;
use std::sync::Arc;
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
    limiter: Option<Limiter>,
}

impl Admission {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, limiter: rate.and_then(limiter) }
    }

    /// The same count when the rate stayed, so that a change of the app's name does not give it new calls.
    pub(super) fn renewed(old: Arc<Self>, rate: Option<Rate>) -> Arc<Self> {
        if old.rate == rate { old } else { Arc::new(Self::new(rate)) }
    }

    pub(super) fn admit(&self) -> Result<(), RateLimited> {
        match self.limiter.as_ref().map(RateLimiter::check) {
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
