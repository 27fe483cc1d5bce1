//! A response's body as it comes from the provider.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::SizeHint;
use tokio::time::timeout;

use super::framing::{Framing, Malformed};
use super::provider::{Link, Server};
use super::pulse::{Pulse, Wait};
use super::response::Head;
use super::sent::BodyCut;
use super::turn::Turn;

/// How long the rest of an answer that is thrown away may take.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);

/// The provider's body did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the provider's body did not come to its end")]
pub(super) struct Truncated;

/// A response's body.
pub(super) struct Received {
    framing: Framing,
    /// Until the body's end, or until it breaks off.
    link: Option<Box<Link>>,
    /// Whether the connection may take another request then.
    lasts: bool,
    server: Arc<Server>,
    pulse: Arc<Pulse>,
    wait: Wait,
    patience: Duration,
    turn: Turn,
}

impl Received {
    pub(super) fn new(head: &Head, link: Box<Link>, server: Arc<Server>, pulse: Arc<Pulse>) -> Self {
        let mut received = Self {
            framing: head.framing,
            link: Some(link),
            lasts: head.lasts,
            server,
            pulse,
            wait: Wait::default(),
            patience: Duration::MAX,
            turn: Turn::default(),
        };
        // Where there is no body at all, nobody will ask for its end.
        if received.is_end() {
            received.finish();
        }
        received
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
            let Some(link) = &mut self.link else {
                return Poll::Ready(if self.is_end() { None } else { Some(Err(Truncated)) });
            };
            let taken = match link.send(cx) {
                Ok(()) => self.framing.take(&mut link.unread),
                Err(BodyCut) => Err(Malformed),
            };
            match taken {
                Ok(Some(chunk)) => {
                    self.wait.end();
                    self.turn.passed(chunk.len());
                    // Whoever asks whether this was all will not come back for the end.
                    if self.is_end() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Ok(None) if self.framing.is_end() => self.finish(),
                Ok(None) => match link.poll_read(cx) {
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    Poll::Ready(Ok(_)) if self.framing == Framing::UntilClose => {
                        self.framing = Framing::Length(0);
                        self.link = None;
                    }
                    Poll::Ready(_) => self.link = None,
                    Poll::Pending if self.wait.is_over(&self.pulse, self.patience) => {
                        tracing::warn!("The provider stopped in the middle of an answer");
                        self.link = None;
                    }
                    Poll::Pending => {
                        self.wait.begin(&self.pulse);
                        return Poll::Pending;
                    }
                },
                Err(Malformed) => self.link = None,
            }
        }
    }

    /// The body came to its end: its connection may serve another call.
    fn finish(&mut self) {
        if let Some(link) = self.link.take().filter(|_| self.lasts) {
            self.server.keep(link);
        }
    }

    pub(super) const fn is_end(&self) -> bool {
        self.framing.is_end()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    /// Reads an answer that is not passed on to its end, so that its connection can be kept; gives up where it is long, or
    /// does not come.
    pub(super) async fn drain(mut self) {
        let mut left: usize = 64 * 1024;
        let drained = std::future::poll_fn(|cx| {
            loop {
                match self.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(chunk))) if chunk.len() <= left => left -= chunk.len(),
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        });
        let _ = timeout(LONGEST_DRAIN, drained).await;
    }
}
