//! One body does not keep a thread for as long as its sockets take bytes: others are let in after a while.

use std::task::Context;

/// So many bytes are passed on in one go.
const MOST: usize = 256 * 1024;

/// What a body has passed on since others had their turn.
#[derive(Debug, Default)]
pub(super) struct Turn(usize);

impl Turn {
    /// Counts what was passed on.
    pub(super) const fn passed(&mut self, bytes: usize) {
        self.0 += bytes;
    }

    /// Whether it is the others' turn; then the task is woken to go on after them, and must wait now.
    pub(super) fn is_over(&mut self, cx: &Context<'_>) -> bool {
        let over = self.0 > MOST;
        if over {
            self.0 = 0;
            cx.waker().wake_by_ref();
        }
        over
    }
}
