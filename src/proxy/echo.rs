//! Keeps the token out of what an app can read, even where the provider sends it back in a body.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memmem;

use super::coding::{Coded, Sealed};
use crate::broker::Bearer;

/// What may be done with a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// This much of it can be passed on; it may be empty, while what could begin the token is held back.
    Clean(Bytes),
    /// It holds the token.
    Echo,
    /// Its coding cannot be followed any further.
    Broken,
}

/// What was held back and what comes after it.
pub(super) fn joined(held: &mut Bytes, chunk: Bytes) -> Bytes {
    if held.is_empty() {
        return chunk;
    }
    let held = std::mem::take(held);
    if chunk.is_empty() {
        return held;
    }
    let mut both = held.try_into_mut().unwrap_or_else(BytesMut::from);
    both.extend_from_slice(&chunk);
    both.freeze()
}

/// What is looked for.
enum Needle {
    Nothing,
    /// The token where it lives.
    Bearer(Arc<Bearer>),
    #[cfg(test)]
    Text(&'static str),
}

impl Needle {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => b"",
            Self::Bearer(bearer) => bearer.token(),
            #[cfg(test)]
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// Finds its beginning.
    fn lead(&self) -> memmem::Finder<'_> {
        match self {
            Self::Nothing => memmem::Finder::new(b""),
            Self::Bearer(bearer) => bearer.lead(),
            #[cfg(test)]
            Self::Text(text) => memmem::Finder::new(&text[..8]),
        }
    }
}

/// Looks for one token in a stream of chunks.
pub(super) struct Echo {
    needle: Needle,
    /// What could be the token's beginning, from the chunk before.
    held: Bytes,
    /// What a compressed body decodes to.
    coded: Option<Box<Coded>>,
}

impl Echo {
    /// Looks for the token that the call was sent with, if one was, in a body with these headers.
    pub(super) fn of(bearer: Option<Arc<Bearer>>, headers: &HeaderMap) -> Result<Self, Sealed> {
        let coded = match &bearer {
            Some(bearer) if !bearer.token().is_empty() => Coded::of(headers, bearer.token())?,
            _ => None,
        };
        let needle = bearer.map_or(Needle::Nothing, Needle::Bearer);
        Ok(Self { needle, held: Bytes::new(), coded: coded.map(Box::new) })
    }

    /// Looks for nothing, where there is no body.
    pub(super) const fn none() -> Self {
        Self { needle: Needle::Nothing, held: Bytes::new(), coded: None }
    }

    pub(super) fn guard(&mut self, chunk: Bytes) -> Guarded {
        match (self.guard_bytes(chunk), &mut self.coded) {
            (Guarded::Clean(chunk), Some(coded)) => coded.guard(chunk),
            (guarded, _) => guarded,
        }
    }

    fn guard_bytes(&mut self, chunk: Bytes) -> Guarded {
        let token = self.needle.bytes();
        if token.is_empty() {
            return Guarded::Clean(chunk);
        }
        let mut chunk = joined(&mut self.held, chunk);
        let finder = self.needle.lead();
        let lead = finder.needle();
        let mut at = 0;
        while let Some(found) = finder.find(&chunk[at..]) {
            let start = at + found;
            let rest = &chunk[start..];
            if rest.starts_with(token) {
                return Guarded::Echo;
            }
            if token.starts_with(rest) {
                self.held = chunk.split_off(start);
                return Guarded::Clean(chunk);
            }
            at = start + 1;
        }
        // The end of a chunk may be less than the lead. Lines, events and JSON texts end in what no token begins with.
        let most = chunk.len().min(lead.len() - 1);
        if let Some(begun) = (1..=most).rev().find(|len| chunk.ends_with(&lead[..*len])) {
            self.held = chunk.split_off(chunk.len() - begun);
        }
        Guarded::Clean(chunk)
    }

    /// What was held back when the stream is over: it was not the token.
    pub(super) fn rest(&mut self) -> Guarded {
        let held = std::mem::take(&mut self.held);
        let Some(coded) = &mut self.coded else { return Guarded::Clean(held) };
        match coded.guard(held) {
            Guarded::Clean(mut chunk) => Guarded::Clean(joined(&mut chunk, coded.rest())),
            guarded => guarded,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.coded.as_ref().is_none_or(|coded| coded.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_ENCODING;
    use proptest::prelude::*;

    const TOKEN: &str = "eyJ0eXAi.CANARY.sig";

    fn run(chunks: &[&[u8]]) -> Result<Vec<u8>, Vec<u8>> {
        run_coded("identity", chunks)
    }

    fn run_coded(coding: &'static str, chunks: &[&[u8]]) -> Result<Vec<u8>, Vec<u8>> {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        let coded = Coded::of(&headers, TOKEN.as_bytes()).unwrap().map(Box::new);
        let mut echo = Echo { needle: Needle::Text(TOKEN), coded, ..Echo::none() };
        let mut out = Vec::new();
        for chunk in chunks {
            match echo.guard(Bytes::copy_from_slice(chunk)) {
                Guarded::Clean(chunk) => out.extend_from_slice(&chunk),
                _ => return Err(out),
            }
        }
        match echo.rest() {
            Guarded::Clean(rest) => out.extend_from_slice(&rest),
            _ => return Err(out),
        }
        Ok(out)
    }

    #[test]
    fn a_token_is_found_wherever_its_chunks_are_cut() {
        let text = format!("{{\"a\":\"{TOKEN}\"}}");
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let bytes = text.as_bytes();
                let passed = run(&[&bytes[..first], &bytes[first..second], &bytes[second..]]).unwrap_err();
                let passed = String::from_utf8(passed).unwrap();
                assert_eq!(passed.len().min(6), passed.len(), "{passed}");
            }
        }
    }

    #[test]
    fn a_token_is_found_in_a_text_that_only_says_that_it_is_compressed() {
        for coding in ["gzip", "deflate", "br"] {
            let before = "text that is long enough to be known for what it is";
            for text in [format!("{before} {TOKEN} after"), format!("{TOKEN}{before}"), TOKEN.to_owned()] {
                let (bytes, token) = (text.as_bytes(), text.find(TOKEN).unwrap());
                for cut in 0..=text.len() {
                    let passed = run_coded(coding, &[&bytes[..cut], &bytes[cut..]]).unwrap_err();
                    assert!(passed.len() <= token, "{coding}, {cut}");
                }
                let passed = run_coded(coding, &bytes.chunks(1).collect::<Vec<_>>()).unwrap_err();
                assert!(passed.len() <= token, "{coding}");
                let clean = text.replace("CANARY", "canary");
                let clean: Vec<&[u8]> = clean.as_bytes().chunks(1).collect();
                assert_eq!(run_coded(coding, &clean), Ok(clean.concat()), "{coding}");
            }
        }
    }

    #[test]
    fn what_is_held_back_as_bytes_and_as_what_they_decode_to_passes_when_the_body_is_over() {
        // Two blocks of deflate's, that store what looks like the token's beginning.
        let body = b"\0\x02\0\xfd\xffxe\x01\x01\0\xfe\xffe";
        for cut in 0..=body.len() {
            assert_eq!(run_coded("deflate", &[&body[..cut], &body[cut..]]), Ok(body.to_vec()), "{cut}");
        }
    }

    #[test]
    fn what_only_looks_like_a_token_passes_byte_for_byte() {
        for text in ["eyJ0eXAi", "eyJ0eXAi.CANARY.si", "eyJ0eXAi.CANARY.siX", "eyJ0eXAieyJ0eXAi.CANARY.s"] {
            for cut in 0..=text.len() {
                assert_eq!(run(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]), Ok(text.as_bytes().to_vec()));
            }
        }
    }

    proptest! {
        #[test]
        fn bodies_pass_unchanged_unless_they_hold_the_token(pieces in prop::collection::vec("(ey|J0|eXAi|\\.CANARY|\\.sig|x|eyJ0eXAi){0,4}", 0..6)) {
            let chunks: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let whole = pieces.concat();
            match run(&chunks) {
                Ok(out) => {
                    prop_assert_eq!(out, whole.as_bytes());
                    prop_assert!(!whole.contains(TOKEN));
                }
                Err(_) => prop_assert!(whole.contains(TOKEN)),
            }
        }
    }
}
