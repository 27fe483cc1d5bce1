//! A request on its way to the provider: its head, then its body as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::sent::SentBody;

/// The rest of the request is not sent: its body broke off, or nobody takes it.
pub(super) enum Stopped {
    /// Its body did not come to its end.
    Body,
    /// The connection takes no more.
    Connection,
}

/// A request that is being sent.
pub(super) struct Sending {
    pub(super) method: Method,
    /// What is encoded and not written yet.
    out: BytesMut,
    /// Nothing once its end is encoded.
    body: Option<SentBody>,
    /// Its length is among the headers.
    has_length: bool,
    chunked: bool,
}

/// What a head takes as a rule, but for its target.
const USUAL: usize = 1_024;

impl Sending {
    /// Begins a head.
    pub(super) fn new(method: Method, target: &PathAndQuery) -> Self {
        let mut out = BytesMut::with_capacity(USUAL + target.as_str().len());
        for piece in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
        Self { method, out, body: None, has_length: false, chunked: false }
    }

    pub(super) fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.has_length |= name == CONTENT_LENGTH;
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            self.out.extend_from_slice(piece);
        }
    }

    /// Ends the head. The body's framing is that of the headers, or else what is known of it.
    pub(super) fn with_body(mut self, body: SentBody) -> Self {
        if !body.is_end_stream() {
            match body.size_hint().exact() {
                _ if self.has_length => {}
                Some(length) => self.header(&CONTENT_LENGTH, &HeaderValue::from(length)),
                None => {
                    self.chunked = true;
                    self.header(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
                }
            }
            self.body = Some(body);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Sends what can be sent. Ready when all of it has left; asked again then, it sends what was held back beneath.
    pub(super) fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            while !self.out.is_empty() {
                match ready!(Pin::new(&mut *io).poll_write(cx, &self.out)) {
                    Ok(written) if written > 0 => self.out.advance(written),
                    _ => return Poll::Ready(Err(Stopped::Connection)),
                }
            }
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers go no further.
                    if let Ok(chunk) = frame.into_data()
                        && !chunk.is_empty()
                    {
                        self.encode(&chunk);
                    }
                    if self.body.as_ref().is_some_and(SentBody::is_end_stream) {
                        self.end();
                    }
                }
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Stopped::Body)),
                Poll::Pending => {
                    return match Pin::new(io).poll_flush(cx) {
                        Poll::Ready(Err(_)) => Poll::Ready(Err(Stopped::Connection)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
        // An answer may take its time, and needs no memory for this.
        self.out = BytesMut::new();
        Pin::new(io).poll_flush(cx).map_err(|_| Stopped::Connection)
    }

    fn encode(&mut self, chunk: &[u8]) {
        if self.chunked {
            self.out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        }
        self.out.extend_from_slice(chunk);
        if self.chunked {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn end(&mut self) {
        self.body = None;
        if self.chunked {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
mod tests;
