//! A request's body on its way out: counted, held to the limit, kept while it is small so that it can be sent once more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::turn::Turn;

/// The most of a body that is kept to be sent once more after a 401.
const MOST_KEPT: u64 = 64 * 1024;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    NotYet,
    Whole,
    /// It had more bytes than it may.
    TooLarge,
    /// The client went away, or its framing broke.
    Broken,
}

/// What is known of a body from outside while it is sent.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: AtomicU64,
    ended: AtomicU8,
    kept: Mutex<VecDeque<Bytes>>,
}

impl Record {
    /// How many bytes were passed on.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn ended(&self) -> Ended {
        match self.ended.load(Ordering::Relaxed) {
            0 => Ended::NotYet,
            1 => Ended::Whole,
            2 => Ended::TooLarge,
            _ => Ended::Broken,
        }
    }

    fn end(&self, how: Ended) {
        self.ended.store(how as u8, Ordering::Relaxed);
    }

    /// The same body once more, if it was sent whole and is small enough to have been kept.
    pub(super) fn again(&self) -> Option<SentBody> {
        if self.ended() != Ended::Whole || self.bytes() > MOST_KEPT {
            return None;
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(SentBody::Again(kept))
    }
}

/// The body was not passed on to its end.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was not passed on to its end")]
pub(super) struct BodyCut;

/// A request's body.
pub(super) enum SentBody {
    None,
    First { body: Incoming, record: Arc<Record>, limit: u64, turn: Turn },
    Again(VecDeque<Bytes>),
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = BodyCut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyCut>>> {
        let (body, record, limit, turn) = match self.get_mut() {
            Self::None => return Poll::Ready(None),
            Self::Again(kept) => return Poll::Ready(kept.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Self::First { body, record, limit, turn } => (body, record, *limit, turn),
        };
        if turn.is_over(cx) {
            return Poll::Pending;
        }
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers end here: they could say what the head was not allowed to.
                    let Ok(chunk) = frame.into_data() else { continue };
                    turn.passed(chunk.len());
                    let bytes = record.bytes.load(Ordering::Relaxed) + chunk.len() as u64;
                    if bytes > limit {
                        record.end(Ended::TooLarge);
                        return Poll::Ready(Some(Err(BodyCut)));
                    }
                    record.bytes.store(bytes, Ordering::Relaxed);
                    let mut kept = record.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if bytes <= MOST_KEPT {
                        kept.push_back(chunk.clone());
                    } else {
                        *kept = VecDeque::new();
                    }
                    drop(kept);
                    if body.is_end_stream() {
                        record.end(Ended::Whole);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(_)) => {
                    record.end(Ended::Broken);
                    return Poll::Ready(Some(Err(BodyCut)));
                }
                None => {
                    record.end(Ended::Whole);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::First { body, .. } => body.is_end_stream(),
            Self::Again(kept) => kept.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::First { body, .. } => body.size_hint(),
            Self::Again(kept) => SizeHint::with_exact(kept.iter().map(|chunk| chunk.len() as u64).sum()),
        }
    }
}
