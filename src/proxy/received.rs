//! A response's body as it comes from the provider, driving the connection that it comes on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;

use super::provider::{Link, Server};
use super::pulse::{Pulse, Wait};
use super::turn::Turn;

/// The provider's body did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the provider's body did not come to its end")]
pub(super) struct Truncated;

/// A response's body.
pub(super) struct Received {
    body: Incoming,
    link: Option<Box<Link>>,
    server: Arc<Server>,
    pulse: Arc<Pulse>,
    wait: Wait,
    patience: Duration,
    turn: Turn,
}

impl Received {
    pub(super) fn new(body: Incoming, link: Box<Link>, server: Arc<Server>, pulse: Arc<Pulse>) -> Self {
        Self {
            body,
            link: Some(link),
            server,
            pulse,
            wait: Wait::default(),
            patience: Duration::MAX,
            turn: Turn::default(),
        }
    }

    /// How long the next byte may take.
    pub(super) const fn wait_at_most(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Truncated>>> {
        if self.turn.is_over(cx) {
            return Poll::Pending;
        }
        loop {
            let mut polled = Pin::new(&mut self.body).poll_frame(cx);
            if polled.is_pending()
                && let Some(link) = &mut self.link
            {
                link.drive(cx);
                polled = Pin::new(&mut self.body).poll_frame(cx);
            }
            return match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    self.wait.end();
                    match frame.into_data() {
                        Ok(chunk) => {
                            self.turn.passed(chunk.len());
                            // Whoever asks whether this was all will not come back for the end.
                            if self.body.is_end_stream() {
                                self.finish(cx);
                            }
                            Poll::Ready(Some(Ok(chunk)))
                        }
                        // Trailers end here.
                        Err(_) => continue,
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.link = None;
                    Poll::Ready(Some(Err(Truncated)))
                }
                Poll::Ready(None) => {
                    self.finish(cx);
                    Poll::Ready(None)
                }
                Poll::Pending if self.link.as_ref().is_none_or(|link| !link.is_open()) => {
                    Poll::Ready(Some(Err(Truncated)))
                }
                Poll::Pending if self.wait.is_over(&self.pulse, self.patience) => {
                    tracing::warn!("The provider stopped in the middle of an answer");
                    Poll::Ready(Some(Err(Truncated)))
                }
                Poll::Pending => {
                    self.wait.begin(&self.pulse);
                    Poll::Pending
                }
            };
        }
    }

    /// The body came to its end: its connection may serve another call.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut link) = self.link.take() {
            link.drive(cx);
            self.server.keep(link);
        }
    }

    /// Where there is no body at all, nobody will poll for its end.
    pub(super) async fn finish_if_empty(&mut self) {
        if self.body.is_end_stream() {
            std::future::poll_fn(|cx| {
                self.finish(cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Reads an answer that is not passed on to its end, so that its connection can be kept; gives up where it is long.
    pub(super) async fn drain(mut self) {
        let mut left: usize = 64 * 1024;
        std::future::poll_fn(|cx| {
            loop {
                match self.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(chunk))) if chunk.len() <= left => left -= chunk.len(),
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}
