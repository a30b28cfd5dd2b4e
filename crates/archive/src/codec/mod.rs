//! Compression as WAL-G writes and reads it. The name's extension tells the method.
//!
//! The hazard: WAL-G reads only the first of several lz4 frames or lzma streams, silently, and refuses lz4 with
//! checksums of blocks. So an object is exactly one frame, and the checksum of its content is always there.

mod lzop;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::str::FromStr;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use lzma_rust2::{LzmaOptions, LzmaReader, LzmaWriter};

pub use lzop::LzopReader;

const BUFFER: usize = 64 * 1024;
/// A dictionary that a reader must be ready for: WAL-G writes 8 MiB, others up to xz's largest preset.
const LZMA_MEMORY_KIB: u32 = 128 * 1024;
const LZMA_PRESET: u32 = 6;
const LZMA_DICTIONARY: u32 = 8 << 20;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_LOG: u32 = 23;
/// WAL-G's own limit is 512 MiB.
const ZSTD_WINDOW_LOG_READ: u32 = 29;
const BROTLI_QUALITY: u32 = 3;
const BROTLI_WINDOW: u32 = 22;

/// What we write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Lz4,
    Zstd,
    Lzma,
    Brotli,
    None,
}

impl Method {
    pub const ALL: [Method; 5] = [Method::Lz4, Method::Zstd, Method::Lzma, Method::Brotli, Method::None];

    /// With its dot; empty without compression.
    pub fn extension(self) -> &'static str {
        match self {
            Method::Lz4 => ".lz4",
            Method::Zstd => ".zst",
            Method::Lzma => ".lzma",
            Method::Brotli => ".br",
            Method::None => "",
        }
    }
}

/// A method's name that WAL-G does not write either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no compression method: lz4, zstd, lzma, brotli and none are")]
pub struct UnknownMethod(pub String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Method, UnknownMethod> {
        match text.to_ascii_lowercase().as_str() {
            "lz4" => Ok(Method::Lz4),
            "zstd" => Ok(Method::Zstd),
            "lzma" => Ok(Method::Lzma),
            "brotli" => Ok(Method::Brotli),
            "none" => Ok(Method::None),
            _ => Err(UnknownMethod(text.to_owned())),
        }
    }
}

/// Compresses what is written to it. Nothing is whole before [`Encoder::finish`].
pub enum Encoder<W: Write> {
    Lz4(Box<FrameEncoder<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Lzma(Box<LzmaWriter<W>>),
    Brotli(Box<brotli::CompressorWriter<W>>),
    None(W),
}

impl<W: Write> Encoder<W> {
    pub fn new(method: Method, to: W) -> io::Result<Encoder<W>> {
        Ok(match method {
            Method::Lz4 => Encoder::Lz4(Box::new(FrameEncoder::with_frame_info(lz4_frame(), to))),
            Method::Zstd => Encoder::Zstd(zstd_encoder(to)?),
            Method::Lzma => {
                let mut options = LzmaOptions::with_preset(LZMA_PRESET);
                options.dict_size = LZMA_DICTIONARY;
                Encoder::Lzma(Box::new(LzmaWriter::new_use_header(to, &options, None)?))
            }
            Method::Brotli => {
                let writer = brotli::CompressorWriter::new(to, BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Encoder::Brotli(Box::new(writer))
            }
            Method::None => Encoder::None(to),
        })
    }

    /// Writes the end of the stream and gives back what it was written to.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Lz4(mut encoder) => {
                // An empty frame has no header before its first write.
                encoder.write_all(&[])?;
                encoder.finish().map_err(io::Error::other)
            }
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Lzma(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::None(to) => Ok(to),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Lz4(encoder) => encoder.write(data),
            Encoder::Zstd(encoder) => encoder.write(data),
            Encoder::Lzma(encoder) => encoder.write(data),
            Encoder::Brotli(encoder) => encoder.write(data),
            Encoder::None(to) => to.write(data),
        }
    }

    /// Nothing: a flush in the middle would only make the stream longer.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The header that WAL-G's own frames have: independent blocks of 4 MiB, a checksum of the content, none of blocks.
fn lz4_frame() -> FrameInfo {
    FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB).content_checksum(true)
}

fn zstd_encoder<W: Write>(to: W) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// Reads an object by the extension of its key. `None`: nobody is known to write this extension.
pub fn decode(extension: &str, from: Box<dyn Read + Send>) -> Option<io::Result<Box<dyn Read + Send>>> {
    let from = BufReader::with_capacity(BUFFER, from);
    Some(match extension {
        "" | "." => Ok(Box::new(from)),
        ".lz4" => Ok(Box::new(WholeFrame::new(from))),
        ".zst" => zstd_decoder(from),
        ".lzma" => LzmaReader::new_mem_limit(from, LZMA_MEMORY_KIB, None).map(|r| Box::new(r) as _),
        ".br" => Ok(Box::new(brotli::Decompressor::new(from, BUFFER))),
        ".gz" => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(from))),
        ".lzo" => LzopReader::new(from).map(|r| Box::new(r) as _),
        _ => return None,
    })
}

fn zstd_decoder(mut from: BufReader<Box<dyn Read + Send>>) -> io::Result<Box<dyn Read + Send>> {
    // WAL-G writes no frame at all for an empty file.
    if from.fill_buf()?.is_empty() {
        return Ok(Box::new(io::empty()));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_READ)?;
    Ok(Box::new(decoder))
}

/// One lz4 frame with its end. The decoder takes an input that ends between two blocks for a frame that ends there; but
/// the end of a frame is written in it, and who has read that far asks for no more.
struct WholeFrame<R: Read> {
    decoder: FrameDecoder<Watched<R>>,
}

struct Watched<R> {
    inner: R,
    /// More was asked for than there is.
    exhausted: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.exhausted |= read == 0 && !into.is_empty();
        Ok(read)
    }
}

impl<R: Read> WholeFrame<R> {
    fn new(from: R) -> WholeFrame<R> {
        WholeFrame { decoder: FrameDecoder::new(Watched { inner: from, exhausted: false }) }
    }
}

impl<R: Read> Read for WholeFrame<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(into)?;
        if read == 0 && !into.is_empty() && self.decoder.get_ref().exhausted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the lz4 frame has no end: it was cut short"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
