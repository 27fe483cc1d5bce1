//! What hyper's client makes of the bytes that our own client gets from the provider, and whether the two agree.
//!
//! Ours may be stricter. It must never take for whole what hyper takes for cut, never read another body, and never use a
//! connection again that hyper would not. Where they differ on purpose:
//!
//! 1. Ours refuses every `Transfer-Encoding` but one `chunked`. Hyper reads to the connection's end where `chunked` is not the
//!    last one, and takes the chunks of `gzip, chunked` apart, after which nobody is told of the gzip.
//! 2. Ours looks at both framing headers where there is no body too (HEAD, 204, 304), and at a length beside chunks: a head
//!    that contradicts itself goes no further.
//! 3. Ours takes no list as a length (`5, 5`). Hyper takes no length above 2^64 - 3, ours waits for its bytes in vain.
//! 4. Ours takes no chunk size of more than 16 digits, though the first be zeros, and no bare LF in trailers.
//! 5. Ours takes heads of up to 64 KB, and lines between chunks of up to 16 KB. Hyper takes heads of up to 400 KB, and 16 KB
//!    of extensions and of trailers in all of a body. Below these they are compared.
//! 6. Ours keeps no connection after HTTP/1.0, whatever `Connection` says, and none after a 204 that says it has a body.
//! 7. Ours reads lines, hyper bytes: of a fault, one may know earlier, and wait where the other does not.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::framing::{Framing, Malformed};
use super::response::take_head;

/// Below so many bytes the two clients' limits do not matter.
const SHORT: usize = 16 * 1024;

/// What comes after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The connection ends in order.
    End,
    /// It breaks.
    Reset,
    /// It stays open.
    Nothing,
}

/// What a client takes an answer for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end.
    Whole,
    /// It did not and never will, or there is none.
    #[default]
    Cut,
    /// More is waited for.
    Waiting,
}

/// What a client took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Status and headers of the last head.
    pub head: Option<(StatusCode, HeaderMap)>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// Whether that is all.
    pub outcome: Outcome,
    /// Whether the connection takes another request.
    pub again: bool,
    /// Where the body begins in what came; ours only.
    at: usize,
    /// Whether it was HTTP/1.0; hyper's only.
    old: bool,
}

/// What our client takes, as `provider` and `received` read it.
#[must_use]
pub fn ours(method: &Method, pieces: &[&[u8]], after: After) -> Taken {
    let (mut unread, mut taken, mut read) = (BytesMut::new(), Taken::default(), 0);
    let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut more = |unread: &mut BytesMut| {
        let piece = pieces.next();
        unread.extend_from_slice(piece.copied().unwrap_or_default());
        piece.map(|piece| piece.len())
    };
    let without = if after == After::Nothing { Outcome::Waiting } else { Outcome::Cut };
    let head = loop {
        let Some(count) = more(&mut unread) else { return Taken { outcome: without, ..taken } };
        read += count;
        match take_head(&mut unread, method) {
            Ok(Some(head)) => break head,
            Ok(None) => {}
            Err(Malformed) => return taken,
        }
    };
    taken.at = read - unread.len();
    let mut framing = head.framing;
    taken.outcome = loop {
        match framing.take(&mut unread) {
            Ok(Some(chunk)) => taken.body.extend_from_slice(&chunk),
            Ok(None) if framing.is_end() => break Outcome::Whole,
            Ok(None) if more(&mut unread).is_some() => {}
            Ok(None) if framing == Framing::UntilClose && after == After::End => break Outcome::Whole,
            Ok(None) => break without,
            Err(Malformed) => break Outcome::Cut,
        }
    };
    let over = unread.is_empty() && more(&mut unread).is_none() && after == After::Nothing;
    taken.again = taken.outcome == Outcome::Whole && head.lasts && over;
    taken.head = Some((head.status, head.headers));
    taken
}

/// The provider's side of a connection: it answers once a request is there.
struct Wire {
    pieces: VecDeque<Bytes>,
    after: After,
    sent: Vec<u8>,
    reader: Option<Waker>,
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut space: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.sent.ends_with(b"\r\n\r\n") {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return match self.after {
                After::End => Poll::Ready(Ok(())),
                After::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                After::Nothing => Poll::Pending,
            };
        };
        space.put_slice(&piece.split_to(piece.len().min(space.remaining())));
        if !piece.is_empty() {
            self.pieces.push_front(piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sent.extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether something has happened that is worth another look.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What hyper's client takes.
#[must_use]
pub fn hypers(method: &Method, pieces: &[&[u8]], after: After) -> Taken {
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let cx = &mut Context::from_waker(&waker);
    let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| Bytes::copy_from_slice(piece)).collect();
    let wire = Wire { pieces, after, sent: Vec::new(), reader: None };
    let Poll::Ready(Ok((mut sender, connection))) = pin!(http1::handshake::<_, String>(wire)).poll(cx) else {
        unreachable!("a handshake of HTTP/1.1 says nothing");
    };
    let mut request = Request::new(String::new());
    *request.method_mut() = method.clone();
    request.headers_mut().insert(HOST, http::HeaderValue::from_static("provider"));
    let (mut connection, mut waiting) = (Some(Box::pin(connection)), Some(Box::pin(sender.send_request(request))));
    let (mut taken, mut body) = (Taken::default(), None);
    taken.outcome = Outcome::Waiting;
    woken.0.store(true, Ordering::Relaxed);
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Some(running) = &mut connection
            && running.as_mut().poll(cx).is_ready()
        {
            connection = None;
        }
        let answer = waiting.as_mut().map_or(Poll::Pending, |waiting| waiting.as_mut().poll(cx));
        if let Poll::Ready(answer) = answer {
            waiting = None;
            match answer {
                Ok(answer) => {
                    let (head, rest) = answer.into_parts();
                    taken.old = head.version == Version::HTTP_10;
                    taken.head = Some((head.status, head.headers));
                    body = Some(rest);
                }
                Err(_) => taken.outcome = Outcome::Cut,
            }
        }
        while let Some(Poll::Ready(frame)) = body.as_mut().map(|body| Pin::new(body).poll_frame(cx)) {
            match frame {
                Some(Ok(frame)) => taken.body.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => (taken.outcome, body) = (Outcome::Cut, None),
                None => (taken.outcome, body) = (Outcome::Whole, None),
            }
            woken.0.store(true, Ordering::Relaxed);
        }
    }
    let ready = matches!(sender.poll_ready(cx), Poll::Ready(Ok(())));
    taken.again = taken.outcome == Outcome::Whole && connection.is_some() && ready;
    taken
}

/// Takes these bytes in pieces of this size as both clients do.
///
/// # Panics
/// They differ where they should not, or ours depends on how the bytes are cut.
#[must_use]
pub fn agree(method: &Method, bytes: &[u8], size: usize, after: After) -> [Taken; 2] {
    let pieces: Vec<&[u8]> = bytes.chunks(size.max(1)).collect();
    let (ours, hypers) = (ours(method, &pieces, after), hypers(method, &pieces, after));
    let uncut = self::ours(method, &[bytes], after);
    let story = format!("{method} {:?} {after:?}\nours {ours:?}\nhyper's {hypers:?}", String::from_utf8_lossy(bytes));
    assert_eq!(ours, uncut, "cut in pieces of {size}: {story}");
    assert!(ours.body.starts_with(&hypers.body) || hypers.body.starts_with(&ours.body), "another body: {story}");
    if let (Some((status, headers)), Some((theirs, mut others))) = (&ours.head, hypers.head.clone()) {
        // A length beside chunks goes no further, and nothing does that is of this hop alone.
        if others.remove(TRANSFER_ENCODING).is_some() {
            others.remove(CONTENT_LENGTH);
        }
        let lists: Vec<_> = others.get_all(CONNECTION).iter().cloned().collect();
        let words = lists.iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        let named = words.filter_map(|word| HeaderName::from_bytes(word.trim_ascii()).ok());
        for name in named.filter(|name| ![CONTENT_LENGTH, CONTENT_ENCODING].contains(name)).chain([CONNECTION]) {
            others.remove(name);
        }
        assert_eq!((status, headers), (&theirs, &others), "another head: {story}");
    }
    assert!(!ours.again || hypers.again, "used again: {story}");
    let (whole, theirs) = (ours.outcome == Outcome::Whole, hypers.outcome == Outcome::Whole);
    assert!(!whole || theirs || bytes.len() >= SHORT, "whole only to us: {story}");
    assert!(!whole || !theirs || ours.body == hypers.body, "another body: {story}");
    assert!(!theirs || whole || is_stricter(&hypers, &ours, bytes), "whole only to hyper: {story}");
    [ours, hypers]
}

/// Whether what hyper took is what we refuse on purpose.
fn is_stricter(hypers: &Taken, ours: &Taken, bytes: &[u8]) -> bool {
    let Some((_, headers)) = &hypers.head else { return false };
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().map(http::HeaderValue::as_bytes).collect();
    let is_length = |length: &[u8]| {
        length.iter().all(u8::is_ascii_digit)
            && str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok())
    };
    let coded = match codings[..] {
        [] => false,
        [one] => hypers.old || !one.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => true,
    };
    let odd = lengths.iter().any(|length| !is_length(length) || *length != lengths[0]);
    coded || odd || bytes.len() >= SHORT || (ours.head.is_some() && has_odd_lines(&bytes[ours.at..]))
}

/// Whether chunks, which hyper could read, have more than 16 digits or a bare LF in their trailers.
fn has_odd_lines(mut rest: &[u8]) -> bool {
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = str::from_utf8(&rest[..digits]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match size {
            _ if digits > 16 => return true,
            Some(0) => {
                let trailers = &rest[end + 2..];
                return trailers
                    .iter()
                    .enumerate()
                    .any(|(at, byte)| *byte == b'\n' && (at == 0 || trailers[at - 1] != b'\r'));
            }
            Some(size) => rest = rest.get(end + 4 + size..).unwrap_or_default(),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests;
