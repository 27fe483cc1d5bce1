//! Looks into compressed bodies, so that a token in them is found as one in plain text is. What is passed on is not changed.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use bytes::{Bytes, BytesMut};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::echo::Guarded;

/// How much brotli writes at a time.
const BUFFER: usize = 4_096;

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

/// A compressed body on its way, and what it decodes to.
pub(super) struct Coded {
    /// More than one where the name stands for more than one format.
    decoders: Vec<Decoder>,
    /// What decodes to a text that ends in what could be the token's beginning.
    held: Bytes,
}

enum Decoder {
    Gzip(MultiGzDecoder<Plain>),
    Zlib(ZlibDecoder<Plain>),
    Deflate(DeflateDecoder<Plain>),
    Brotli(Box<DecompressorWriter<Plain>>),
}

impl Decoder {
    fn write(&mut self, coded: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
        }
    }

    fn plain(&self) -> &Plain {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zlib(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
            Self::Brotli(decoder) => decoder.get_ref(),
        }
    }
}

impl Coded {
    /// By what the headers say; nothing for a body in plain text.
    pub(super) fn of(headers: &HeaderMap, token: &[u8]) -> Result<Option<Self>, Sealed> {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        let Some(name) = codings.next() else { return Ok(None) };
        if codings.next().is_some() {
            return Err(Sealed);
        }
        let plain = || Plain::new(token);
        let decoders = match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => vec![Decoder::Gzip(MultiGzDecoder::new(plain()))],
            // Some servers leave out the zlib wrapper (RFC 9110 8.4.1.2).
            b"deflate" => {
                vec![Decoder::Zlib(ZlibDecoder::new(plain())), Decoder::Deflate(DeflateDecoder::new(plain()))]
            }
            b"br" => vec![Decoder::Brotli(Box::new(DecompressorWriter::new(plain(), BUFFER)))],
            _ => return Err(Sealed),
        };
        Ok(Some(Self { decoders, held: Bytes::new() }))
    }

    /// What of the body may be passed on, now that this much more of it is here.
    pub(super) fn guard(&mut self, chunk: Bytes) -> Guarded {
        let mut found = false;
        // What does not decode here does not at the app's either; what came before the fault was looked at.
        self.decoders.retain_mut(|decoder| {
            let outcome = decoder.write(&chunk);
            found |= decoder.plain().found;
            outcome.is_ok()
        });
        if found {
            return Guarded::Echo;
        }
        let chunk = if self.held.is_empty() {
            chunk
        } else {
            let mut both = BytesMut::with_capacity(self.held.len() + chunk.len());
            both.extend_from_slice(&self.held);
            both.extend_from_slice(&chunk);
            self.held = Bytes::new();
            both.freeze()
        };
        if self.decoders.iter().any(|decoder| decoder.plain().is_begun()) {
            self.held = chunk;
            return Guarded::Clean(Bytes::new());
        }
        Guarded::Clean(chunk)
    }

    /// What was held back when the body is over: it was not the token.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// The decoded text as it comes, of which only the end is kept.
struct Plain {
    token: zeroize::Zeroizing<Vec<u8>>,
    end: Vec<u8>,
    found: bool,
}

impl Plain {
    fn new(token: &[u8]) -> Self {
        Self { token: token.to_vec().into(), end: Vec::with_capacity(2 * token.len()), found: false }
    }

    /// Whether the text ends in what could be the token's beginning.
    fn is_begun(&self) -> bool {
        (1..=self.end.len()).any(|length| self.token.starts_with(&self.end[self.end.len() - length..]))
    }
}

impl Write for Plain {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let most = self.token.len() - 1;
        self.found |= memmem::find(text, &self.token).is_some();
        // What begins in the text before and ends in this one.
        let kept = self.end.len();
        self.end.extend_from_slice(&text[..text.len().min(most)]);
        self.found |= memmem::find(&self.end, &self.token).is_some();
        if text.len() >= most {
            self.end.clear();
            self.end.extend_from_slice(&text[text.len() - most..]);
        } else {
            let too_much = (kept + text.len()).saturating_sub(most);
            self.end.drain(..too_much);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &[u8] = b"eyJ0.CANARY.sig";

    proptest! {
        #[test]
        fn the_token_is_found_in_a_text_however_it_comes(pieces in prop::collection::vec("(ey|J0|\\.CANARY|\\.sig|x|eyJ0){0,4}", 0..7)) {
            let mut plain = Plain::new(TOKEN);
            let mut whole = Vec::new();
            for piece in &pieces {
                plain.write_all(piece.as_bytes()).unwrap();
                whole.extend_from_slice(piece.as_bytes());
                prop_assert_eq!(plain.found, memmem::find(&whole, TOKEN).is_some());
                let begun = (1..TOKEN.len()).any(|length| whole.ends_with(&TOKEN[..length]));
                prop_assert_eq!(plain.is_begun(), begun);
            }
        }
    }

    #[test]
    fn what_is_accepted_stays_as_it_is_unless_it_cannot_be_looked_into() {
        for (accepted, left) in [
            ("gzip, br;q=0.9", None),
            ("zstd;q=0, gzip", None),
            ("zstd;q=0.0, gzip", None),
            ("zstd; q=0.01 , gzip", Some("gzip")),
            ("*", Some("identity")),
            ("*;q=0", None),
        ] {
            let given = HeaderValue::from_static(accepted);
            assert_eq!(openable(&given), left.map(HeaderValue::from_static), "{accepted}");
        }
    }
}
