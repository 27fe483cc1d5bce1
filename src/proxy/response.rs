//! The head of an answer: httparse takes it apart, and where its body ends is read from it (RFC 9112 6.3).

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{ParserConfig, Status};

use super::framing::{Chunked, Framing, Malformed};
use super::outgoing::every;

/// The longest head.
const LONGEST: usize = 64 * 1024;
/// The most headers.
const MOST_HEADERS: usize = 100;

/// A head.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
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
        let old = parsed.version == Some(0);
        let mut headers = headers(parsed.headers, &unread[..length])?;
        unread.advance(length);
        let framing = framing(&mut headers, status, old, method)?;
        let ends = match status {
            // What comes next is no HTTP.
            StatusCode::SWITCHING_PROTOCOLS => true,
            // A body may come that has no place here.
            StatusCode::NO_CONTENT => {
                headers.contains_key(TRANSFER_ENCODING) || every(&headers, &CONTENT_LENGTH).any(|length| length != "0")
            }
            _ => false,
        };
        let closes = every(&headers, &CONNECTION).any(|value| lists(value, "close"));
        return Ok(Some(Head { status, headers, framing, lasts: !old && !closes && !ends }));
    }
}

/// The headers, all in one piece of memory.
fn headers(parsed: &[httparse::Header<'_>], head: &[u8]) -> Result<HeaderMap, Malformed> {
    let all = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed)?;
        let at = header.value.as_ptr().addr().saturating_sub(head.as_ptr().addr());
        let value = if header.value.is_empty() { Bytes::new() } else { all.slice(at..at + header.value.len()) };
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)?);
    }
    Ok(headers)
}

/// Whether a list has this word.
fn lists(value: &HeaderValue, word: &str) -> bool {
    let words = value.as_bytes().split(|byte| *byte == b',');
    words.map(<[u8]>::trim_ascii).any(|one| one.eq_ignore_ascii_case(word.as_bytes()))
}

/// What follows. A length beside chunks is dropped, as it must be before the answer goes on.
fn framing(headers: &mut HeaderMap, status: StatusCode, old: bool, method: &Method) -> Result<Framing, Malformed> {
    let mut codings = every(headers, &TRANSFER_ENCODING);
    let coding = codings.next().map(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let chunked = match (coding, codings.next()) {
        (None, _) => false,
        // What only this hop compressed would stay so when its chunks are taken apart, and nobody would be told.
        (Some(true), None) if !old => true,
        _ => return Err(Malformed),
    };
    drop(codings);
    let mut length = None;
    for value in every(headers, &CONTENT_LENGTH) {
        let digits =
            str::from_utf8(value.as_bytes()).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let other = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(Malformed)?;
        if length.is_some_and(|length| length != other) {
            return Err(Malformed);
        }
        length = Some(other);
    }
    if chunked && length.is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    let bodiless = method == Method::HEAD
        || matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match length {
        _ if bodiless => Framing::Length(0),
        _ if chunked => Framing::Chunked(Chunked::Size),
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

#[cfg(test)]
mod tests;
