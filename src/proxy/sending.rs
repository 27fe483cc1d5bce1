//! A request on its way to the provider: its head, then its body as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::outgoing::every;
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
    chunked: bool,
}

impl Sending {
    /// Encodes the head. The body's framing is that of the headers, or else what is known of it.
    pub(super) fn new(method: Method, target: &PathAndQuery, headers: &HeaderMap, body: SentBody) -> Self {
        let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        let mut out = BytesMut::with_capacity(method.as_str().len() + target.as_str().len() + size + 64);
        let mut put = |piece: &[u8]| out.extend_from_slice(piece);
        put(method.as_str().as_bytes());
        put(b" ");
        put(target.as_str().as_bytes());
        put(b" HTTP/1.1\r\n");
        let mut line = |name: &str, value: &[u8]| {
            put(name.as_bytes());
            put(b": ");
            put(value);
            put(b"\r\n");
        };
        for (name, value) in headers {
            line(name.as_str(), value.as_bytes());
        }
        let body = Some(body).filter(|body| !body.is_end_stream());
        let mut chunked = false;
        if let Some(body) = &body
            && every(headers, &CONTENT_LENGTH).next().is_none()
        {
            if let Some(length) = body.size_hint().exact() {
                line(CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
            } else {
                chunked = true;
                line(TRANSFER_ENCODING.as_str(), b"chunked");
            }
        }
        put(b"\r\n");
        Self { method, out, body, chunked }
    }

    /// Sends what can be sent. Ready when all of it has left.
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
