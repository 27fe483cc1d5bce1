//! What one connection is waiting for and since when, so that nobody can hold it for nothing.
//!
//! The parts of a connection (its socket, its parser, the call that runs) all live in one task. Each notes here what it
//! waits for; the task looks at it every now and then. No call registers a timer of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::head::HeadFault;

/// How long a connection may wait for each thing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first byte after it was accepted, and for the rest of a head after its first byte.
    pub head: Duration,
    /// For the next request on a connection that is kept alive.
    pub idle: Duration,
    /// For the next byte of a request's body.
    pub body: Duration,
    /// For the client to take the next byte of a response.
    pub write: Duration,
    /// For the client to close after it was refused.
    pub linger: Duration,
    /// For the provider's first byte.
    pub first_byte: Duration,
    /// For the next byte of the provider's body.
    pub upstream_idle: Duration,
    /// For the next event of the provider's event stream.
    pub stream_idle: Duration,
}

impl Patience {
    /// How often to look: finer than the shortest wait.
    pub(super) fn tick(&self) -> Duration {
        let all = [self.head, self.idle, self.body, self.write, self.first_byte, self.upstream_idle];
        let shortest = all.into_iter().min().unwrap_or(self.head);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(2))
    }
}

/// A span of waiting: begun or not.
#[derive(Debug, Default)]
pub(super) struct Wait(AtomicU64);

impl Wait {
    /// Begins the wait, unless it runs already.
    pub(super) fn begin(&self, pulse: &Pulse) {
        if self.0.load(Ordering::Relaxed) == 0 {
            self.restart(pulse);
        }
    }

    /// Begins the wait anew.
    pub(super) fn restart(&self, pulse: &Pulse) {
        self.0.store(pulse.now.load(Ordering::Relaxed).max(1), Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether it has run for longer than this.
    pub(super) fn is_over(&self, pulse: &Pulse, limit: Duration) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        let waited = pulse.now.load(Ordering::Relaxed).saturating_sub(since);
        since != 0 && u128::from(waited) > limit.as_millis()
    }
}

/// One connection's waits, shared within its task; and how the listener reaches that task.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    /// Milliseconds since the start, as of the last look at the clock.
    now: AtomicU64,
    /// For a head's end.
    pub(super) head: Wait,
    /// For a next request.
    pub(super) idle: Wait,
    /// For a byte of a request's body.
    pub(super) body: Wait,
    /// For the client to take a byte.
    pub(super) write: Wait,
    /// For the client to close.
    pub(super) linger: Wait,
    /// A call runs.
    busy: AtomicBool,
    draining: AtomicBool,
    closing: AtomicBool,
    cut: AtomicBool,
    /// The connection's task.
    task: Mutex<Option<Waker>>,
    fault: Mutex<Option<HeadFault>>,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        let pulse = Self {
            start: Instant::now(),
            now: AtomicU64::new(1),
            head: Wait::default(),
            idle: Wait::default(),
            body: Wait::default(),
            write: Wait::default(),
            linger: Wait::default(),
            busy: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            task: Mutex::new(None),
            fault: Mutex::new(None),
        };
        pulse.head.begin(&pulse);
        Arc::new(pulse)
    }

    /// Looks at the clock.
    pub(super) fn refresh(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.now.store(u64::try_from(elapsed).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// A call begins.
    pub(super) fn call_begins(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.idle.end();
    }

    /// A call ended, with its response's last byte or without.
    pub(super) fn call_ended(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.idle.restart(self);
    }

    /// Whether nothing happens but waiting for a next request.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.0.load(Ordering::Relaxed) != 0 && self.head.0.load(Ordering::Relaxed) == 0
    }

    /// Whether some wait has gone on for too long.
    pub(super) fn is_stuck(&self, patience: &Patience) -> bool {
        let busy = self.busy.load(Ordering::Relaxed);
        (!busy && (self.head.is_over(self, patience.head) || self.idle.is_over(self, patience.idle)))
            || self.body.is_over(self, patience.body)
            || self.write.is_over(self, patience.write)
            || self.linger.is_over(self, patience.linger)
    }

    /// Leaves word of why the next request, which is ours, stands for a refused one.
    pub(super) fn leave_fault(&self, fault: HeadFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Why it was refused.
    pub(super) fn take_fault(&self) -> Option<HeadFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets the running call end and takes no other.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the connection now.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The connection must end so that the client cannot take what it got for the whole.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// The same, where a call runs.
    pub(super) fn cut_if_busy(&self) {
        if self.busy.load(Ordering::Relaxed) {
            self.cut();
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whom to wake.
    pub(super) fn register(&self, task: &Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}
