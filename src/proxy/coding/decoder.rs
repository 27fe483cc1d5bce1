//! Decodes a body for what it says. All that a chunk decodes to is looked at before the chunk is passed on.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecoderParameter, DecompressorWriter};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::plain::Plain;

/// How much brotli gives out at a time.
const PIECE: usize = 16_384;

/// One format, and what the body decodes to in it.
pub(super) enum Decoder {
    Gzip(MultiGzDecoder<Plain>),
    Zlib(ZlibDecoder<Plain>),
    Deflate(DeflateDecoder<Plain>),
    Brotli(Box<DecompressorWriter<Plain>>),
}

impl Decoder {
    pub(super) fn gzip(plain: Plain) -> Self {
        Self::Gzip(MultiGzDecoder::new(plain))
    }

    pub(super) fn zlib(plain: Plain) -> Self {
        Self::Zlib(ZlibDecoder::new(plain))
    }

    pub(super) fn deflate(plain: Plain) -> Self {
        Self::Deflate(DeflateDecoder::new(plain))
    }

    /// With the windows of RFC 7932, which are of 16 MB at most.
    pub(super) fn brotli(plain: Plain) -> Self {
        let mut decoder = Box::new(DecompressorWriter::new(plain, PIECE));
        decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
        Self::Brotli(decoder)
    }

    /// Whether a body in this format can begin so. In the others almost any can.
    pub(super) const fn may_begin_with(&self, first: u8) -> bool {
        match self {
            Self::Gzip(_) => first == 0x1f,
            Self::Zlib(_) | Self::Deflate(_) | Self::Brotli(_) => true,
        }
    }

    pub(super) fn plain(&self) -> &Plain {
        match self {
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zlib(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
            Self::Brotli(decoder) => decoder.get_ref(),
        }
    }

    fn plain_mut(&mut self) -> &mut Plain {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
        }
    }

    /// Looks at all that the body decodes to, now that this much more of it is here. It fails for what is not in the format, and
    /// for what goes on after its end, but for one more member of gzip's.
    pub(super) fn look(&mut self, coded: &[u8]) -> io::Result<()> {
        self.plain_mut().expect_from(coded.len());
        match self {
            Self::Gzip(decoder) => drained(decoder, coded),
            Self::Zlib(decoder) => drained(decoder, coded),
            Self::Deflate(decoder) => drained(decoder, coded),
            Self::Brotli(decoder) => {
                decoder.write_all(coded)?;
                // A flush does nothing here: a piece of what is left comes whenever it is written to, though nothing is written.
                loop {
                    let before = decoder.get_ref().fresh;
                    let taken = decoder.write(&[])?;
                    debug_assert_eq!(taken, 0, "there was nothing to take");
                    if decoder.get_ref().fresh == before {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Until nothing more comes out. What came before a fault does too.
fn drained(decoder: &mut impl Write, coded: &[u8]) -> io::Result<()> {
    let taken = decoder.write_all(coded);
    let given = decoder.flush();
    taken.and(given)
}
