//! gzip, snappy, lz4 and zstd behind one `compress` and one bounded `decompress`.
//!
//! | codec  | written                                        | read                                    |
//! |--------|------------------------------------------------|-----------------------------------------|
//! | gzip   | one member                                     | any number of members                   |
//! | snappy | xerial framing, 32 KiB blocks                  | xerial framing, or one raw block        |
//! | lz4    | frame: 64 KiB independent blocks, no checksums | any frames, linked blocks and checksums |
//! | zstd   | frame without content size                     | any frames, window up to 128 MiB        |
//!
//! Nothing is allocated from a length that the input declares, save snappy's, which is first checked
//! against what snappy can reach at all, and against the cap.
//!
//! Source: Kafka, `SnappyCompression`, `Lz4BlockOutputStream`, `ZstdCompression`; snappy-java's
//! `SnappyOutputStream` for xerial framing.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
};

use zstd::zstd_safe;

use crate::{batch::Codec, lz4_high};

/// Why bytes could not be decompressed. The same bytes will fail again.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The output would exceed its cap.
    #[error("more than {output_max} bytes when decompressed")]
    TooLarge {
        /// The cap.
        output_max: usize,
    },
    /// The bytes are not what the codec writes, or are cut off.
    #[error("malformed {codec:?} data: {source}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// What it said.
        source: io::Error,
    },
}

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version 1, lowest compatible version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy copy element of 3 bytes yields at most 64: no input yields more than this many times its size.
const SNAPPY_RATIO_MAX: usize = 22;

const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const LZ4_CONTENT_CHECKSUM_BIT: u8 = 0x04;

/// Largest window a zstd frame may ask for, as a power of 2: what zstd's own readers accept.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The level at which lz4 is written fast. Source: Kafka, `Lz4BlockOutputStream`.
const LZ4_LEVEL_FAST: i32 = 9;

/// Appends `input`, compressed, to `out`. `level` is the codec's own scale, `None` its default; snappy has none.
///
/// # Errors
/// [`CompressionError::Malformed`] if the codec refuses its level or the input is too large for it.
pub fn compress(
    codec: Codec,
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let written = match codec {
        Codec::None => out.write_all(input),
        Codec::Gzip => write_gzip(level, input, out),
        Codec::Snappy => write_xerial(input, out),
        Codec::Lz4 => write_lz4(level, input, out),
        Codec::Zstd => write_zstd(level, input, out),
    };
    written.map_err(|source| CompressionError::Malformed { codec, source })
}

fn write_gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level =
        level.map_or_else(flate2::Compression::default, |level| flate2::Compression::new(level.min(9)));
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input)?;
    encoder.finish().map(drop)
}

fn write_xerial(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
        let bytes = encoder.compress(block, &mut out[start + 4..])?;
        out[start..start + 4].copy_from_slice(&(bytes as u32).to_be_bytes());
        out.truncate(start + 4 + bytes);
    }
    Ok(())
}

fn write_lz4(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if let Some(level) = level.filter(|level| *level != LZ4_LEVEL_FAST) {
        lz4_high::write(level, input, out);
        return Ok(());
    }
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

thread_local! {
    /// Setting a context up costs ten times the work on a batch of one record.
    static ZSTD: RefCell<zstd_safe::CCtx<'static>> = RefCell::new(zstd_safe::CCtx::create());
}

fn write_zstd(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let failed = |code| io::Error::other(zstd_safe::get_error_name(code));
    out.reserve(zstd_safe::compress_bound(input.len()));
    ZSTD.with_borrow_mut(|context| {
        // What a failed call may have left behind goes too.
        context.reset(zstd_safe::ResetDirective::SessionAndParameters).map_err(failed)?;
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        context.set_parameter(zstd_safe::CParameter::CompressionLevel(level)).map_err(failed)?;
        context.set_parameter(zstd_safe::CParameter::ContentSizeFlag(false)).map_err(failed)?;
        let start = out.len();
        let mut output = zstd_safe::OutBuffer::around_pos(out, start);
        let mut input = zstd_safe::InBuffer::around(input);
        let end = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
        let left = context.compress_stream2(&mut output, &mut input, end).map_err(failed)?;
        assert_eq!(left, 0, "zstd's own bound holds the whole frame");
        Ok(())
    })
}

/// Appends `input`, decompressed, to `out`: at most `output_max` bytes.
///
/// # Errors
/// [`CompressionError`]; `out` then holds what came before the fault.
pub fn decompress(
    codec: Codec,
    input: &[u8],
    output_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let mut output = Output { left: output_max, out };
    let read = match codec {
        Codec::None => output.read(input),
        Codec::Gzip => output.read(flate2::bufread::MultiGzDecoder::new(input)),
        Codec::Snappy => read_snappy(input, &mut output),
        Codec::Lz4 => read_lz4(input, &mut output),
        Codec::Zstd => read_zstd(input, &mut output),
    };
    read.map_err(|fault| match fault {
        Fault::TooLarge => CompressionError::TooLarge { output_max },
        Fault::Malformed(source) => CompressionError::Malformed { codec, source },
    })
}

enum Fault {
    TooLarge,
    Malformed(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Malformed(error)
    }
}

impl From<snap::Error> for Fault {
    fn from(error: snap::Error) -> Self {
        Self::Malformed(error.into())
    }
}

fn malformed(message: &'static str) -> Fault {
    Fault::Malformed(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Where output goes, and how much more of it may come.
struct Output<'a> {
    left: usize,
    out: &'a mut Vec<u8>,
}

impl Output<'_> {
    /// Reads to the end of `source`, which grows the output as bytes come.
    fn read(&mut self, source: impl Read) -> Result<(), Fault> {
        let before = self.out.len();
        // One byte more than allowed tells too much from just enough.
        source.take(self.left as u64 + 1).read_to_end(self.out)?;
        self.count(self.out.len() - before)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or(Fault::TooLarge)?;
        Ok(())
    }

    fn read_snappy_block(&mut self, block: &[u8]) -> Result<(), Fault> {
        let bytes = snap::raw::decompress_len(block)?;
        if bytes > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(malformed("declared length is out of snappy's reach"));
        }
        self.count(bytes)?;
        let start = self.out.len();
        self.out.resize(start + bytes, 0);
        let written = snap::raw::Decoder::new().decompress(block, &mut self.out[start..])?;
        self.out.truncate(start + written);
        Ok(())
    }
}

fn read_snappy(input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    if !input.starts_with(XERIAL_MAGIC) {
        return output.read_snappy_block(input);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Streams may be concatenated, so that a header can stand wherever a block can. Its versions are
        // not looked at: there has only ever been version 1.
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER.len()..).ok_or_else(|| malformed("header is cut off"))?;
            continue;
        }
        let (length, blocks) =
            rest.split_first_chunk().ok_or_else(|| malformed("block length is cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = blocks.get(..length).ok_or_else(|| malformed("block is cut off"))?;
        output.read_snappy_block(block)?;
        rest = &blocks[length..];
    }
    Ok(())
}

fn read_lz4(input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    let mut rest = input;
    loop {
        if !rest.starts_with(&LZ4_MAGIC) {
            return Err(malformed("no lz4 frame"));
        }
        let frame = rest;
        let mut decoder = lz4_flex::frame::FrameDecoder::new(frame);
        output.read(&mut decoder)?;
        rest = decoder.into_inner();
        if !rest.is_empty() {
            continue;
        }
        // The decoder takes the end of input for the end of the frame. The mark of the end is a block
        // length of 0; a checksum may follow it.
        let has_checksum = frame.get(4).is_some_and(|flags| flags & LZ4_CONTENT_CHECKSUM_BIT != 0);
        let marked = if has_checksum { frame.len().saturating_sub(4) } else { frame.len() };
        return if frame[..marked].ends_with(&[0; 4]) { Ok(()) } else { Err(malformed("frame is cut off")) };
    }
}

fn read_zstd(input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    output.read(decoder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).expect("compresses");
        out
    }

    fn unpacked(codec: Codec, input: &[u8], output_max: usize) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        decompress(codec, input, output_max, &mut out).map(|()| out)
    }

    /// Text that compresses, longer than the blocks of any codec.
    fn text() -> Vec<u8> {
        (0..20_000_u32)
            .flat_map(|i| format!("{} ", i.wrapping_mul(2_654_435_761) >> 24).into_bytes())
            .collect()
    }

    #[test]
    fn both_sides_append_to_what_is_there() {
        for codec in Codec::ALL {
            let mut out = b"head".to_vec();
            compress(codec, None, b"body", &mut out).expect("compresses");
            assert_eq!(out[..4], *b"head");
            let mut plain = b"more ".to_vec();
            decompress(codec, &out[4..], 4, &mut plain).expect("decompresses");
            assert_eq!(plain, b"more body", "{codec:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let zeros = vec![0; 32 << 20];
        for codec in Codec::ALL {
            let bomb = packed(codec, &zeros);
            let mut out = Vec::new();
            let error = decompress(codec, &bomb, 100_000, &mut out);
            assert!(matches!(error, Err(CompressionError::TooLarge { output_max: 100_000 })), "{codec:?}");
            assert!(out.capacity() < 1 << 20, "{codec:?} took {}", out.capacity());
            assert_eq!(unpacked(codec, &bomb, zeros.len()).expect("fits exactly").len(), zeros.len());
        }
    }

    #[test]
    fn a_declared_snappy_length_does_not_allocate() {
        // 2^31-1 bytes declared, none given.
        let block = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        let mut out = Vec::new();
        assert!(decompress(Codec::Snappy, &block, usize::MAX, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn snappy_is_read_raw_and_in_concatenated_xerial_streams() {
        let text = text();
        let raw = snap::raw::Encoder::new().compress_vec(&text).expect("compresses");
        assert_eq!(unpacked(Codec::Snappy, &raw, text.len()).expect("raw"), text);
        let twice = packed(Codec::Snappy, &text).repeat(2);
        assert_eq!(unpacked(Codec::Snappy, &twice, 2 * text.len()).expect("xerial"), text.repeat(2));
    }

    #[test]
    fn lz4_frames_of_any_kind_are_read_one_after_the_other() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let text = text();
        let mut frames = Vec::new();
        let mut expected = Vec::new();
        for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for checks in [false, true] {
                    let info = FrameInfo::new()
                        .block_size(block_size)
                        .block_mode(mode)
                        .block_checksums(checks)
                        .content_checksum(checks)
                        .content_size(checks.then_some(text.len() as u64));
                    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                    encoder.write_all(&text).expect("writes");
                    let frame = encoder.finish().expect("finishes");
                    assert_eq!(unpacked(Codec::Lz4, &frame, text.len()).expect("one frame"), text);
                    frames.extend(frame);
                    expected.extend(&text);
                }
            }
        }
        assert_eq!(unpacked(Codec::Lz4, &frames, expected.len()).expect("all frames"), expected);
    }

    #[test]
    fn gzip_members_and_zstd_frames_are_read_one_after_the_other() {
        let text = text();
        for codec in [Codec::Gzip, Codec::Zstd] {
            let twice = packed(codec, &text).repeat(2);
            assert_eq!(unpacked(codec, &twice, 2 * text.len()).expect("both"), text.repeat(2), "{codec:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_refused_at_every_length() {
        let text = &text()[..2_000];
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd, Codec::Snappy] {
            let whole = packed(codec, text);
            for cut in 0..whole.len() {
                // An xerial stream of no blocks is whole.
                let header_only = codec == Codec::Snappy && cut == XERIAL_HEADER.len();
                let result = unpacked(codec, &whole[..cut], text.len());
                assert_eq!(result.is_ok(), header_only, "{codec:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn written_frames_have_the_form_kafka_writes() {
        let lz4 = packed(Codec::Lz4, b"text");
        // Version 1, independent blocks, no checksums, no content size; blocks of 64 KiB.
        assert_eq!(lz4[4..6], [0x60, 0x40]);
        assert!(packed(Codec::Snappy, b"text").starts_with(XERIAL_HEADER));
        // Neither content size (bits 6-7) nor single segment (5) nor checksum (2).
        assert_eq!(packed(Codec::Zstd, b"text")[4] & 0b1110_0100, 0);
    }

    proptest! {
        // Each case takes all codecs through tens of kilobytes.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_compressed_comes_back(input in proptest::collection::vec(0_u8..8, 0..100_000)) {
            for codec in Codec::ALL {
                let out = unpacked(codec, &packed(codec, &input), input.len());
                prop_assert_eq!(out.expect("comes back"), &input[..]);
            }
        }

        #[test]
        fn any_bytes_are_decompressed_within_the_cap_or_refused(
            input in proptest::collection::vec(any::<u8>(), 0..300),
            with_magic: bool,
        ) {
            for codec in Codec::ALL {
                let mut bytes = if with_magic { packed(codec, b"")[..4.min(packed(codec, b"").len())].to_vec() } else { vec![] };
                bytes.extend(&input);
                if let Ok(out) = unpacked(codec, &bytes, 10_000) {
                    prop_assert!(out.len() <= 10_000);
                }
            }
        }

        #[test]
        fn a_changed_byte_never_breaks_the_cap(at: prop::sample::Index, byte: u8) {
            let text = &text()[..70_000];
            for codec in Codec::ALL {
                let mut bytes = packed(codec, text);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Ok(out) = unpacked(codec, &bytes, 80_000) {
                    prop_assert!(out.len() <= 80_000);
                }
            }
        }
    }
}
