//! How many token requests may be sent: the provider throttles by address, and calls that wait go before the schedule.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ambient::Clock;

/// The window that the rate is counted in.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a waiter looks again.
const LOOK: Duration = Duration::from_millis(200);

/// Who wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A call or a person waits.
    Call,
    /// It is only due.
    Schedule,
}

/// At most so many requests in any minute, by the monotonic clock.
pub(super) struct Pace {
    rate: u32,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: VecDeque<Duration>,
    calls_waiting: usize,
    last_scheduled: Option<Duration>,
}

/// The right to send one request.
#[must_use]
pub(super) struct Permit<'p> {
    pace: &'p Pace,
    at: Duration,
}

impl Permit<'_> {
    /// Nothing was sent after all.
    pub(super) fn give_back(self) {
        let mut state = self.pace.lock();
        if let Some(at) = state.sent.iter().position(|sent| *sent == self.at) {
            state.sent.remove(at);
        }
    }
}

impl Pace {
    pub(super) fn new(rate: u32, clock: Clock) -> Self {
        Self { rate: rate.max(1), clock, state: Mutex::default() }
    }

    pub(super) const fn rate(&self) -> u32 {
        self.rate
    }

    /// The pause between two of the schedule's requests, so that what falls due together is spread.
    pub(super) fn spacing(&self) -> Duration {
        WINDOW / self.rate
    }

    /// Waits for the right to send.
    pub(super) async fn acquire(&self, class: Class) -> Permit<'_> {
        let waiting = (class == Class::Call).then(|| Waiting::of(self));
        loop {
            if let Some(permit) = self.try_acquire(class) {
                drop(waiting);
                return permit;
            }
            tokio::time::sleep(LOOK.min(self.spacing())).await;
        }
    }

    fn try_acquire(&self, class: Class) -> Option<Permit<'_>> {
        let now = self.clock.elapsed();
        let mut state = self.lock();
        state.forget_before(now);
        let full = state.sent.len() >= usize::try_from(self.rate).unwrap_or(usize::MAX);
        if full || (class == Class::Schedule && state.calls_waiting > 0) {
            return None;
        }
        state.sent.push_back(now);
        Some(Permit { pace: self, at: now })
    }

    /// Whether the schedule may begin one more now; if so, the next may after the spacing.
    pub(super) fn begin_scheduled(&self) -> bool {
        let now = self.clock.elapsed();
        let spacing = self.spacing();
        let mut state = self.lock();
        state.forget_before(now);
        let spaced = state.last_scheduled.is_none_or(|last| now.saturating_sub(last) >= spacing);
        let room = state.sent.len() < usize::try_from(self.rate).unwrap_or(usize::MAX);
        let begin = spaced && room && state.calls_waiting == 0;
        if begin {
            state.last_scheduled = Some(now);
        }
        begin
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_before(&mut self, now: Duration) {
        while self.sent.front().is_some_and(|sent| now.saturating_sub(*sent) >= WINDOW) {
            self.sent.pop_front();
        }
    }
}

/// Counts a waiting call for as long as it waits, also when it is cut off.
struct Waiting<'p>(&'p Pace);

impl<'p> Waiting<'p> {
    fn of(pace: &'p Pace) -> Self {
        pace.lock().calls_waiting += 1;
        Self(pace)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().calls_waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn pace(rate: u32) -> (Pace, Clock) {
        let clock = Clock::test(Timestamp::from_secs(0));
        (Pace::new(rate, clock.clone()), clock)
    }

    #[test]
    fn no_minute_holds_more_than_the_rate() {
        let (pace, clock) = pace(30);
        let mut sent = Vec::new();
        for _ in 0..600 {
            while pace.try_acquire(Class::Call).is_some() {
                sent.push(clock.elapsed());
            }
            clock.advance(Duration::from_millis(777));
        }
        assert!(sent.len() > 200);
        for window in sent.windows(31) {
            assert!(window[30].saturating_sub(window[0]) >= WINDOW);
        }
    }

    #[test]
    fn the_schedule_is_spaced_and_gives_way_to_calls() {
        let (pace, clock) = pace(30);
        assert!(pace.begin_scheduled());
        assert!(!pace.begin_scheduled());
        clock.advance(Duration::from_secs(2));
        let waiting = Waiting::of(&pace);
        assert!(!pace.begin_scheduled() && pace.try_acquire(Class::Schedule).is_none());
        assert!(pace.try_acquire(Class::Call).is_some());
        drop(waiting);
        assert!(pace.begin_scheduled() && pace.try_acquire(Class::Schedule).is_some());
    }

    #[test]
    fn a_permit_that_was_given_back_can_be_had_again() {
        let (pace, _) = pace(1);
        let permit = pace.try_acquire(Class::Call).unwrap();
        assert!(pace.try_acquire(Class::Call).is_none());
        permit.give_back();
        assert!(pace.try_acquire(Class::Call).is_some());
    }
}
