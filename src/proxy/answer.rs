//! A response's body as the app gets it: one of ours, or the provider's, byte for byte, unless it holds the token.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::echo::{Echo, Guarded};
use super::ending::Ending;
use super::lease::Lease;
use super::received::Received;

/// The response ends before its end, and its connection with it.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off")]
pub(super) struct Cut;

/// A response's body.
pub(super) struct Answer {
    source: Source,
    ending: Option<Box<Ending>>,
}

enum Source {
    Whole(Option<Bytes>),
    // Answers are moved half a dozen times on their way out: a box costs less than that.
    Provider(Box<Passing>),
}

/// The provider's answer on its way.
struct Passing {
    body: Received,
    echo: Echo,
    lease: Lease,
    over: bool,
    broken: bool,
}

/// Why a provider's answer is not passed on to its end.
enum Why {
    /// It did not come to its end.
    Truncated,
    /// It holds the token.
    Echo,
    /// It is not in the coding that it says.
    Broken,
    /// The app or the grant has ended.
    Ended,
}

impl Why {
    fn log(&self) {
        match self {
            Self::Truncated => {}
            Self::Echo => tracing::error!("The provider sent a token of ours back; the response was cut off"),
            Self::Broken => {
                tracing::warn!("The provider sent a body that is not in its coding; the response was cut off");
            }
            Self::Ended => tracing::info!("A running call was cut off: its app or its grant has ended"),
        }
    }
}

impl Answer {
    pub(super) const fn none() -> Self {
        Self { source: Source::Whole(None), ending: None }
    }

    pub(super) const fn whole(text: Bytes) -> Self {
        Self { source: Source::Whole(Some(text)), ending: None }
    }

    pub(super) fn provider(body: Received, echo: Echo, lease: Lease) -> Self {
        let passing = Passing { body, echo, lease, over: false, broken: false };
        Self { source: Source::Provider(Box::new(passing)), ending: None }
    }

    /// What is to be done when the last byte was passed on, or when it will not be.
    pub(super) fn ends_with(&mut self, ending: Box<Ending>) {
        self.ending = Some(ending);
    }

    /// Whether something is to be done then.
    pub(super) const fn has_ending(&self) -> bool {
        self.ending.is_some()
    }

    fn over(&mut self) {
        if let Some(ending) = self.ending.take() {
            ending.whole();
        }
    }

    fn cut(&mut self) -> Cut {
        if let Some(ending) = self.ending.take() {
            ending.cut();
        }
        Cut
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let chunk = match &mut this.source {
            Source::Whole(text) => text.take(),
            Source::Provider(passing) => loop {
                let Passing { body, echo, lease, over, broken } = &mut **passing;
                if *over {
                    break None;
                }
                if *broken {
                    return Poll::Ready(Some(Err(this.cut())));
                }
                let why = if lease.stands() {
                    match ready!(body.poll(cx)) {
                        Some(Ok(chunk)) => match echo.guard(chunk) {
                            Guarded::Clean(chunk) if chunk.is_empty() => continue,
                            Guarded::Clean(chunk) => break Some(chunk),
                            Guarded::Echo => Why::Echo,
                            Guarded::Broken => Why::Broken,
                        },
                        Some(Err(_)) => Why::Truncated,
                        None => match echo.rest() {
                            Guarded::Clean(rest) => {
                                *over = true;
                                break (!rest.is_empty()).then_some(rest);
                            }
                            Guarded::Echo => Why::Echo,
                            Guarded::Broken => Why::Broken,
                        },
                    }
                } else {
                    Why::Ended
                };
                why.log();
                // Once more round, so that what came before is written: an app that gets the head and half a body knows
                // more than one that gets nothing.
                *broken = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            },
        };
        let Some(chunk) = chunk else {
            this.over();
            return Poll::Ready(None);
        };
        if let Some(ending) = &mut this.ending {
            ending.passed(chunk.len());
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(text) => text.is_none(),
            Source::Provider(passing) => {
                passing.over || (!passing.broken && passing.body.is_end() && passing.echo.is_empty())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Provider(passing) => passing.body.size_hint(),
        }
    }
}
