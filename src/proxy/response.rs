//! The head of an answer: httparse takes it apart, and where its body ends is read from it (RFC 9112 6.3).

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{ParserConfig, Status};

use super::framing::{Chunked, Framing, Malformed};

/// The longest head.
const LONGEST: usize = 64 * 1024;
/// The most headers.
const MOST_HEADERS: usize = 100;

/// A head.
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// But for those of this hop.
    pub(super) headers: HeaderMap,
    /// As it came.
    pub(super) text: Bytes,
    /// What follows.
    pub(super) framing: Framing,
    /// Whether the connection may take another request after it.
    pub(super) lasts: bool,
}

/// Takes the head of the answer to a request with this method; nothing while it is not whole. Interim answers are passed over
/// (RFC 9110 15.2), but for the switch to another protocol.
///
/// # Errors
/// [`Malformed`].
pub(super) fn take_head(unread: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    loop {
        let mut space = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        let parsing = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, unread, &mut space);
        let length = match parsing {
            Ok(Status::Complete(length)) if length <= LONGEST => length,
            Ok(Status::Partial) if unread.len() < LONGEST => return Ok(None),
            _ => return Err(Malformed),
        };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            unread.advance(length);
            continue;
        }
        let head = Bytes::copy_from_slice(&unread[..length]);
        let mut hop = Hop { old: parsed.version == Some(0), ..Hop::default() };
        let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 2);
        for header in &*parsed.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed)?;
            if hop.takes(&name, header.value)? {
                continue;
            }
            // All in one piece of memory.
            let at = header.value.as_ptr().addr().saturating_sub(unread.as_ptr().addr());
            let value = if header.value.is_empty() { Bytes::new() } else { head.slice(at..at + header.value.len()) };
            headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)?);
        }
        unread.advance(length);
        for name in &hop.named {
            // Never one that frames the message, or that says how its body is to be looked into.
            if name != CONTENT_LENGTH && name != CONTENT_ENCODING {
                headers.remove(name);
            }
        }
        if hop.chunked && hop.length.is_some() {
            headers.remove(CONTENT_LENGTH);
        }
        let (framing, lasts) = (hop.framing(status, method), hop.lasts(status));
        return Ok(Some(Head { status, headers, text: head, framing, lasts }));
    }
}

/// The words of a list.
pub(super) fn listed(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty())
}

/// The headers that a `Connection` names (RFC 9110 7.6.1): in most messages none.
pub(super) fn named(connection: &[u8]) -> impl Iterator<Item = HeaderName> {
    let usual = |word: &&[u8]| word.eq_ignore_ascii_case(b"keep-alive") || word.eq_ignore_ascii_case(b"close");
    listed(connection).filter(move |word| !usual(word)).filter_map(|word| HeaderName::from_bytes(word).ok())
}

/// What is said of this hop, and where the body ends.
#[derive(Default)]
struct Hop {
    /// HTTP/1.0.
    old: bool,
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    /// What `Connection` names (RFC 9110 7.6.1).
    named: Vec<HeaderName>,
}

impl Hop {
    /// Looks at a header. Whether it is of this hop alone, and goes no further.
    fn takes(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Malformed> {
        if name == CONTENT_LENGTH {
            let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(Malformed)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(Malformed);
            }
            return Ok(false);
        }
        if name == TRANSFER_ENCODING {
            // What only this hop compressed would stay so when its chunks are taken apart, and nobody would be told.
            if self.old || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            self.chunked = true;
            return Ok(true);
        }
        if name != CONNECTION {
            return Ok(false);
        }
        self.closes |= listed(value).any(|word| word.eq_ignore_ascii_case(b"close"));
        self.named.extend(named(value));
        Ok(true)
    }

    /// Whether the connection may take another request.
    fn lasts(&self, status: StatusCode) -> bool {
        let ends = match status {
            // What comes next is no HTTP.
            StatusCode::SWITCHING_PROTOCOLS => true,
            // A body may come that has no place here.
            StatusCode::NO_CONTENT => self.chunked || self.length.is_some_and(|length| length != 0),
            // As RFC 9112 6.3 wants it: one of the two was meant by whoever wrote it, and nobody knows which.
            _ => self.chunked && self.length.is_some(),
        };
        !self.old && !self.closes && !ends
    }

    /// What follows. Chunks come before a length, which is then dropped, as it must be before the answer goes on.
    fn framing(&self, status: StatusCode, method: &Method) -> Framing {
        let bodiless = method == Method::HEAD
            || matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match self.length {
            _ if bodiless => Framing::Length(0),
            _ if self.chunked => Framing::Chunked(Chunked::Size),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }
}

#[cfg(test)]
mod tests;
