//! Requests that may change something, of pages and programs alike: each runs in a task of its own, since hyper drops a
//! handler when its client hangs up, and what is kept must also be seen and recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{Semaphore, oneshot};

use super::problem::Problem;
use crate::broker::to_its_end;

/// How many changes run at once: as many as the listener holds connections, so that whoever hangs up and comes again can't
/// pile them up.
const AT_ONCE: u32 = 1_024;

/// The places of the changes that run.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE as usize)))
    }

    /// Waits until none runs any more; false when that took too long.
    pub(super) async fn are_free(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.0.acquire_many(AT_ONCE)).await.is_ok()
    }
}

/// Runs a request that may change something to its end, whether its client waits for it or not.
pub(super) async fn run(State(Places(places)): State<Places>, request: Request<Body>, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let Ok(place) = places.acquire_owned().await else {
        return Problem::internal("no change is let in any more").into_response();
    };
    let (waits, left) = oneshot::channel::<()>();
    let request = request.map(|body| Body::new(Awaited { body, left: Some(left) }));
    let answer = to_its_end(async move {
        let answer = next.run(request).await;
        drop(place);
        answer
    })
    .await;
    drop(waits);
    answer
}

/// A request's body for as long as its client waits: what is left of one that was broken off must be neither waited for nor
/// taken for the whole, since hyper gives a dropped connection's body a clean end.
struct Awaited {
    body: Body,
    /// Nothing once it was told that the client left.
    left: Option<oneshot::Receiver<()>>,
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(left) = &mut self.left else { return Poll::Ready(None) };
        if Pin::new(left).poll(context).is_ready() {
            self.left = None;
            return Poll::Ready(Some(Err(axum::Error::new("the client hung up before the body had ended"))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use futures_util::poll;
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_whose_client_has_left_is_waited_for() {
        let (places, go, done) = (Places::new(), Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let (may_go, is_done) = (Arc::clone(&go), Arc::clone(&done));
        let change = async move || {
            may_go.notified().await;
            is_done.store(true, Ordering::Relaxed);
        };
        let router = Router::new().route("/", post(change)).layer(from_fn_with_state(places.clone(), run));
        assert!(places.are_free(Duration::ZERO).await);
        let mut asked = Box::pin(router.oneshot(Request::post("/").body(Body::empty()).unwrap()));
        assert!(poll!(asked.as_mut()).is_pending());
        drop(asked);
        assert!(!places.are_free(Duration::from_millis(20)).await);
        go.notify_one();
        assert!(places.are_free(Duration::from_secs(10)).await && done.load(Ordering::Relaxed));
    }
}
