//! Looks into compressed bodies, so that a token in them is found as one in plain text is. What is passed on is not changed.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

use super::echo::{Guarded, joined};
use super::outgoing::every;
use super::response::listed;
use decoder::Decoder;
use plain::Plain;

/// Formats of compressed bodies.
mod decoder;
/// What they decode to.
mod plain;

/// How much may come after what could be the token's beginning without a word on whether it is. A token's rest is a few KB.
const MOST_AFTER: usize = 65_536;

/// A body's coding is one that cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[error("the body's coding is one that cannot be looked into")]
pub(super) struct Sealed;

fn is_open(name: &[u8]) -> bool {
    ["gzip", "x-gzip", "deflate", "br", "identity"].iter().any(|open| name.eq_ignore_ascii_case(open.as_bytes()))
}

/// What is asked for in place of these codings (RFC 9110 12.5.3), where they name one that cannot be looked into.
pub(super) fn openable(accepted: &HeaderValue) -> Option<HeaderValue> {
    let items = || accepted.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let stays = |item: &[u8]| {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        let is_refused = weight.is_some_and(|weight| weight.iter().all(|byte| b"0.".contains(byte)));
        name.is_empty() || is_open(name) || is_refused
    };
    if items().all(stays) {
        return None;
    }
    let left = items().filter(|item| stays(item)).collect::<Vec<_>>().join(&b", "[..]);
    Some(
        HeaderValue::from_bytes(&left)
            .ok()
            .filter(|left| !left.is_empty())
            .unwrap_or(HeaderValue::from_static("identity")),
    )
}

/// Whether it could be a piece of a text, as compressed data are not for long. Its first and last characters may be cut.
fn is_text(bytes: &[u8]) -> bool {
    let cut = bytes.iter().take(3).take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
    let bytes = &bytes[cut..];
    bytes.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
        && str::from_utf8(bytes).err().is_none_or(|fault| fault.error_len().is_none())
}

/// A compressed body on its way, and what it decodes to.
pub(super) struct Coded {
    /// More than one where the name stands for more than one format; none if the body only says that it is compressed.
    decoders: Vec<Decoder>,
    /// Whether nothing of it has come yet.
    unseen: bool,
    /// Whether it cannot be what it says by how it begins, and passes as it is.
    as_it_is: bool,
    /// Whether all of it could be text as it is.
    text: bool,
    /// From the chunk on that decodes to a text that ends in what could be the token's beginning.
    held: Bytes,
    /// How much of it came after that chunk.
    after: usize,
}

impl Coded {
    /// By what the headers say; nothing for a body in plain text.
    pub(super) fn of(headers: &HeaderMap, token: &[u8]) -> Result<Option<Self>, Sealed> {
        let words = every(headers, &CONTENT_ENCODING).flat_map(|value| listed(value.as_bytes()));
        let mut codings = words.filter(|name| !name.eq_ignore_ascii_case(b"identity"));
        let Some(name) = codings.next() else { return Ok(None) };
        if codings.next().is_some() {
            return Err(Sealed);
        }
        let plain = || Plain::new(token);
        let decoders = match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => vec![Decoder::gzip(plain())],
            // Some servers leave out the zlib wrapper (RFC 9110 8.4.1.2).
            b"deflate" => vec![Decoder::zlib(plain()), Decoder::deflate(plain())],
            b"br" => vec![Decoder::brotli(plain())],
            _ => return Err(Sealed),
        };
        Ok(Some(Self { decoders, unseen: true, as_it_is: false, text: true, held: Bytes::new(), after: 0 }))
    }

    /// What of the body may be passed on, now that this much more of it is here. Nothing is that could not be looked into: a
    /// lenient app may make more of a broken body than we do. What only says that it is compressed was looked at as it is.
    pub(super) fn guard(&mut self, chunk: Bytes) -> Guarded {
        if let Some(first) = chunk.first()
            && std::mem::take(&mut self.unseen)
        {
            self.decoders.retain(|decoder| decoder.may_begin_with(*first));
            self.as_it_is = self.decoders.is_empty();
        }
        if self.as_it_is {
            return Guarded::Clean(chunk);
        }
        self.text = self.text && is_text(&chunk);
        let mut found = false;
        self.decoders.retain_mut(|decoder| {
            let outcome = decoder.look(&chunk);
            found |= decoder.plain().found;
            outcome.is_ok()
        });
        if found {
            return Guarded::Echo;
        }
        if self.decoders.is_empty() && !self.text {
            return Guarded::Broken;
        }
        let begun = || self.decoders.iter().map(|decoder| (decoder.plain().begun(), decoder.plain().fresh));
        if begun().any(|(begun, fresh)| begun > fresh) {
            self.after += chunk.len();
            if self.after > MOST_AFTER {
                return Guarded::Broken;
            }
            self.held = joined(&mut self.held, chunk);
            return Guarded::Clean(Bytes::new());
        }
        self.after = 0;
        if begun().any(|(begun, _)| begun > 0) {
            return Guarded::Clean(std::mem::replace(&mut self.held, chunk));
        }
        Guarded::Clean(joined(&mut self.held, chunk))
    }

    /// What was held back when the body is over: it was not the token.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests;
