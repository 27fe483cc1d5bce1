//! Where the body of an answer ends (RFC 9112 6.3 and 7.1).

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;

/// The longest line between chunks: a size with its extensions, or a trailer.
const LONGEST_LINE: usize = 16 * 1024;
/// The most trailers.
const MOST_TRAILERS: u8 = 100;

/// What came is no HTTP, or not framed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not framed as HTTP/1.1 frames an answer")]
pub(super) struct Malformed;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Whatever comes until the connection ends.
    UntilClose,
    /// Chunks, each with its size before it.
    Chunked(Chunked),
}

/// What comes next of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The end of its last line.
    DataEnd,
    /// Trailers, of which there have been so many, and the blank line after them.
    Trailers(u8),
    /// Nothing.
    Over,
}

impl Framing {
    /// Whether nothing is to come.
    pub(super) const fn is_end(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// The next bytes of the body, of those that are here; nothing while there are none. Trailers are thrown away.
    ///
    /// # Errors
    /// [`Malformed`], and from then on always.
    pub(super) fn take(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let most = match self {
            Self::Length(left) => *left,
            Self::UntilClose => u64::MAX,
            Self::Chunked(chunked) => {
                chunked.advance(unread)?;
                if let Chunked::Data(left) = chunked { *left } else { 0 }
            }
        };
        let here = usize::try_from(most).unwrap_or(usize::MAX).min(unread.len());
        if here == 0 {
            return Ok(None);
        }
        let chunk = if here == unread.len() { std::mem::take(unread) } else { unread.split_to(here) };
        match self {
            Self::Length(left) => *left -= here as u64,
            Self::UntilClose => {}
            Self::Chunked(chunked) => {
                *chunked = match most - here as u64 {
                    0 => Chunked::DataEnd,
                    left => Chunked::Data(left),
                };
                // So that the end is known as soon as it is here. What is malformed is so again the next time.
                let _ = chunked.advance(unread);
            }
        }
        Ok(Some(chunk.freeze()))
    }
}

impl Chunked {
    /// Passes what stands between the bytes of chunks, as far as it is here.
    fn advance(&mut self, unread: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            let most = match self {
                Self::Data(_) | Self::Over => return Ok(()),
                Self::DataEnd => 2,
                Self::Size | Self::Trailers(_) => LONGEST_LINE,
            };
            let Some(length) = line(unread, most)? else { return Ok(()) };
            *self = match self {
                Self::Size => match size(&unread[..length])? {
                    0 => Self::Trailers(0),
                    size => Self::Data(size),
                },
                Self::Trailers(_) if length == 0 => Self::Over,
                Self::Trailers(so_far) if *so_far < MOST_TRAILERS && is_field(&unread[..length + 2]) => {
                    Self::Trailers(*so_far + 1)
                }
                Self::Trailers(_) => return Err(Malformed),
                Self::DataEnd | Self::Data(_) | Self::Over => Self::Size,
            };
            unread.advance(length + 2);
        }
    }
}

/// How long the line is that comes next, without its end; nothing while its end is not here. With it, it is no longer than
/// `most`. Bare LF ends no line, and CR stands in none: where others read it as an end, they would read other chunks.
fn line(unread: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    let unread = &unread[..unread.len().min(most)];
    match memchr(b'\n', unread) {
        Some(end) if memchr(b'\r', &unread[..end]) == end.checked_sub(1) && end > 0 => Ok(Some(end - 1)),
        None if unread.len() < most => Ok(None),
        Some(_) | None => Err(Malformed),
    }
}

/// Whether this line, with its end, is a header.
fn is_field(line: &[u8]) -> bool {
    matches!(httparse::parse_headers(line, &mut [httparse::EMPTY_HEADER]), Ok(httparse::Status::Partial))
}

/// The size of a chunk, before its extensions.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let mut digits = memchr(b';', line).map_or(line, |semicolon| &line[..semicolon]);
    while let [before @ .., b' ' | b'\t'] = digits {
        digits = before;
    }
    let is_size = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_size).ok_or(Malformed)?;
    u64::from_str_radix(digits, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
