//! Somebody who does not wait for the end.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

/// Drops a future when it has been polled so often without an end; whether it came to its end.
pub(crate) async fn broken_off_after(mut polls: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if polls == 0 => Poll::Ready(false),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}
