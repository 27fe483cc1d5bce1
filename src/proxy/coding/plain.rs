//! The text that a compressed body decodes to.

use std::io::{self, Write};

use memchr::memmem;

/// How much text a body may be, beside what deflate can make of as many bytes: of some hundred, brotli can make gigabytes.
const MOST: usize = 64 * 1024 * 1024;

/// What deflate can make of a byte, and some more.
const MOST_OF_A_BYTE: usize = 1_100;

/// The decoded text as it comes, of which only the end is kept.
pub(super) struct Plain {
    token: zeroize::Zeroizing<Vec<u8>>,
    end: zeroize::Zeroizing<Vec<u8>>,
    /// Whether the token was in it.
    pub(super) found: bool,
    /// How many bytes of it the latest chunk decoded to.
    pub(super) fresh: usize,
    /// How many more there may be.
    left: usize,
}

impl Plain {
    pub(super) fn new(token: &[u8]) -> Self {
        let end = Vec::with_capacity(2 * token.len()).into();
        Self { token: token.to_vec().into(), end, found: false, fresh: 0, left: MOST }
    }

    /// What a chunk of this length decodes to comes now.
    pub(super) fn expect_from(&mut self, length: usize) {
        self.fresh = 0;
        self.left = self.left.saturating_add(length.saturating_mul(MOST_OF_A_BYTE));
    }

    /// How many bytes at the text's end could be the token's beginning.
    pub(super) fn begun(&self) -> usize {
        (0..self.end.len()).find(|at| self.token.starts_with(&self.end[*at..])).map_or(0, |at| self.end.len() - at)
    }
}

impl Write for Plain {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(text.len()).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.fresh += text.len();
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
