//! Moments in the life of a request that a test can wait for, and at which it can hold requests.

use std::sync::Arc;

use tokio::sync::watch;

/// A point that requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A token request has arrived and was counted; nothing was looked at.
    BeforeRotate,
    /// Its tokens are made and the old ones dead; a refused request does not pass here.
    AfterRotate,
    /// Its answer, whatever it is, is about to be sent.
    BeforeAnswer,
    /// A call to the API or to MCP has arrived; nothing was looked at.
    CallArrived,
    /// The call was carried out and its answer is about to be sent.
    CallAnswered,
    /// A revocation has arrived; nothing was looked at.
    BeforeRevoke,
}

const COUNT: usize = 6;

/// How often each moment was reached, and how many hold it.
#[derive(Clone, Debug)]
pub(super) struct Moments(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reached: [watch::Sender<u64>; COUNT],
    held: [watch::Sender<u32>; COUNT],
}

impl Moments {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            reached: std::array::from_fn(|_| watch::Sender::new(0)),
            held: std::array::from_fn(|_| watch::Sender::new(0)),
        }))
    }

    /// Says that a request is there, and waits as long as somebody holds the moment.
    pub(super) async fn pass(&self, moment: Moment) {
        let mut held = self.0.held[moment as usize].subscribe();
        self.0.reached[moment as usize].send_modify(|count| *count += 1);
        let _ = held.wait_for(|holders| *holders == 0).await;
    }

    /// Resolves once a request reaches the moment after this call, not only after the first poll.
    pub(super) fn reached(&self, moment: Moment) -> impl Future<Output = ()> + Send + use<> {
        let mut reached = self.0.reached[moment as usize].subscribe();
        let before = *reached.borrow_and_update();
        let keep = self.clone();
        async move {
            let _ = reached.wait_for(|count| *count > before).await;
            drop(keep);
        }
    }

    pub(super) fn hold(&self, moment: Moment) -> Hold {
        self.0.held[moment as usize].send_modify(|holders| *holders += 1);
        Hold { moments: self.clone(), moment }
    }
}

/// Holds requests at a moment until it is released or dropped.
#[derive(Debug)]
#[must_use = "dropping it releases the requests"]
pub struct Hold {
    moments: Moments,
    moment: Moment,
}

impl Hold {
    /// Lets the held requests go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.moments.0.held[self.moment as usize].send_modify(|holders| *holders = holders.saturating_sub(1));
    }
}
